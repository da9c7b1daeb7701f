"""The kinds of prior, and the facts of each that are known without importing it, or torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

REQUIRED: Any = object()
"""Stands for the default of a hyperparameter that has none."""


@dataclass(frozen=True)
class Hyperparameter:
    """What a user sets of a kind of prior.

    Attributes:
        type: of its value.
        default: `REQUIRED` if it has none; a default of None stands for "none", and is no
            value of `type`.
        positive: whether it must be above 0.
    """

    type: type
    default: Any = REQUIRED
    positive: bool = True


@dataclass(frozen=True)
class Kind:
    """The facts of one kind of prior.

    Attributes:
        location: of the class, "module:Class".
        hyperparameters: by name: arguments of the class if it is trained, else of its `fit`.
        trained: whether the prior is fitted by gradient steps on `loss` (else by `fit`).
        needs_kernels: whether there is anything to fit.
        density: "exact" if `log_prob` is tractable, "bound" if only bounds of it are, None if there
            is no density to score kernels by.
        kl_settings: those settings of a KL (`dwp.priors.Estimation`) that its KLs read; nothing
            runs again for another value of the others.
        posterior: the kind of posterior that goes with the prior.
    """

    location: str
    hyperparameters: Mapping[str, Hyperparameter] = field(default_factory=dict)
    trained: bool = False
    needs_kernels: bool = True
    density: Literal["exact", "bound"] | None = "exact"
    kl_settings: tuple[str, ...] = ("kl_estimator", "kl_bound", "latent_samples")
    posterior: Literal["additive", "multiplicative"] = "additive"


KINDS: dict[str, Kind] = {
    "vae": Kind(
        "dwp.priors.vae:KernelVAE",
        {
            "hidden": Hyperparameter(int),
            "latent": Hyperparameter(int),
            "variance": Hyperparameter(float, default=None),
        },
        trained=True,
        density="bound",
        kl_settings=("kl_bound", "latent_samples"),
    ),
    "standard-normal": Kind(
        "dwp.priors.normal:StandardNormal", needs_kernels=False, kl_settings=("kl_estimator",)
    ),
    "gaussian-diagonal": Kind(
        "dwp.priors.gaussian:DiagonalGaussian", kl_settings=("kl_estimator",)
    ),
    "gaussian-full": Kind("dwp.priors.gaussian:FullGaussian", kl_settings=("kl_estimator",)),
    "gaussian-mixture": Kind(
        "dwp.priors.mixture:GaussianMixture",
        {
            "components": Hyperparameter(int),
            "seed": Hyperparameter(int, positive=False),
            "floor": Hyperparameter(float, default=1e-3),
        },
        kl_settings=(),
    ),
    "kernel-density": Kind(
        "dwp.priors.kernel_density:KernelDensity",
        {
            "bandwidth": Hyperparameter(float, default=None),
            "centres": Hyperparameter(int, default=None),
        },
        kl_settings=(),
    ),
    "student-t": Kind("dwp.priors.student:StudentT", kl_settings=()),
    "flow": Kind(
        "dwp.priors.flow:Flow",
        {"transforms": Hyperparameter(int), "hidden": Hyperparameter(int)},
        trained=True,
        kl_settings=(),
    ),
    "log-uniform": Kind(
        "dwp.priors.log_uniform:LogUniform",
        needs_kernels=False,
        density=None,
        kl_settings=(),
        posterior="multiplicative",
    ),
    "empirical": Kind("dwp.priors.empirical:Empirical", density=None),
}
"""Kinds of prior by name: a new one is a file and an entry here, and is imported only when used."""
