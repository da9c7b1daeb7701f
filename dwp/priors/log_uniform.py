"""The log-uniform prior of variational dropout."""

import math

import torch
from torch import Tensor

from dwp.errors import UserError
from dwp.priors.base import KernelPrior
from dwp.priors.kl import register_kl
from dwp.priors.posteriors import MultiplicativeKernels

# Kingma, Salimans and Welling (2015), "Variational dropout and the local reparameterization
# trick", equation 14: a fit that holds for alpha up to 1.
_COEFFICIENTS = (1.16145124, -1.50204118, 0.58629921)
# E log|noise| of a standard normal, negated: makes the KL vanish as alpha grows without bound.
_CONSTANT = 0.5 * (0.57721566490153286 + math.log(2))


class LogUniform(KernelPrior):
    """The improper prior p(w) proportional to 1 / |w| on every weight.

    Its KL depends on the noise-to-signal ratio alone, so it goes with a multiplicative posterior
    only. Being improper it has no samples and no normalised density, and its KL is defined up to
    a constant, here such that it is 0 in the limit of infinite alpha.
    """

    kind = "log-uniform"

    def sample(self, n: int, generator: torch.Generator | int) -> Tensor:
        """Raise `UserError`: there is nothing to draw from."""
        raise UserError("the log-uniform prior is improper and has no samples; choose another init")


@register_kl(MultiplicativeKernels, LogUniform, "approximation")
def _kl(posterior: MultiplicativeKernels, prior: LogUniform, *_) -> Tensor:
    alpha = posterior.log_alpha.exp()
    first, second, third = _COEFFICIENTS
    polynomial = alpha * (first + alpha * (second + alpha * third))
    return (_CONSTANT - 0.5 * posterior.log_alpha - polynomial).sum((-2, -1))
