"""Factorised posteriors over the kernels of a layer."""

import math
from dataclasses import dataclass
from typing import ClassVar, Self

from torch import Tensor

from dwp.seeds import Source, standard_normal


@dataclass(frozen=True)
class Gaussians:
    """Independent Gaussians over numbers, several of which belong to a kernel.

    Attributes:
        mean: (..., d) or (..., k, k).
        log_variance: of the shape of the mean.
    """

    mean: Tensor
    log_variance: Tensor
    _own: ClassVar[int]  # the dimensions that belong to one kernel

    @property
    def variance(self) -> Tensor:
        """The variance, of the shape of the mean."""
        return self.log_variance.exp()

    @property
    def deviation(self) -> Tensor:
        """The standard deviation, with a finite gradient where the variance is 0."""
        return (0.5 * self.log_variance).exp()

    def at(self, noise: Tensor) -> Tensor:
        """Return mean + deviation * noise: for standard normal noise a draw, differentiably."""
        return self.mean + self.deviation * noise

    def sample(self, generator: Source) -> Tensor:
        """Draw every number once, differentiably; see `dwp.seeds.standard_normal`."""
        return self.at(standard_normal(self.mean.shape, generator, self.mean))

    def select(self, indices: Tensor) -> Self:
        """Return the posterior of kernels `indices` (m,) of the flattened leading shape."""
        return type(self)(*(t.flatten(0, -1 - self._own)[indices] for t in vars(self).values()))


class GaussianKernels(Gaussians):
    """Independent Gaussians over the weights of kernels: w = mean + sqrt(variance) * noise.

    Attributes:
        mean: (..., k, k).
        log_variance: (..., k, k).
    """

    _own = 2

    @property
    def log_of_variance(self) -> Tensor:
        """The logarithm of the variance (..., k, k), finite where the variance itself is 0."""
        return self.log_variance

    def entropy(self) -> Tensor:
        """Return the differential entropy of each kernel, in nats (...)."""
        return 0.5 * (self.log_of_variance + math.log(2 * math.pi * math.e)).sum((-2, -1))


class GaussianCodes(Gaussians):
    """Independent Gaussians over the latent codes of kernels, one code a kernel.

    Attributes:
        mean: (..., latent).
        log_variance: (..., latent).
    """

    _own = 1


class MultiplicativeKernels(GaussianKernels):
    """Gaussians with multiplicative noise: w = mean * (1 + sqrt(alpha) * noise).

    A Gaussian of variance alpha * mean^2 (Kingma et al. 2015, "Variational dropout"), so that
    every KL of a Gaussian posterior applies. The second field holds log alpha.
    """

    @property
    def log_alpha(self) -> Tensor:
        """The log of the noise-to-signal ratio alpha (..., k, k)."""
        return self.log_variance

    @property
    def variance(self) -> Tensor:
        """The variance alpha * mean^2 (..., k, k)."""
        return self.log_alpha.exp() * self.mean.square()

    @property
    def deviation(self) -> Tensor:
        """The standard deviation sqrt(alpha) * |mean| (..., k, k)."""
        return (0.5 * self.log_alpha).exp() * self.mean.abs()

    @property
    def log_of_variance(self) -> Tensor:
        """The logarithm of the variance (..., k, k)."""
        return self.log_alpha + 2 * self.mean.abs().log()
