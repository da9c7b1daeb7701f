"""The paper's networks, each written once.

A net is built of ordinary convolutions; `dwp.nn.bayesian.bayesianize` turns those of named
layers Bayesian, so that the plain, the Bayesian and the partly Bayesian net are one class.

A class tells its `image_shape` (channels, height, width) and the `kernel_sizes` of its convolutions
by the layer's name; `filters` has one number for each of these layers, in order.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from dwp.errors import UserError
from dwp.nn.convolve import use_products


class MnistNet(nn.Module):
    """The paper's net for 28 x 28 grey images: two convolutions and a linear layer.

    conv 7x7, max-pool 2, leaky ReLU, conv 5x5, max-pool 2, leaky ReLU, linear; no padding. A leaky
    ReLU before a max-pool, as in the paper, gives the same numbers at four times the work.

    Args:
        filters: number of filters of the two convolutions ([256, 512] for the paper's source
            nets, [32, 128] for its target net).
        classes: number of classes.
    """

    image_shape: ClassVar = (1, 28, 28)
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
        maps = self.activation(self.pool(self.conv1(images)))  # (batch, first, 11, 11)
        maps = self.activation(self.pool(self.conv2(maps)))  # (batch, second, 3, 3)
        return maps.flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, classes) of images (batch, 1, 28, 28) in [0, 1]."""
        return self.classifier(self.features(images))


class CifarNet(nn.Module):
    """The paper's net for 32 x 32 colour images: three convolutions and two linear layers.

    conv 7x7, leaky ReLU, max-pool 2, conv 5x5, leaky ReLU, conv 5x5, leaky ReLU, linear to 512,
    leaky ReLU, linear; no padding.

    Args:
        filters: number of filters of the three convolutions ([128, 256, 256] for the paper's nets,
            whose first linear layer then has 6,400 inputs).
        classes: number of classes.
    """

    image_shape: ClassVar = (3, 32, 32)
    kernel_sizes: ClassVar = {"conv1": 7, "conv2": 5, "conv3": 5}

    def __init__(self, filters: Sequence[int], classes: int = 10) -> None:
        super().__init__()
        first, second, third = filters
        self.conv1 = nn.Conv2d(3, first, 7)
        self.conv2 = nn.Conv2d(first, second, 5)
        self.conv3 = nn.Conv2d(second, third, 5)
        self.activation = nn.LeakyReLU()
        self.pool = nn.MaxPool2d(2)
        self.classifier = nn.Sequential(
            nn.Linear(third * 25, 512), nn.LeakyReLU(), nn.Linear(512, classes)
        )

    def features(self, images: Tensor) -> Tensor:
        """Return what the classifier sees (batch, 25 * third) of images (batch, 3, 32, 32)."""
        maps = self.activation(self.pool(self.conv1(images)))  # (batch, first, 13, 13)
        maps = self.activation(self.conv2(maps))  # (batch, second, 9, 9)
        maps = self.activation(self.conv3(maps))  # (batch, third, 5, 5)
        return maps.flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, classes) of images (batch, 3, 32, 32) in [0, 1]."""
        return self.classifier(self.features(images))


class CifarBatchNormNet(nn.Module):
    """A deeper net for 32 x 32 colour images: four convolutions, each with batch norm, and a linear
    layer.

    As `CifarNet` up to its third convolution, then conv 5x5, leaky ReLU, linear; batch norm between
    each convolution and its leaky ReLU. The paper's release has such a net with 512 filters in the
    fourth convolution; the rest of it is not known, and is a choice here. The fourth convolution is
    padded by 1: without padding one number an image would be left of each map, too little for
    the statistics of batch norm in a small batch.

    Args:
        filters: number of filters of the four convolutions ([128, 256, 256, 512] at full size).
        classes: number of classes.
    """

    image_shape: ClassVar = (3, 32, 32)
    kernel_sizes: ClassVar = {"conv1": 7, "conv2": 5, "conv3": 5, "conv4": 5}

    def __init__(self, filters: Sequence[int], classes: int = 10) -> None:
        super().__init__()
        first, second, third, fourth = filters
        self.conv1 = nn.Conv2d(3, first, 7, bias=False)  # batch norm takes any bias off
        self.norm1 = nn.BatchNorm2d(first)
        self.conv2 = nn.Conv2d(first, second, 5, bias=False)
        self.norm2 = nn.BatchNorm2d(second)
        self.conv3 = nn.Conv2d(second, third, 5, bias=False)
        self.norm3 = nn.BatchNorm2d(third)
        self.conv4 = nn.Conv2d(third, fourth, 5, padding=1, bias=False)
        self.norm4 = nn.BatchNorm2d(fourth)
        self.activation = nn.LeakyReLU()
        self.pool = nn.MaxPool2d(2)
        self.classifier = nn.Linear(fourth * 9, classes)

    def features(self, images: Tensor) -> Tensor:
        """Return what the classifier sees (batch, 9 * fourth) of images (batch, 3, 32, 32)."""
        maps = self.activation(self.norm1(self.conv1(images)))  # (batch, first, 26, 26)
        maps = self.activation(self.norm2(self.conv2(self.pool(maps))))  # (batch, second, 9, 9)
        maps = self.activation(self.norm3(self.conv3(maps)))  # (batch, third, 5, 5)
        maps = self.activation(self.norm4(self.conv4(maps)))  # (batch, fourth, 3, 3)
        return maps.flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, classes) of images (batch, 3, 32, 32) in [0, 1]."""
        return self.classifier(self.features(images))


class ShapesNet(nn.Module):
    """The paper's net for 16 x 16 grey images: one convolution as large as the image, and a linear
    layer.

    conv 16x16, leaky ReLU, linear.

    Args:
        filters: number of filters of the convolution ([20] to [500] in the paper).
        classes: number of classes.
    """

    image_shape: ClassVar = (1, 16, 16)
    kernel_sizes: ClassVar = {"conv1": 16}

    def __init__(self, filters: Sequence[int], classes: int = 4) -> None:
        super().__init__()
        (first,) = filters
        self.conv1 = nn.Conv2d(1, first, 16)
        self.activation = nn.LeakyReLU()
        self.classifier = nn.Linear(first, classes)

    def features(self, images: Tensor) -> Tensor:
        """Return what the classifier sees (batch, filters) of images (batch, 1, 16, 16)."""
        return self.activation(self.conv1(images)).flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, classes) of images (batch, 1, 16, 16) in [0, 1]."""
        return self.classifier(self.features(images))


NETWORKS: dict[str, type[nn.Module]] = {
    "mnist": MnistNet,
    "cifar": CifarNet,
    "cifar-batchnorm": CifarBatchNormNet,
    "shapes": ShapesNet,
}
"""Networks by the name used in the config; a new one is a class and a line here.

The class has the `image_shape` that it takes, `kernel_sizes` of its convolutions, a method
`features` from images to vectors, and a module `classifier` from there to logits.
"""


def scaled(filters: Sequence[int], factor: float) -> list[int]:
    """Return numbers of filters times a factor, rounded, each at least 1."""
    return [max(1, round(factor * number)) for number in filters]


def network_class(name: str) -> type[nn.Module]:
    """Return the class of a network.

    Raises:
        UserError: nobody registered the name.
    """
    if name not in NETWORKS:
        raise UserError(f"network '{name}' is unknown; expected one of {', '.join(NETWORKS)}")
    return NETWORKS[name]


def build_network(name: str, **arguments) -> nn.Module:
    """Build a network of `NETWORKS` by name, its convolutions by `dwp.nn.convolve`.

    Raises:
        UserError: nobody registered the name, or `filters` has another length.
    """
    network = network_class(name)
    layers, filters = network.kernel_sizes, arguments["filters"]
    if len(filters) != len(layers):
        raise UserError(
            f"filters: expected {len(layers)} numbers, one for each of {', '.join(layers)}; found "
            f"{filters}"
        )
    return use_products(network(**arguments))


def initialise_xavier(net: nn.Module, generator: torch.Generator) -> None:
    """Set every weight of a convolution or linear layer Xavier-normal and every bias to 0."""
    for module in net.modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, nn.Parameter) and weight.dim() > 1:
            nn.init.xavier_normal_(weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
