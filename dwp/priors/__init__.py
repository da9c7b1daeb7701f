"""Priors over kernels: one interface, one file a kind.

The names below are imported when first used: what a kind needs and takes (`KINDS`) is known
without torch.
"""

from typing import TYPE_CHECKING

from dwp.lazy import exports

if TYPE_CHECKING:
    from dwp.priors.base import KernelPrior as KernelPrior
    from dwp.priors.kinds import KINDS as KINDS, Hyperparameter as Hyperparameter, Kind as Kind
    from dwp.priors.kl import (
        Estimation as Estimation,
        kl_divergence as kl_divergence,
        kl_nature as kl_nature,
        register_kl as register_kl,
    )
    from dwp.priors.load import load_prior as load_prior, prior_class as prior_class
    from dwp.priors.posteriors import (
        GaussianKernels as GaussianKernels,
        MultiplicativeKernels as MultiplicativeKernels,
    )

__getattr__, __dir__, __all__ = exports(__name__, __file__)
