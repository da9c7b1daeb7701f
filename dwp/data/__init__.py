"""Image data sets as tensors, and stratified subsets of them.

A data set is found by its name in `DATASETS`, or in a file of one's own by `FILE.py:CLASS`. Its
module is imported when it is asked for, so that importing this package stays quick.
"""

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dwp.data.subsets import stratified_subset, validation_indices
from dwp.errors import UserError
from dwp.registry import find_class

if TYPE_CHECKING:
    from torch import Tensor

    from dwp.data.images import ImageDataset
    from dwp.data.tensors import ImageTensors

__all__ = [
    "DATASETS",
    "check_different",
    "data_folder",
    "load_dataset",
    "registered",
    "stratified_subset",
    "validation_indices",
]


class Registered(NamedTuple):
    """What is known of a data set without reading it.

    Attributes:
        place: its `ImageDataset`, as "module:Class".
        image_shape: channels, height and width.
        classes: how many there are.
    """

    place: str
    image_shape: tuple[int, int, int]
    classes: int


# A new data set is a file with an `ImageDataset` and a line here.
DATASETS: dict[str, Registered] = {
    "mnist": Registered("dwp.data.mnist:MNIST", (1, 28, 28), 10),
    "notmnist": Registered("dwp.data.notmnist:NotMNIST", (1, 28, 28), 10),
    "glyphs": Registered("dwp.data.glyphs:Glyphs", (1, 28, 28), 10),
    "digits": Registered("dwp.data.digits:Digits", (1, 28, 28), 10),
    "cifar10": Registered("dwp.data.cifar:CIFAR10", (3, 32, 32), 10),
    "cifar100": Registered("dwp.data.cifar:CIFAR100", (3, 32, 32), 100),
    "cifar10-jpeg": Registered("dwp.data.cifar_jpeg:CIFAR10JPEG", (3, 32, 32), 10),
    "four-shapes": Registered("dwp.data.shapes:FourShapes", (1, 16, 16), 4),
}


def registered(name: str) -> Registered:
    """Return what is known of a data set.

    Args:
        name: a key of `DATASETS`; or, for a set of one's own, `FILE.py:CLASS`: the path of a file,
            and an `ImageDataset` in it with the class attributes `image_shape` (channels, height,
            width) and `classes`.

    Raises:
        UserError: the name is unknown, or there is no such class in the file.
    """
    if name in DATASETS:
        return DATASETS[name]
    own = _dataset_class(name)
    return Registered(name, own.image_shape, len(own.classes))


def _dataset_class(name: str) -> "type[ImageDataset]":
    places = {known: each.place for known, each in DATASETS.items()}
    return find_class("data set", name, places, ("image_shape", "classes"))


def data_folder(configured: str | None) -> Path:
    """Return the folder of the data: as configured, else `DWP_DATA`, else `data`."""
    return Path(configured or os.environ.get("DWP_DATA") or "data").expanduser()


def load_dataset(
    name: str, root: str | Path, *, train: bool, download: bool = False
) -> "ImageDataset":
    """Load one part of a data set.

    Args:
        name: see `registered`.
        root: the folder of the data; some sets need none.
        train: the train part, else the test part.
        download: fetch the files if they are not in `root`.

    Raises:
        UserError: the name is unknown, or the files are missing or wrong.
    """
    return _dataset_class(name)(root, train=train, download=download)


def check_different(source: "ImageTensors", target: "ImageTensors") -> None:
    """Refuse a source and a target that share a part, such as one set under two names.

    Args:
        source: the set that kernels are learnt from.
        target: the set that they are used on.

    Raises:
        UserError: some part of one holds exactly the images of some part of the other.
    """
    known = {_digest(getattr(source, part)): part for part in _PARTS}
    for part in _PARTS:
        same = known.get(_digest(getattr(target, part)))
        if same is not None:
            raise UserError(
                f"source and target hold the same {len(getattr(target, part))} images ({same} of "
                f"the source, {part} of the target); check the data sets and their files"
            )


_PARTS = ("train_images", "test_images")


def _digest(images: "Tensor") -> str:
    content = images.contiguous()
    return hashlib.sha256(repr(tuple(content.shape)).encode() + content.numpy().data).hexdigest()
