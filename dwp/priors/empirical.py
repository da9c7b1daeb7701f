"""Kernels themselves as a distribution: for initialisation only."""

import torch
from torch import Tensor, nn

from dwp.priors.base import KernelPrior
from dwp.seeds import check_draws


class Empirical(KernelPrior):
    """Kernels drawn uniformly, with replacement, from a given set.

    It has no density and no KL: use it to start nets from learned kernels, not as a prior.
    """

    kind = "empirical"

    def __init__(self, kernel_size: int, n: int) -> None:
        super().__init__(kernel_size, n=n)
        self.kernels = nn.Buffer(torch.zeros(n, kernel_size, kernel_size))

    @classmethod
    def fit(cls, kernels: Tensor) -> "Empirical":
        """Return the distribution of kernels (n, k, k)."""
        prior = cls(kernels.shape[-1], len(kernels))
        prior.kernels.copy_(kernels)
        return prior

    def sample(self, n: int, generator: torch.Generator | int) -> Tensor:
        """Draw kernels (n, k, k)."""
        device = self.kernels.device
        generator = check_draws(n, generator, device)
        chosen = torch.randint(len(self.kernels), (n,), generator=generator, device=device)
        return self.kernels[chosen]
