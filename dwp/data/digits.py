"""scikit-learn's handwritten digits, enlarged to MNIST's size: a target set without download."""

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

from dwp.data.images import ImageDataset
from dwp.data.subsets import balanced_order
from dwp.seeds import generator

TEST_SIZE = 500
_INNER = 20  # MNIST's digits, too, are 20 pixels high in a margin of 4
_MARGIN = (28 - _INNER) // 2


class Digits(ImageDataset):
    """The 1,797 digits of `sklearn.datasets.load_digits`, 1,297 train and 500 test, at 28 x 28.

    The test part is a fixed stratified draw, 50 of each digit.

    Args:
        root: not used; the data come with scikit-learn.
        train: which part.
        transform: applied to the PIL image of an item.
        target_transform: applied to the class of an item.
        download: not used.
    """

    image_shape = (1, 28, 28)
    classes = tuple("0123456789")

    def _read(self, train: bool, download: bool) -> None:
        small, labels = load_digits(return_X_y=True)  # (1797, 64), (1797,)
        targets = torch.from_numpy(np.asarray(labels)).long()
        test = torch.zeros(len(targets), dtype=torch.bool)
        test[balanced_order(targets, TEST_SIZE, generator("digits"))] = True
        chosen = ~test if train else test
        self.data = _enlarge(np.asarray(small)[chosen.numpy()].reshape(-1, 8, 8))
        self.targets = targets[chosen]


def _enlarge(images: np.ndarray) -> np.ndarray:
    """Turn (n, 8, 8) of 0..16 into uint8 (n, 28, 28) of 0..255."""
    result = np.zeros((len(images), 28, 28), dtype=np.uint8)
    inner = slice(_MARGIN, _MARGIN + _INNER)
    for target, image in zip(result, images, strict=True):
        grey = Image.fromarray(np.rint(image * (255 / 16)).astype(np.uint8))
        target[inner, inner] = np.asarray(grey.resize((_INNER, _INNER), Image.Resampling.BICUBIC))
    return result
