"""Priors over the kernels of convolutional nets, learned from the kernels of other nets.

The names below are imported when first used, so that `import dwp` is quick.
"""

from importlib import import_module

_EXPORTS = {
    "UserError": "dwp.errors",
    "bayesianize": "dwp.nn.bayesian",
    "derive_seed": "dwp.seeds",
    "generator": "dwp.seeds",
    "init": "dwp.nn.init",
    "kl": "dwp.nn.bayesian",
    "kl_divergence": "dwp.priors",
    "load_prior": "dwp.priors",
    "load_released_vae": "dwp.release",
    "predict": "dwp.nn.predict",
    "pretrained": "dwp.priors.pretrained",
    "score": "dwp.evaluation.scores",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> object:
    if name in _EXPORTS:
        module = import_module(_EXPORTS[name])
        return module if name == "init" else getattr(module, name)
    raise AttributeError(f"module 'dwp' has no attribute '{name}'")
