"""Priors over the kernels of convolutional nets, learned from the kernels of other nets.

The names below are imported when first used, so that `import dwp` is quick.
"""

from typing import TYPE_CHECKING

from dwp.lazy import exports

if TYPE_CHECKING:
    from dwp.errors import UserError as UserError
    from dwp.evaluation.scores import score as score
    from dwp.nn import init as init
    from dwp.nn.bayesian import bayesianize as bayesianize, kl as kl
    from dwp.nn.elbo import negative_elbo as negative_elbo
    from dwp.nn.predict import predict as predict
    from dwp.priors import kl_divergence as kl_divergence, load_prior as load_prior
    from dwp.priors.pretrained import pretrained as pretrained
    from dwp.seeds import derive_seed as derive_seed, generator as generator
    from dwp.training.fit import fit_prior as fit_prior

__version__ = "1.0.0"
__getattr__, __dir__, __all__ = exports(__name__, __file__)
