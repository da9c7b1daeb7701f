"""Priors over the kernels of convolutional nets, learned from the kernels of other nets.

The names below are imported when first used, so that `import dwp` is quick.
"""

from importlib import import_module

_EXPORTS = {
    "UserError": "dwp.errors",
    "derive_seed": "dwp.seeds",
    "generator": "dwp.seeds",
    "initialise_from": "dwp.nn.bayesian",
    "kl_by_layer": "dwp.nn.bayesian",
    "kl_divergence": "dwp.priors",
    "load_prior": "dwp.priors",
    "load_released_vae": "dwp.legacy",
    "make_bayesian": "dwp.nn.bayesian",
    "predict": "dwp.nn.predict",
    "score": "dwp.evaluation.scores",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> object:
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'dwp' has no attribute '{name}'")
