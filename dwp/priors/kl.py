"""The KL of a posterior from a prior, by double dispatch on their types.

As in `torch.distributions.kl`: a pair that nobody registered raises, and is never taken for 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from dwp.errors import UserError, check_count, check_one_of
from dwp.priors.base import KernelPrior
from dwp.priors.posteriors import GaussianKernels
from dwp.seeds import Source, seeded

Nature = Literal["exact", "estimate", "upper bound", "approximation"]
"""How a number that is called a KL relates to the KL; see `register_kl`."""

Estimator = Literal["exact", "monte-carlo"]
Bound = Literal["elbo", "importance-weighted"]

_REGISTRY: dict[tuple[type, type], tuple[Callable[..., Tensor], Nature]] = {}


@dataclass(frozen=True)
class Estimation:
    """How a KL is computed, if there are several ways.

    Attributes:
        estimator: of a KL with a closed form: that ("exact"), or an unbiased estimate by one draw
            of the weights ("monte-carlo"), as there is of densities without a closed form.
        bound: of a KL from a latent-variable prior: by the ELBO of log p(w), with the KL of the
            code in closed form ("elbo"), or by the tighter "importance-weighted" bound (Burda et
            al. 2016).
        latent_samples: draws of the code for that bound. They lower the variance of "elbo", and
            tighten "importance-weighted".

    Raises:
        UserError: a value is not one of these.
    """

    estimator: Estimator = "exact"
    bound: Bound = "elbo"
    latent_samples: int = 1

    def __post_init__(self) -> None:
        for name, values in {"estimator": Estimator, "bound": Bound}.items():
            check_one_of(name, getattr(self, name), get_args(values))
        check_count("latent_samples", self.latent_samples)


DEFAULT = Estimation()


def register_kl(posterior: type, prior: type, nature: Nature) -> Callable:
    """Register a pair's KL: `function(posterior, prior, generator, estimation) -> (...)`.

    Args:
        posterior: a class of `dwp.priors.posteriors` or a subclass of one.
        prior: a class of prior.
        nature: of the returned values: the KL ("exact"), an unbiased estimate of it
            ("estimate"), an unbiased estimate of an upper bound ("upper bound"), or an
            approximation of known error ("approximation").
    """

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        _REGISTRY[posterior, prior] = (function, nature)
        return function

    return register


def _find(
    posterior: GaussianKernels, prior: KernelPrior, estimation: Estimation
) -> tuple[Callable[..., Tensor], Nature]:
    for q in type(posterior).__mro__:
        for p in type(prior).__mro__:
            if (q, p) in _REGISTRY:
                function, nature = _REGISTRY[q, p]
                if nature == "exact" and estimation.estimator == "monte-carlo":
                    return monte_carlo_kl, "estimate"
                return function, nature
    raise NotImplementedError(
        f"no KL of {type(posterior).__name__} from {type(prior).__name__} is registered; "
        "write one with dwp.priors.kl.register_kl"
    )


def kl_nature(
    posterior: GaussianKernels, prior: KernelPrior, estimation: Estimation = DEFAULT
) -> Nature:
    """Return how the values of `kl_divergence` relate to the KL; see `register_kl`."""
    return _find(posterior, prior, estimation)[1]


def kl_divergence(
    posterior: GaussianKernels,
    prior: KernelPrior,
    generator: Source = None,
    estimation: Estimation = DEFAULT,
) -> Tensor:
    """Return the KL of a posterior from a prior per kernel, in nats (...).

    The sum over the returned values is the layer's KL (the prior is a product over kernels).

    Args:
        posterior: over kernels (..., k, k).
        prior: over k x k kernels.
        generator: for pairs whose KL is estimated by sampling; one or a seed, or one for each run
            whose kernels the posterior's first dimension holds, in equal blocks.
        estimation: how, if there are several ways.

    Raises:
        NotImplementedError: no KL is registered for the pair.
        UserError: the prior is over kernels of another size.
    """
    size, k = posterior.mean.shape[-1], prior.kernel_size
    if isinstance(posterior, GaussianKernels) and size != k:
        raise UserError(f"kl: the prior is over {k} x {k} kernels, found {size} x {size}")
    source = seeded(generator, posterior.mean.device)
    return _find(posterior, prior, estimation)[0](posterior, prior, source, estimation)


def monte_carlo_kl(
    posterior: GaussianKernels, prior: KernelPrior, generator: Source, *_: Estimation
) -> Tensor:
    """Return -H(q) - log p(w) per kernel, in nats (...), for one w from q.

    An unbiased estimate of the KL from any prior with a tractable density; register it for priors
    whose KL has no closed form.
    """
    kernels = posterior.sample(generator)  # (..., k, k)
    log_prob = prior.log_prob(kernels.reshape(-1, *kernels.shape[-2:])).view(kernels.shape[:-2])
    return -posterior.entropy() - log_prob
