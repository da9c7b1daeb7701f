"""scikit-learn's handwritten digits, enlarged to MNIST's size: a target set without download."""

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

from dwp.data.images import ImageDataset
from dwp.data.subsets import balanced_order
from dwp.seeds import generator


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
        test = np.zeros(len(labels), bool)
        test[balanced_order(torch.as_tensor(labels), 500, generator("digits"))] = True
        chosen = ~test if train else test
        self.data = [_enlarge(image) for image in np.asarray(small)[chosen].reshape(-1, 8, 8)]
        self.targets = np.asarray(labels)[chosen]


def _enlarge(image: np.ndarray) -> np.ndarray:
    """Return a digit (8, 8) of 0..16 as uint8 (28, 28) of 0..255."""
    grey = Image.fromarray(np.rint(image * (255 / 16)).astype(np.uint8))
    # MNIST's digits, too, are 20 pixels high in a margin of 4
    return np.pad(np.asarray(grey.resize((20, 20), Image.Resampling.BICUBIC)), 4)
