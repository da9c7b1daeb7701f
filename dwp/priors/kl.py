"""The KL of a posterior from a prior, by double dispatch on their types.

As in `torch.distributions.kl`: a pair that nobody registered raises, and is never taken for 0.
"""

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from dwp.priors.base import KernelPrior
from dwp.priors.posteriors import GaussianKernels
from dwp.seeds import Source

Nature = Literal["exact", "upper bound", "approximation"]
_REGISTRY: dict[tuple[type, type], tuple[Callable[..., Tensor], Nature]] = {}


def register_kl(posterior: type, prior: type, nature: Nature) -> Callable:
    """Register the KL of a pair of types: `function(posterior, prior, generator) -> (...)`.

    Args:
        posterior: a class of `dwp.priors.posteriors` or a subclass of one.
        prior: a class of prior.
        nature: what the function returns: the KL ("exact"), an unbiased estimate of an upper
            bound ("upper bound"), or an approximation of known error ("approximation").
    """

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        _REGISTRY[posterior, prior] = (function, nature)
        return function

    return register


def _find(posterior: GaussianKernels, prior: KernelPrior) -> tuple[Callable[..., Tensor], Nature]:
    for q in type(posterior).__mro__:
        for p in type(prior).__mro__:
            if (q, p) in _REGISTRY:
                return _REGISTRY[q, p]
    raise NotImplementedError(
        f"no KL of {type(posterior).__name__} from {type(prior).__name__} is registered; "
        "write one with dwp.priors.kl.register_kl"
    )


def kl_nature(posterior: GaussianKernels, prior: KernelPrior) -> Nature:
    """Return what `kl_divergence` gives for this pair: exact, upper bound or approximation."""
    return _find(posterior, prior)[1]


def kl_divergence(
    posterior: GaussianKernels, prior: KernelPrior, generator: Source = None
) -> Tensor:
    """Return the KL of a posterior from a prior per kernel, in nats (...).

    The sum over the returned values is the layer's KL (the prior is a product over kernels).

    Args:
        posterior: over kernels (..., k, k).
        prior: over k x k kernels.
        generator: for pairs whose KL is estimated by sampling; one, or one for each run whose
            kernels the posterior's first dimension holds, in equal blocks.

    Raises:
        NotImplementedError: no KL is registered for the pair.
    """
    return _find(posterior, prior)[0](posterior, prior, generator)
