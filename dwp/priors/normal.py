"""The standard normal prior."""

import math

import torch
from torch import Tensor

from dwp.priors.base import KernelPrior
from dwp.priors.kl import register_kl
from dwp.priors.posteriors import GaussianKernels
from dwp.seeds import check_draws


class StandardNormal(KernelPrior):
    """Every weight N(0, 1), independently: the usual prior, which knows nothing of images."""

    kind = "standard-normal"

    def sample(self, n: int, generator: torch.Generator | int) -> Tensor:
        """Draw kernels (n, k, k)."""
        generator = check_draws(n, generator)
        shape = (n, self.kernel_size, self.kernel_size)
        return torch.randn(shape, generator=generator, device=generator.device)

    def log_prob(self, kernels: Tensor) -> Tensor:
        """Return the log density, in nats (n,), of kernels (n, k, k)."""
        return -0.5 * (kernels.square() + math.log(2 * math.pi)).sum((-2, -1))


@register_kl(GaussianKernels, StandardNormal, "exact")
def _kl(posterior: GaussianKernels, prior: StandardNormal, *_) -> Tensor:
    squares = posterior.variance + posterior.mean.square()
    return 0.5 * (squares - 1 - posterior.log_of_variance).sum((-2, -1))
