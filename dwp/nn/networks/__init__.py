"""Networks by name, each written once.

A net is built of ordinary convolutions; `dwp.nn.bayesian.bayesianize` turns those of named
layers Bayesian, so that the plain, the Bayesian and the partly Bayesian net are one class.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from dwp.registry import NETWORKS, find_class

_NEEDED = "image_shape", "kernel_sizes", "features"


def scaled(filters: Sequence[int], factor: float) -> list[int]:
    """Return numbers of filters times a factor, rounded, each at least 1."""
    return [max(1, round(factor * number)) for number in filters]


def network_class(name: str) -> Any:
    """Return the class of a network.

    Args:
        name: a key of `NETWORKS`, or `FILE.py:CLASS`.

    Raises:
        UserError: the name is unknown, or there is no such class in the file.
    """
    return find_class("network", name, NETWORKS, _NEEDED)


def build_network(name: str, **arguments) -> nn.Module:
    """Build a network by name (see `network_class`).

    Raises:
        UserError: the name is unknown.
    """
    return network_class(name)(**arguments)


def initialise_xavier(net: nn.Module, generator: torch.Generator) -> None:
    """Set every weight of a convolution or linear layer Xavier-normal and every bias to 0."""
    for module in net.modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, nn.Parameter) and weight.dim() > 1:
            nn.init.xavier_normal_(weight, generator=generator)
            if isinstance(module.bias, nn.Parameter):
                nn.init.zeros_(module.bias)
