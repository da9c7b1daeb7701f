"""The paper's net for the four-shapes."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn


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
