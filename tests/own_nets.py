"""Networks of one's own, of layers that torch documents."""

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F


class Plain(nn.Module):
    """Two convolutions."""

    image_shape: ClassVar = (1, 28, 28)
    kernel_sizes: ClassVar = {"conv1": 7, "conv2": 5}

    def __init__(self, filters, classes):
        super().__init__()
        first, second = filters
        self.conv1, self.conv2 = nn.Conv2d(1, first, 7), nn.Conv2d(first, second, 5)
        self.classifier = nn.Linear(second * 9, classes)

    def features(self, images):
        maps = F.max_pool2d(self.conv1(images).relu(), 2)
        return F.max_pool2d(self.conv2(maps).relu(), 2).flatten(1)

    def forward(self, images):
        return self.classifier(self.features(images))


class WithDropout(Plain):
    """Draws from torch's global generator."""

    def features(self, images):
        return F.dropout(super().features(images), 0.5, self.training)


class WithResponseNorm(Plain):
    """Mixes channels."""

    def features(self, images):
        maps = F.local_response_norm(self.conv1(images).relu(), 3, alpha=1.0)
        return F.max_pool2d(self.conv2(F.max_pool2d(maps, 2)).relu(), 2).flatten(1)


class WithBatchNorm(Plain):
    """Has running statistics behind its first convolution."""

    def __init__(self, filters, classes):
        super().__init__(filters, classes)
        self.norm = nn.BatchNorm2d(filters[0])

    def features(self, images):
        maps = F.max_pool2d(self.norm(self.conv1(images)).relu(), 2)
        return F.max_pool2d(self.conv2(maps).relu(), 2).flatten(1)


class Drawn(Plain):
    """Has a parameter that nothing but its own constructor sets."""

    def __init__(self, filters, classes):
        super().__init__(filters, classes)
        self.factor = nn.Parameter(1 + torch.rand(()))

    def forward(self, images):
        return self.factor * super().forward(images)


class AlwaysRandom(Plain):
    """Draws when it is tested as well."""

    def features(self, images):
        return F.dropout(super().features(images), 0.2)
