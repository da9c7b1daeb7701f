"""A Gaussian around every one of many kernels: a prior whose modes are real kernels."""

import math
from typing import Self

import torch
from torch import Tensor, nn

from dwp.errors import UserError
from dwp.priors.empirical import Empirical
from dwp.priors.kl import monte_carlo_kl, register_kl
from dwp.priors.posteriors import GaussianKernels
from dwp.seeds import check_draws, standard_normal

_STEPS, _TOLERANCE = 200, 1e-4  # of the bandwidth's fit; relative
_ROWS = 1024  # of the table of distances that are in memory at once
_EXACT = "donot_use_mm_for_euclid_dist"
_LEAST = 1e-12  # variance, relative to the kernels' mean square


class KernelDensity(Empirical):
    """A density estimate: a mixture of equal Gaussians, one around every given kernel.

    Its modes are real kernels, up to one for each, so that a posterior that walks to the nearest
    mode keeps kernels of many kinds; under a VAE all kernels end on a few. Nets start from the
    given kernels themselves, without noise.

    Attributes:
        kernels: the centres (n, k, k).
        bandwidth: the standard deviation of every weight around its centre.
    """

    kind = "kernel-density"

    def __init__(self, kernel_size: int, n: int) -> None:
        super().__init__(kernel_size, n)
        self.bandwidth = nn.Buffer(torch.ones(()))

    @classmethod
    def fit(
        cls, kernels: Tensor, bandwidth: float | None = None, centres: int | None = None
    ) -> Self:
        """Return the density estimate for kernels (n, k, k).

        Args:
            kernels: (n, k, k), n >= 2.
            bandwidth: standard deviation of every weight around a centre; None: that of the
                largest leave-one-out likelihood, found by expectation-maximisation.
            centres: how many of the kernels to use, evenly spread over their order; None: all.

        Raises:
            UserError: there are fewer kernels than centres or than 2, or each has a copy.
        """
        count = centres or len(kernels)
        if not 2 <= count <= len(kernels):
            found = f"expected 2 to {len(kernels)} centres, found {count}"
            raise UserError(f"kernels: {found}; lower centres or collect more kernels")
        prior = cls(kernels.shape[-1], count)
        prior.kernels.copy_(kernels[torch.arange(count) * len(kernels) // count])
        prior.bandwidth.fill_(prior._likely_bandwidth() if bandwidth is None else bandwidth)
        return prior

    def _likely_bandwidth(self) -> float:
        """Return the bandwidth of the largest likelihood of each centre under the others."""
        flat = self.kernels.flatten(1)  # (n, d)
        spread = flat.square().mean().item()
        variance = flat.var(0).mean().item()
        for _ in range(_STEPS):
            if variance <= _LEAST * spread:
                raise UserError(
                    "kernels: a bandwidth cannot be found, as every kernel has a copy; "
                    "remove the copies or set bandwidth"
                )
            total = 0.0
            for first in range(0, len(flat), _ROWS):
                # not by products of matrices, to whose rounding a copy would be at a distance
                squares = torch.cdist(flat[first : first + _ROWS], flat, compute_mode=_EXACT)
                squares = squares.square()  # (rows, n)
                squares.diagonal(first).fill_(torch.inf)  # a centre is not its own neighbour
                shares = (squares / (-2 * variance)).softmax(1)
                total += (shares * squares.clamp_max(torch.finfo(squares.dtype).max)).sum().item()
            before, variance = variance, total / flat.numel()
            if abs(variance - before) < _TOLERANCE * before:
                break
        return math.sqrt(variance)

    def sample(self, n: int, generator: torch.Generator | int) -> Tensor:
        """Draw kernels (n, k, k)."""
        generator = check_draws(n, generator, self.kernels.device)
        chosen = super().sample(n, generator)
        return chosen + self.bandwidth * standard_normal(chosen.shape, generator, chosen)

    def initial(self, n: int, generator: torch.Generator | int) -> Tensor:
        """Draw kernels (n, k, k) to start a net from: centres."""
        return super().sample(n, generator)

    def log_prob(self, kernels: Tensor) -> Tensor:
        """Return the log density, in nats (n,), of kernels (n, k, k)."""
        # Products in double, as no setting of the nets' precision changes: differences are taken.
        flat, centres = kernels.flatten(1).double(), self.kernels.flatten(1).double()
        squares = flat.square().sum(1, True) + centres.square().sum(1) - 2 * flat @ centres.T
        variance, d = self.bandwidth.square(), flat.shape[1]
        density = (squares.to(kernels) / (-2 * variance)).logsumexp(1)
        return density - math.log(len(centres)) - 0.5 * d * (2 * math.pi * variance).log()


register_kl(GaussianKernels, KernelDensity, "estimate")(monte_carlo_kl)
