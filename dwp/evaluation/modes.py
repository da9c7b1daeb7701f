"""Where a prior's own bound leads its samples: how many modes it has, and how high they are."""

import torch
from torch import Tensor

from dwp.errors import UserError
from dwp.evaluation.scores import Progress, silent
from dwp.kernels import norms
from dwp.priors.base import KernelPrior
from dwp.seeds import generator

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
    seed: int = 0,
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
        seed: of the samples, and of the draws of z of a VAE's bound.
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
    draws = generator("follow", seed)
    start = prior.sample(n, draws)
    kernels = torch.nn.Parameter(start.clone())
    optimiser = torch.optim.Adam([kernels], learning_rate)
    for step in progress(range(steps), desc="bound"):
        optimiser.param_groups[0]["lr"] = learning_rate * (1 - step / steps)
        optimiser.zero_grad()
        prior.loss(kernels, draws).sum().backward()
        optimiser.step()
    end, nearby = kernels.detach(), SAME * float(norms(start).median())
    losses = torch.zeros(2)
    with torch.no_grad():
        for draw in range(_DRAWS):  # the same for both, whose difference is less uncertain so
            for number, part in enumerate((start, end)):
                losses[number] += prior.loss(part, generator("follow", seed, draw)).mean()
    return {
        "gained": float(losses[0] - losses[1]) / _DRAWS,
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
        left = left[(left - left[0]).norm(dim=1) >= distance][: len(left) - 1]
        count += 1
    return count
