"""Priors over kernels: one interface, one file a kind.

The names below are imported when first used: what a kind needs and takes (`KINDS`) is known
without torch.
"""

from typing import TYPE_CHECKING

from dwp.lazy import exports

if TYPE_CHECKING:
    from dwp.priors.base import KernelPrior as KernelPrior
    from dwp.priors.kinds import KINDS as KINDS
    from dwp.priors.kinds import Hyperparameter as Hyperparameter
    from dwp.priors.kinds import Kind as Kind
    from dwp.priors.kl import (
        Estimation as Estimation,
    )
    from dwp.priors.kl import (
        kl_divergence as kl_divergence,
    )
    from dwp.priors.kl import (
        kl_nature as kl_nature,
    )
    from dwp.priors.kl import (
        register_kl as register_kl,
    )
    from dwp.priors.load import (
        load_prior as load_prior,
    )
    from dwp.priors.load import (
        load_priors as load_priors,
    )
    from dwp.priors.load import (
        load_vae as load_vae,
    )
    from dwp.priors.load import (
        prior_class as prior_class,
    )
    from dwp.priors.posteriors import (
        GaussianKernels as GaussianKernels,
    )
    from dwp.priors.posteriors import (
        MultiplicativeKernels as MultiplicativeKernels,
    )

__getattr__, __dir__, __all__ = exports(__name__, __file__)
