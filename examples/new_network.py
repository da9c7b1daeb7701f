"""A new network in one file, which needs no change elsewhere.

A config names it by the file's path and the class, as in `network: examples/new_network.py:Strided`
for a domain of 28 x 28 grey images. Its convolutions go by the names that torch gives them, here
body.0 and body.3, wherever the config speaks of layers.

Its shapes: python examples/new_network.py
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn


class Strided(nn.Module):
    """Two convolutions with batch norm, the second with strides instead of pooling.

    Args:
        filters: number of filters of the two convolutions.
        classes: number of classes.
    """

    image_shape: ClassVar = (1, 28, 28)
    kernel_sizes: ClassVar = {"body.0": 7, "body.3": 5}

    def __init__(self, filters: Sequence[int], classes: int) -> None:
        super().__init__()
        first, second = filters
        self.body = nn.Sequential(
            nn.Conv2d(1, first, 7, bias=False),
            nn.BatchNorm2d(first),
            nn.ELU(),
            nn.Conv2d(first, second, 5, stride=3, bias=False),
            nn.BatchNorm2d(second),
            nn.ELU(),
            nn.AdaptiveAvgPool2d(3),
        )
        self.classifier = nn.Linear(second * 9, classes)

    def features(self, images: Tensor) -> Tensor:
        """Return what the classifier sees (batch, 9 * second) of images (batch, 1, 28, 28)."""
        return self.body(images).flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, classes) of images (batch, 1, 28, 28) in [0, 1]."""
        return self.classifier(self.features(images))


if __name__ == "__main__":
    net = Strided([8, 16], classes=10)
    images = torch.rand(2, *Strided.image_shape)
    print(tuple(net.features(images).shape), tuple(net(images).shape))
