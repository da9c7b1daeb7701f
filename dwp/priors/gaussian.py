"""Gaussian priors fitted to kernels: explicit densities to hold the learned ones against."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from dwp.errors import UserError
from dwp.priors.base import KernelPrior
from dwp.priors.kl import monte_carlo_kl, register_kl
from dwp.priors.posteriors import GaussianKernels
from dwp.seeds import check_draws, standard_normal

_LEAST_SPREAD = 1e-12  # of a direction, relative to the mean square: the rounding of float32


class LocationScalePrior(KernelPrior):
    """A prior with a location m and a scale matrix S for the d = k * k weights of a kernel.

    Its KL is estimated by Monte Carlo unless that of a subclass is registered.
    """

    def __init__(self, kernel_size: int, **arguments: Any) -> None:
        super().__init__(kernel_size, **arguments)
        d = kernel_size**2
        self.mean = nn.Buffer(torch.zeros(d))
        self.scale = nn.Buffer(torch.eye(d))  # Cholesky factor of the matrix S
        self.whitening = nn.Buffer(torch.eye(d))  # its inverse

    @classmethod
    def _factor(cls, flat: Tensor, matrix: Tensor) -> Tensor:
        """Return the Cholesky factor of a matrix S (d, d) fitted to vectors (n, d), n > d.

        Raises:
            UserError: the matrix is singular (too few or degenerate kernels).
        """
        scale, failed = torch.linalg.cholesky_ex(matrix)
        least = _LEAST_SPREAD * flat.square().mean(0).max()
        if failed or len(flat) <= flat.shape[1] or scale.diagonal().square().min() <= least:
            raise UserError(
                f"kernels: a {cls.kind} prior needs more than {flat.shape[1]} kernels that do not "
                f"lie in a plane, found {len(flat)}; train more source nets or prune less"
            )
        return scale

    def _set(self, mean: Tensor, scale: Tensor) -> None:
        self.mean.copy_(mean)
        self.scale.copy_(scale)
        self.whitening.copy_(torch.linalg.inv(scale))

    def sample(self, n: int, generator: torch.Generator | int) -> Tensor:
        """Draw kernels (n, k, k)."""
        generator = check_draws(n, generator, self.mean.device)
        noise = standard_normal((n, len(self.mean)), generator, self.mean)
        whitened = self._from_noise(noise, generator)
        return (self.mean + whitened @ self.scale.T).unflatten(1, (self.kernel_size, -1))

    def _from_noise(self, noise: Tensor, generator: torch.Generator) -> Tensor:
        """Return draws (n, d) in units of S around m, made of standard normal noise (n, d)."""
        return noise

    def _whitened(self, kernels: Tensor) -> Tensor:
        """Return kernels (..., k, k) in units of S around m (..., d), in double precision."""
        # which no setting of the nets' precision changes: it takes differences of weights
        centred = kernels.flatten(-2).double() - self.mean.double()
        return centred @ self.whitening.double().T

    def _distance(self, kernels: Tensor) -> Tensor:
        return self._whitened(kernels).square().sum(-1).to(kernels)

    def _log_determinant(self) -> Tensor:
        return 2 * self.scale.diagonal().log().sum()


register_kl(GaussianKernels, LocationScalePrior, "estimate")(monte_carlo_kl)


class FullGaussian(LocationScalePrior):
    """A Gaussian over the d = k * k weights of a kernel with a full covariance matrix.

    The tightest of the Gaussian priors in nats. Do not take density for accuracy: it also pulls
    hardest, and may cost a net more than it helps.
    """

    kind = "gaussian-full"

    @classmethod
    def fit(cls, kernels: Tensor) -> "FullGaussian":
        """Return the maximum-likelihood Gaussian of kernels (n, k, k), n > k * k.

        Raises:
            UserError: the covariance is singular (too few or degenerate kernels).
        """
        prior = cls(kernels.shape[-1])
        flat = kernels.flatten(1).double()  # (n, d)
        prior._set(flat.mean(0), cls._factor(flat, flat.T.cov(correction=0)))
        return prior

    def log_prob(self, kernels: Tensor) -> Tensor:
        """Return the log density, in nats (n,), of kernels (n, k, k)."""
        constant = len(self.mean) * math.log(2 * math.pi) + self._log_determinant()
        return -0.5 * (self._distance(kernels) + constant)


class DiagonalGaussian(FullGaussian):
    """A Gaussian with a mean and a variance for every weight of the kernel."""

    kind = "gaussian-diagonal"

    @classmethod
    def _factor(cls, flat: Tensor, matrix: Tensor) -> Tensor:
        return super()._factor(flat, matrix.diagonal().diag())


@register_kl(GaussianKernels, FullGaussian, "exact")
def _kl(posterior: GaussianKernels, prior: FullGaussian, *_) -> Tensor:
    variance = posterior.variance.flatten(-2)  # (..., d)
    trace = variance.double() @ prior.whitening.double().square().sum(0)
    return 0.5 * (
        trace.to(variance)
        + prior._distance(posterior.mean)
        - len(prior.mean)
        + prior._log_determinant()
        - posterior.log_of_variance.sum((-2, -1))
    )
