"""The paper's networks, each written once.

A net is built of ordinary convolutions; `dwp.nn.bayesian.make_bayesian` turns those of named
layers Bayesian, so that the plain, the Bayesian and the partly Bayesian net are one class.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from dwp.errors import UserError


class MnistNet(nn.Module):
    """The paper's net for 28 x 28 grey images: two convolutions and a linear layer.

    conv 7x7, leaky ReLU, max-pool 2, conv 5x5, leaky ReLU, max-pool 2, linear; no padding.

    Args:
        filters: number of filters of the two convolutions ([256, 512] for the paper's source
            nets, [32, 128] for its target net).
        classes: number of classes.
    """

    kernel_sizes: ClassVar = {"conv1": 7, "conv2": 5}

    def __init__(self, filters: Sequence[int], classes: int = 10) -> None:
        super().__init__()
        first, second = filters
        self.conv1 = nn.Conv2d(1, first, 7)
        self.conv2 = nn.Conv2d(first, second, 5)
        self.activation = nn.LeakyReLU()
        self.pool = nn.MaxPool2d(2)
        self.classifier = nn.Linear(second * 9, classes)

    def features(self, images: Tensor) -> Tensor:
        """Return what the classifier sees (batch, 9 * second) of images (batch, 1, 28, 28)."""
        maps = self.pool(self.activation(self.conv1(images)))  # (batch, first, 11, 11)
        maps = self.pool(self.activation(self.conv2(maps)))  # (batch, second, 3, 3)
        return maps.flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, classes) of images (batch, 1, 28, 28) in [0, 1]."""
        return self.classifier(self.features(images))


NETWORKS: dict[str, type[nn.Module]] = {"mnist": MnistNet}
"""Networks by the name used in the config; a new one is a class and a line here.

The class has `kernel_sizes` of its convolutions, a method `features` from images to vectors, and a
module `classifier` from there to logits.
"""


def scaled(filters: Sequence[int], k: float) -> list[int]:
    """Return numbers of filters times k, rounded, at least 1 each."""
    return [max(1, round(k * count)) for count in filters]


def build_network(name: str, **arguments) -> nn.Module:
    """Build a network of `NETWORKS` by name.

    Raises:
        UserError: nobody registered the name.
    """
    if name not in NETWORKS:
        raise UserError(f"network '{name}' is unknown; expected one of {', '.join(NETWORKS)}")
    return NETWORKS[name](**arguments)


def initialise_xavier(net: nn.Module, generator: torch.Generator) -> None:
    """Set every weight of a convolution or linear layer Xavier-normal and every bias to 0."""
    for module in net.modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, nn.Parameter) and weight.dim() > 1:
            nn.init.xavier_normal_(weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
