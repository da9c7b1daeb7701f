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

    conv 7x7, max-pool 2, leaky ReLU, conv 5x5, max-pool 2, leaky ReLU, linear; no padding. A leaky
    ReLU before a max-pool, as in the paper, gives the same numbers at four times the work.

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

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, classes) of images (batch, 1, 28, 28) in [0, 1]."""
        maps = self.activation(self.pool(self.conv1(images)))  # (batch, first, 11, 11)
        maps = self.activation(self.pool(self.conv2(maps)))  # (batch, second, 3, 3)
        return self.classifier(maps.flatten(1))


NETWORKS: dict[str, type[nn.Module]] = {"mnist": MnistNet}
"""Networks by the name used in the config; a new one is a class and a line here."""


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
