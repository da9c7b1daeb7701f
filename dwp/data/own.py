"""Data sets of one's own: classes in files, whatever they are derived from."""

import inspect
from pathlib import Path
from typing import Any

from dwp.data import DATASETS
from dwp.data._torchvision import VisionDataset
from dwp.data.checks import checked
from dwp.data.images import ImageDataset
from dwp.errors import UserError
from dwp.registry import find_class, in_one_line


def own_class(name: str) -> type:
    """Return the class that `FILE.py:CLASS` names.

    Raises:
        UserError: no such class, or its `image_shape` or `classes` are not what they must be.
    """
    known = {name: each.location for name, each in DATASETS.items()}
    found = find_class("data set", name, known, ("image_shape", "classes"))
    shape, classes = found.image_shape, found.classes
    numbers = isinstance(shape, (tuple, list)) and all(isinstance(n, int) and n > 0 for n in shape)
    if not numbers or len(shape) != 3:
        raise _refusal(name, f"image_shape (channels, height, width), found {shape!r}")
    if not isinstance(classes, (tuple, list)) or not 1 < len({*map(str, classes)}) == len(classes):
        raise _refusal(name, f"classes, a tuple of two or more different names, found {classes!r}")
    found.image_shape, found.classes = tuple(shape), tuple(map(str, classes))
    return found


def load_own(name: str, root: str | Path, train: bool, download: bool) -> ImageDataset:
    """Return one part of the data set `FILE.py:CLASS`; see `dwp.data.load_dataset`.

    The class is an `ImageDataset`, or another data set whose items are pairs of an image and a
    class. It is called with those of `root`, `train` and `download` that it takes; `train` it must
    take.
    """
    found, arguments = own_class(name), {"root": root, "train": train, "download": download}
    with in_one_line(name, "data and targets, or pairs of them"):
        parameters = inspect.signature(found).parameters
        if not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
            arguments = {key: arguments[key] for key in arguments if key in parameters}
        if "train" not in arguments:
            raise _refusal(
                name,
                "data and targets of two parts, from a class that is called with train=True or "
                f"train=False, found one that is called with {', '.join(parameters) or 'nothing'}",
            )
        dataset = found(**arguments)
        if isinstance(dataset, ImageDataset) or not hasattr(dataset, "__getitem__"):
            data, targets = dataset.data, dataset.targets
        else:
            data, targets = zip(*(dataset[index] for index in range(len(dataset))), strict=True)
        data, targets = checked(name, data, targets, found.classes, found.image_shape)
    lacking = set(range(len(found.classes))) - set(targets.tolist())
    if train and lacking:
        missing = found.classes[min(lacking)]
        raise _refusal(name, f"targets of every class for training, found none of {missing}")
    if not isinstance(dataset, ImageDataset):
        dataset = _Held(found.classes, train)
    dataset.data, dataset.targets = data, targets
    return dataset


class _Held(ImageDataset):
    """Images and targets that were read before."""

    def __init__(self, classes: tuple[str, ...], train: bool) -> None:
        VisionDataset.__init__(self)
        self.classes, self.train = classes, train


def _refusal(name: str, message: Any) -> UserError:
    return UserError(f"{name}: expected {message}; see examples/new_data_set.py")
