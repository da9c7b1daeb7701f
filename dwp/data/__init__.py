"""Image data sets as tensors.

A data set has a name in `DATASETS`, or is a class in a file of one's own, `FILE.py:CLASS`. Its
module, and torch, are imported when it is asked for, so that importing this package stays quick.
"""

import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dwp.errors import UserError
from dwp.registry import class_at

if TYPE_CHECKING:
    from dwp.data.images import ImageDataset
    from dwp.data.tensors import ImageTensors


class Registered(NamedTuple):
    """Facts of a data set that need no reading of it.

    Attributes:
        location: its `ImageDataset`, as "module:Class".
        image_shape: channels, height and width.
        classes: how many there are.
    """

    location: str
    image_shape: tuple[int, int, int]
    classes: int


# A new data set is a file with an `ImageDataset` and a line here. Names that are the same up to a
# hyphen stand for versions of one data set, which share images.
DATASETS: dict[str, Registered] = {
    "mnist": Registered("dwp.data.idx:MNIST", (1, 28, 28), 10),
    "notmnist": Registered("dwp.data.notmnist:NotMNIST", (1, 28, 28), 10),
    "notmnist-extra": Registered("dwp.data.notmnist:NotMNISTExtra", (1, 28, 28), 10),
    "notmnist-large": Registered("dwp.data.notmnist:NotMNISTLarge", (1, 28, 28), 10),
    "glyphs": Registered("dwp.data.glyphs:Glyphs", (1, 28, 28), 10),
    "digits": Registered("dwp.data.digits:Digits", (1, 28, 28), 10),
    "cifar10": Registered("dwp.data.cifar:CIFAR10", (3, 32, 32), 10),
    "cifar100": Registered("dwp.data.cifar:CIFAR100", (3, 32, 32), 100),
    "four-shapes": Registered("dwp.data.shapes:FourShapes", (1, 16, 16), 4),
}


def registered(name: str) -> Registered:
    """Return the shape and the number of classes of a data set.

    Args:
        name: a key of `DATASETS`; or, for a set of one's own, `FILE.py:CLASS`: the path of a file,
            and a class in it with the attributes `image_shape` (channels, height, width) and
            `classes`, as in examples/new_data_set.py.

    Raises:
        UserError: the name is unknown, or there is no such class in the file.
    """
    if name in DATASETS:
        return DATASETS[name]
    from dwp.data.images import own_class

    own = own_class(name)
    return Registered(name, own.image_shape, len(own.classes))


def data_folder(configured: str | None) -> Path:
    """Return the folder of the data: as configured, else `DWP_DATA`, else `data`."""
    return Path(configured or os.environ.get("DWP_DATA") or "data").expanduser()


def load_dataset(
    name: str, root: str | Path, *, train: bool, download: bool = False
) -> "ImageDataset":
    """Return one part of a data set.

    Args:
        name: see `registered`.
        root: the folder of the data; some sets need none.
        train: the train part, else the test part.
        download: fetch the files if they are not in `root`.

    Raises:
        UserError: the name is unknown, or the files, or what a class of one's own gives, are
            missing or wrong.
    """
    if name in DATASETS:
        return class_at(DATASETS[name].location)(root, train=train, download=download)
    from dwp.data.images import load_own

    return load_own(name, root, train, download)


def check_different(source: "ImageTensors", target: "ImageTensors") -> None:
    """Refuse a source and a target that share a part, such as one set under two names.

    Args:
        source: the set that kernels are learned from.
        target: the set that they are used on.

    Raises:
        UserError: some part of one holds exactly the images of some part of the other.
    """
    for own, other in itertools.product(("train_images", "test_images"), repeat=2):
        images = getattr(target, other)
        if images.equal(getattr(source, own)):
            raise UserError(
                f"source and target hold the same {len(images)} images ({own} of the source, "
                f"{other} of the target); check the data sets and their files"
            )
