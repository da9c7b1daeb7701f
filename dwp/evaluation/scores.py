"""How well a prior describes kernels, in nats."""

import math

import torch
from torch import Tensor

from dwp.errors import UserError
from dwp.priors.base import KernelPrior, check_kernels
from dwp.priors.vae import KernelVAE
from dwp.seeds import generator


@torch.no_grad()
def score(
    prior: KernelPrior,
    kernels: Tensor,
    *,
    seed: int = 0,
    samples: int = 10,
    importance_samples: int = 1000,
) -> dict:
    """Score kernels under a prior.

    Args:
        prior: any prior with a density or a bound of one.
        kernels: (n, k, k) or (n, 1, k, k).
        seed: of the sampled terms.
        samples: draws of z that the terms of a VAE's bound are averaged over.
        importance_samples: draws of z for a VAE's log p(w).

    Returns:
        `n`, and `elbo`, `log_likelihood` (of the kernel given z), `kl` (of z), `log_prob`: each
        `mean` in nats per kernel with its `standard_error` over kernels. `log_prob` also tells its
        `estimator`: "exact" or "importance-weighted". An explicit density has no z: its bound is
        tight, so `elbo` and `log_likelihood` equal `log_prob` and `kl` is 0.
        `at_zero` is log p of the kernel of zeros, `at_initial` that of the kernels that nets start
        from (`KernelPrior.initial`; mean of 1,000), both in nats. Where `at_zero` is the greater,
        the KL of a narrow posterior draws kernels towards zero.

    Raises:
        UserError: the prior has no density, or the kernels are of another size.
    """
    kernels = check_kernels(kernels, prior.kernel_size)
    if samples < 1 or importance_samples < 1:
        raise UserError("samples and importance samples: expected at least 1")
    draws = generator("score", seed)
    explicit = not isinstance(prior, KernelVAE)

    def density(places: Tensor) -> Tensor:
        if explicit:
            return prior.log_prob(places)
        return prior.importance_log_prob(places, importance_samples, draws)

    if explicit:
        log_prob = density(kernels)
        terms = log_prob, torch.zeros_like(log_prob)
    else:
        pairs = [prior.elbo_terms(kernels, draws) for _ in range(samples)]
        terms = tuple(torch.stack(values).mean(0) for values in zip(*pairs, strict=True))
        log_prob = density(kernels)
    estimator = "exact" if explicit else "importance-weighted"
    return {
        "n": len(kernels),
        "elbo": _summary(terms[0] - terms[1]),
        "log_likelihood": _summary(terms[0]),
        "kl": _summary(terms[1]),
        "log_prob": {**_summary(log_prob), "estimator": estimator},
        "at_zero": float(density(torch.zeros_like(kernels[:1]))),
        "at_initial": float(density(prior.initial(1000, draws)).mean()),
    }


def _summary(values: Tensor) -> dict[str, float | None]:
    values = values.double()
    error = float(values.std() / math.sqrt(len(values))) if len(values) > 1 else None
    return {"mean": float(values.mean()), "standard_error": error}
