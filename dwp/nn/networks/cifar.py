"""The paper's nets for CIFAR."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn


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
