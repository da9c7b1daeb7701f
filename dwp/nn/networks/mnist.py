"""The paper's net for MNIST."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn


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
