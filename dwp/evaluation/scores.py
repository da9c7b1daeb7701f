"""How well a prior describes kernels, whether it only remembers some, where its bound leads."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from dwp.errors import UserError, check_count
from dwp.kernels import SAME, check_kernels, count_different, norms
from dwp.priors.base import KernelPrior
from dwp.priors.vae import KernelVAE
from dwp.seeds import generator as make_generator

_PART = 100  # kernels whose distances to all others are held at once
_CODES = 50_000  # decoded between two reports of progress
_DRAWS = 10  # of z, of a VAE's bound whose rise is measured

SAMPLES = 200
"""How many samples are moved, unless asked for others."""

Progress = Callable[..., Iterable[Any]]


def _silent(items: Iterable[Any], desc: str) -> Iterable[Any]:
    """Return the items: no progress is shown."""
    return items


@torch.no_grad()
def score(
    prior: KernelPrior,
    kernels: ArrayLike | Tensor,
    *,
    generator: torch.Generator | int = 0,
    samples: int = 10,
    importance_samples: int = 1000,
    progress: Progress = _silent,
) -> dict:
    """Score kernels under a prior.

    Args:
        prior: any prior with a density or a bound of one.
        kernels: (n, k, k) or (n, 1, k, k), a tensor or an array of NumPy.
        generator: of the sampled terms, a generator or a seed.
        samples: draws of z that the terms of a VAE's bound are averaged over.
        importance_samples: draws of z for a VAE's log p(w).
        progress: called with what a VAE's terms are computed over, and its name as `desc`, to show
            how far it is; `tqdm.tqdm`, for example.

    Returns:
        `n`, and `elbo`, `log_likelihood` (of the kernel given z), `kl` (of z), `log_prob`: each
        `mean` in nats per kernel with its `standard_error` over kernels. `log_prob` also has its
        `estimator`: "exact" or "importance-weighted". An explicit density has no z: its bound is
        tight, so `elbo` and `log_likelihood` equal `log_prob` and `kl` is 0.
        `at_zero` is log p of the kernel of zeros, `at_initial` that of the kernels that nets start
        from (`KernelPrior.initial`; mean of 1,000), both in nats. Where `at_zero` is the greater,
        the KL of a narrow posterior draws kernels towards zero.

    Raises:
        UserError: the prior has no density, or the kernels are of another size.
    """
    checked = check_kernels(kernels, prior.kernel_size).to(prior.dtype)
    check_count("samples", samples)
    check_count("importance_samples", importance_samples)
    draws = _draws_from("score", generator)
    if isinstance(prior, KernelVAE):
        estimator, size = "importance-weighted", max(1, _CODES // importance_samples)

        def density(kernels: Tensor) -> Tensor:
            parts = progress(kernels.split(size), desc="log p")
            return torch.cat(
                [prior.importance_log_prob(part, importance_samples, draws) for part in parts]
            )

        pairs = [prior.elbo_terms(checked, draws) for _ in progress(range(samples), desc="ELBO")]
        log_likelihood, kl = (torch.stack(terms).mean(0) for terms in zip(*pairs, strict=True))
        log_prob = density(checked)
    else:
        estimator, density = "exact", prior.log_prob
        log_prob = log_likelihood = density(checked)
        kl = torch.zeros_like(log_prob)
    return {
        "n": len(checked),
        "elbo": _summary(log_likelihood - kl),
        "log_likelihood": _summary(log_likelihood),
        "kl": _summary(kl),
        "log_prob": {**_summary(log_prob), "estimator": estimator},
        "at_zero": float(density(torch.zeros_like(checked[:1]))),
        "at_initial": float(density(prior.initial(1000, draws)).mean()),
    }


@torch.no_grad()
def nearest(
    prior: KernelPrior,
    train: ArrayLike | Tensor,
    test: ArrayLike | Tensor,
    *,
    generator: torch.Generator | int = 0,
    samples: int = 1000,
) -> dict:
    """Return how near a prior's samples lie to the kernels it was fitted to.

    Samples much nearer than fresh kernels are copies: the prior remembers. Samples much further
    away than fresh kernels are no such kernels.

    Args:
        prior: any prior that can be sampled.
        train: the kernels it was fitted to (n, k, k) or (n, 1, k, k).
        test: fresh kernels of the same origin.
        generator: of the samples and of the choice of test kernels, a generator or a seed.
        samples: how many are drawn; of more test kernels as many are chosen.

    Returns:
        `median` and lower `decile` of the Euclidean distance to the nearest training kernel: under
        `nearest_sample` of the samples, under `nearest_test` of the test kernels.

    Raises:
        UserError: kernels are of another size, or the prior is improper.
    """
    fitted, fresh = (
        check_kernels(part, prior.kernel_size).to(prior.dtype) for part in (train, test)
    )
    draws = _draws_from("nearest", generator)
    drawn = prior.sample(samples, draws)
    chosen = fresh[torch.randperm(len(fresh), generator=draws)[:samples]]
    return {
        "nearest_sample": _quantiles(_distance_to_nearest(drawn, fitted)),
        "nearest_test": _quantiles(_distance_to_nearest(chosen, fitted)),
    }


def follow_bound(
    prior: KernelPrior,
    *,
    n: int = SAMPLES,
    steps: int = 1000,
    learning_rate: float = 1e-3,
    generator: torch.Generator | int = 0,
    progress: Progress = _silent,
) -> dict[str, float]:
    """Move samples of a prior up its own log density or bound, as training moves a net's kernels.

    A narrow posterior feels little of a prior but its density, so that in the limit kernels walk to
    the density's modes. Few and high modes take their variety from kernels.

    Args:
        prior: any prior with a density or a bound of one that can be sampled.
        n: samples that are moved.
        steps: of Adam, whose step size decays linearly to 0, as in the training of nets.
        learning_rate: the first step size.
        generator: of the samples and of the draws of z of a VAE's bound, a generator or a seed.
        progress: called with the steps, and their name as `desc`; `tqdm.tqdm`, for example.

    Returns:
        `gained`, the mean rise of the log density or bound in nats per kernel; `different_before`
        and `different_after`, numbers of different kernels (see `dwp.kernels`); `norm_before`
        and `norm_after`, median Euclidean norms.

    Raises:
        UserError: the prior has no density or cannot be sampled, or `n` is below 1.
    """
    if prior.density is None:
        raise UserError(f"prior kind '{prior.kind}' has no density to follow")
    draws = _draws_from("follow", generator)
    start = prior.sample(n, draws)
    kernels = torch.nn.Parameter(start.clone())
    optimiser = torch.optim.Adam([kernels], learning_rate)
    for step in progress(range(steps), desc="bound"):
        optimiser.param_groups[0]["lr"] = learning_rate * (1 - step / steps)
        loss = prior.loss(kernels, draws).sum()
        (kernels.grad,) = torch.autograd.grad(loss, kernels)  # the prior itself gets none
        optimiser.step()
    end, nearby = kernels.detach(), SAME * float(norms(start).median())
    gained = 0.0
    with torch.no_grad():
        for _ in range(_DRAWS):
            state = draws.get_state()  # the same draws for both: their difference is surer so
            before = prior.loss(start, draws)
            draws.set_state(state)
            gained += float((before - prior.loss(end, draws)).mean()) / _DRAWS
    return {
        "gained": gained,
        "different_before": count_different(start, nearby),
        "different_after": count_different(end, nearby),
        "norm_before": float(norms(start).median()),
        "norm_after": float(norms(end).median()),
    }


def _draws_from(what: str, source: torch.Generator | int) -> torch.Generator:
    """Return a generator as it is, or a fresh one of a seed, for draws of some name."""
    return source if isinstance(source, torch.Generator) else make_generator(what, source)


def _distance_to_nearest(kernels: Tensor, others: Tensor) -> Tensor:
    """Return the Euclidean distance (n,) of kernels (n, k, k) to the nearest of (m, k, k)."""
    parts = kernels.flatten(1).split(_PART)
    # Not by products of matrices, which lose a small distance to rounding
    mode = "donot_use_mm_for_euclid_dist"
    distances = [torch.cdist(part, others.flatten(1), compute_mode=mode).amin(1) for part in parts]
    return torch.cat(distances)


def _quantiles(values: Tensor) -> dict[str, float]:
    return {"median": float(values.quantile(0.5)), "decile": float(values.quantile(0.1))}


def _summary(values: Tensor) -> dict[str, float | None]:
    values = values.double()
    error = float(values.std() / math.sqrt(len(values))) if len(values) > 1 else None
    return {"mean": float(values.mean()), "standard_error": error}
