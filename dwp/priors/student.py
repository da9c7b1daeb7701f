"""A multivariate Student t fitted to kernels: heavier tails than a Gaussian."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from dwp.priors.gaussian import LocationScalePrior

# between which the degrees are sought; beyond, it is a Gaussian to float32
_LOG_DEGREES = math.log(0.1), math.log(1e4)
_STEPS = 500
_TOLERANCE = 1e-7  # nats per kernel


class StudentT(LocationScalePrior):
    """A multivariate Student t over the d = k * k weights of a kernel, with a full scale matrix.

    A Gaussian whose whole kernel is scaled by one random number: weights that are uncorrelated
    still share it. For many degrees of freedom it is the full-covariance Gaussian.
    """

    kind = "student-t"

    def __init__(self, kernel_size: int) -> None:
        super().__init__(kernel_size)
        self.degrees = nn.Buffer(torch.ones(()))

    @classmethod
    def fit(cls, kernels: Tensor) -> "StudentT":
        """Return the maximum-likelihood t of kernels (n, k, k), n > k * k, degrees included.

        By expectation-maximisation for mean and scale, the degrees of freedom maximising the
        likelihood itself at each step (Liu and Rubin 1995, "ML estimation of the t distribution").

        Raises:
            UserError: the scale matrix is singular (too few or degenerate kernels).
        """
        prior = cls(kernels.shape[-1])
        flat = kernels.flatten(1).double()  # (n, d)
        d = flat.shape[1]
        mean, matrix = flat.mean(0), flat.T.cov(correction=0)
        before = -math.inf
        for _ in range(_STEPS):
            scale = cls._factor(flat, matrix)
            whitened = torch.linalg.solve_triangular(scale, (flat - mean).T, upper=False)
            distance = whitened.square().sum(0)  # (n,)
            degrees, log_density = _likeliest_degrees(distance, d)
            now = log_density - float(scale.diagonal().log().sum())
            if now - before < _TOLERANCE:
                break
            before = now
            weights = (degrees + d) / (degrees + distance)
            mean = weights @ flat / weights.sum()
            centred = flat - mean
            # Divided by their sum instead of n, EM takes fewer steps to the same fit (Kent,
            # Tyler and Vardi 1994)
            matrix = (weights[:, None] * centred).T @ centred / weights.sum()
        prior._set(mean, scale)
        prior.degrees.fill_(degrees)
        return prior

    def _from_noise(self, noise: Tensor, generator: torch.Generator) -> Tensor:
        shape = (self.degrees / 2).expand(len(noise), 1).contiguous()
        gamma = torch._standard_gamma  # pyright: ignore[reportPrivateImportUsage]
        chi_square = 2 * gamma(shape, generator=generator)
        return noise * (self.degrees / chi_square).sqrt()

    def log_prob(self, kernels: Tensor) -> Tensor:
        """Return the log density, in nats (n,), of kernels (n, k, k)."""
        constant = 0.5 * self._log_determinant()
        return _log_kernel(self._distance(kernels), len(self.mean), self.degrees) - constant


def _likeliest_degrees(distance: Tensor, d: int) -> tuple[float, float]:
    """Return the degrees that maximise the mean of `_log_kernel` over distances (n,), and it."""
    from scipy.optimize import minimize_scalar  # not needed to use a fitted prior

    def loss(log_degrees: float) -> float:
        degrees = torch.tensor(math.exp(log_degrees), dtype=torch.double)
        return -float(_log_kernel(distance, d, degrees).mean())

    found: Any = minimize_scalar(loss, bounds=_LOG_DEGREES, method="bounded")
    return math.exp(found.x), -found.fun


def _log_kernel(distance: Tensor, d: int, degrees: Tensor) -> Tensor:
    """Return the log density at a squared distance (...), for a scale of determinant 1."""
    degrees = degrees.double()  # the difference of two large numbers
    constant = torch.lgamma((degrees + d) / 2) - torch.lgamma(degrees / 2)
    constant = constant - 0.5 * d * (degrees * math.pi).log()
    return constant.to(distance) - 0.5 * (degrees + d) * (distance / degrees).log1p()
