"""Data sets of one's own: two that are taken, and one for each way to be refused."""

import torch

from dwp.data.images import ImageDataset


class Own(ImageDataset):
    """Drawn from the global generator."""

    image_shape, classes = (1, 2, 2), ("a", "b")

    def _read(self, train, download):
        self.data, self.targets = torch.rand(4, 2, 2), [0, 1, 0, 1]


class Items(torch.utils.data.Dataset):
    """Pairs of an image and a class."""

    image_shape, classes = [1, 2, 2], ["a", "b"]

    def __init__(self, root, train):
        self.items = [(torch.full((1, 2, 2), index / 5), index % 2) for index in range(4)]

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return self.items[index]


class Same(Own):
    def _read(self, train, download):
        self.data, self.targets = torch.ones(4, 2, 2), [0, 1, 0, 1]


class Later(Own):
    def __init__(self, **options):
        super().__init__(**options)
        self.data = self.data.numpy()[:3]


class Fails(Own):
    def _read(self, train, download):
        self.data = torch.unknown


class OnePart(Items):
    def __init__(self, root):
        super().__init__(root, True)


class Triples(Items):
    def __getitem__(self, index):
        return 1, 2, 3


class Number(Items):
    classes = 3


class Twice(Items):
    classes = ("a", "b", "a")


class Flat(Items):
    image_shape = 28, 28
