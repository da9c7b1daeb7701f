"""Which prior goes with which convolution of a net."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from torch.nn.parameter import is_lazy

from dwp.errors import UserError, check_one_of
from dwp.priors.base import KernelPrior
from dwp.priors.load import load_prior
from dwp.priors.pretrained import pretrained_family

Prior = KernelPrior | str | os.PathLike
"""A prior, or what `dwp.load_prior` takes for one."""

Priors = Prior | Mapping[Any, Prior]
"""A prior for every convolution; or priors by the layer's name, or by the kernel size k. The name
of pretrained priors without a size, as "mnist", stands for those of all sizes.
"""


def match_priors(
    convolutions: Mapping[str, Any], priors: Priors | None, layers: Iterable[str] | None
) -> dict[str, KernelPrior | None]:
    """Return the prior of each chosen convolution, by the layer's name.

    Args:
        convolutions: those of a net, by name.
        priors: one for all; or by the layer's name, or by the size k of its k x k kernels, for
            which a name of several pretrained priors stands, too (see `pretrained_family`). A
            layer's name goes before a size. None: there are none to match.
        layers: the chosen ones; None: those that `priors` names, or all if it names none.

    Raises:
        UserError: `priors` is empty, a name is not one of a convolution, or a chosen convolution
            has no prior over kernels of its size, no weight yet or one computed from others.
    """
    given: Any = pretrained_family(priors) if isinstance(priors, str) else priors
    given = _loaded(given or priors)
    by_key = given if isinstance(given, Mapping) else dict.fromkeys(convolutions, given)
    if not by_key and convolutions:
        raise UserError("prior: expected one, or one by layer or by kernel size; found none")
    if layers is None:
        layers = by_key if all(isinstance(key, str) for key in by_key) else convolutions
    layers, matched = list(layers), {}
    check_one_of("layer", layers, sorted(convolutions))
    for name in layers:
        problem, layer = "", convolutions[name]
        if "weight" not in layer._parameters:
            problem = "a weight of its own, found one computed from others; remove that first"
        elif is_lazy(layer.weight):
            problem = "a weight, found none yet (lazy); pass a batch through the net first"
        else:
            height, width = layer.kernel_size
            prior = matched[name] = by_key.get(name, by_key.get(height))
            if priors is not None and not (prior and prior.kernel_size == height == width):
                sizes = sorted({each.kernel_size for each in by_key.values() if each})
                known = ", ".join(f"{k} x {k}" for k in sizes)
                problem = f"a prior over its {height} x {width} kernels, found only over {known}"
                problem += "; name other layers by layers=, or fit a prior by dwp.fit_prior"
        if problem:
            raise UserError(f"layer '{name}': expected {problem}")
    return matched


def _loaded(given: Any) -> Any:
    if isinstance(given, Mapping):
        return {key: _loaded(each) for key, each in given.items()}
    return load_prior(given) if isinstance(given, str | os.PathLike) else given
