"""Where a prior's own bound leads its samples: how many modes it has, and how high they are."""

import torch
from torch import Tensor

from dwp.errors import UserError
from dwp.evaluation.scores import Progress, draws_from, silent
from dwp.kernels import norms
from dwp.priors.base import KernelPrior

SAME = 0.1
"""Kernels count as the same within this share of the samples' median norm."""

SAMPLES = 200
"""How many samples are moved, unless asked for others."""

_DRAWS = 10  # of z, of a VAE's bound


def follow_bound(
    prior: KernelPrior,
    *,
    n: int = SAMPLES,
    steps: int = 1000,
    learning_rate: float = 1e-3,
    generator: torch.Generator | int = 0,
    progress: Progress = silent,
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
        and `different_after`, numbers of different kernels (see `count_different`); `norm_before`
        and `norm_after`, median Euclidean norms.

    Raises:
        UserError: a number is below 1, or the prior has no density or cannot be sampled.
    """
    if min(n, steps) < 1:
        raise UserError(f"n, steps: expected at least 1, found {n}, {steps}")
    if prior.density is None:
        raise UserError(f"prior kind '{prior.kind}' has no density to follow")
    draws = draws_from("follow", generator)
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


def count_different(kernels: Tensor, distance: float) -> int:
    """Return how many kernels (n, k, k) remain if each takes away those nearer than a distance.

    The first takes away all kernels near it, then the first of the rest, and so on.
    """
    left, count = kernels.flatten(1), 0
    while len(left):
        first, left = left[0], left[1:]
        left = left[(left - first).norm(dim=1) >= distance]
        count += 1
    return count
