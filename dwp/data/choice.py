"""What a config takes for a source or target: a data set, or some classes or images of one.

A choice is a data set's name, or a mapping with `dataset` (the name) and any of

- `train`: [first, end], which of the data set's training images are the training part;
- `test`: [first, end], which of its training images are the test part, instead of its own;
- `classes`: which classes; the first named becomes 0, and so on.

So two choices of one data set can be disjoint, and only one of them needs its test images.
"""

from collections.abc import Mapping
from math import inf
from typing import TYPE_CHECKING, Any

import torch

from dwp.data.tensors import ImageTensors
from dwp.errors import UserError

if TYPE_CHECKING:
    from dwp.data.images import ImageDataset

Choice = str | Mapping[str, Any]

_Range = tuple[str, float, float]  # part of the data set, first image, the one after the last


def dataset_of(choice: Choice) -> str:
    """Return the name of the data set that a choice is of."""
    return _mapping(choice)["dataset"]


def describe(choice: Choice) -> str:
    """Return a choice in words, such as "cifar10, classes 0 1 2"."""
    rest = {name: value for name, value in _mapping(choice).items() if name != "dataset"}
    words = (f"{name} {' '.join(map(str, value))}" for name, value in sorted(rest.items()))
    return ", ".join([dataset_of(choice), *words])


def share_images(first: Choice, second: Choice) -> bool:
    """Tell whether two choices may have an image in common."""
    first, second = _mapping(first), _mapping(second)
    if first["dataset"] != second["dataset"]:
        return False
    classes = [set(choice["classes"]) for choice in (first, second) if "classes" in choice]
    if len(classes) == 2 and classes[0].isdisjoint(classes[1]):
        return False
    return any(_overlap(a, b) for a in _ranges(first) for b in _ranges(second))


def check_ranges(choice: Choice) -> None:
    """Refuse an empty range, and a test part that is trained on.

    Raises:
        UserError: one line that begins with the setting.
    """
    setting = _mapping(choice)
    for part in ("train", "test"):
        first, end = setting.get(part, (0, inf))
        if first >= end:
            raise UserError(
                f"{part}: expected the first image and the one after the last, found {[first, end]}"
            )
    if _overlap(*_ranges(setting)):
        raise UserError("test: holds images of train; set both, to different images")


def choose(choice: Choice, train: "ImageDataset", test: "ImageDataset") -> ImageTensors:
    """Return what a choice takes of its data set.

    Args:
        choice: see this module.
        train: the data set's train part.
        test: its test part.

    Raises:
        UserError: the data set has fewer images than a range says, or a class has none.
    """
    setting, tensors = _mapping(choice), []
    for part, own in (("train", train), ("test", test)):
        images, targets = own.images, own.targets
        if part in setting:
            first, end = setting[part]
            if end > len(train):
                raise UserError(
                    f"{describe(choice)}: expected {part} to end at {len(train)}, the number of "
                    f"training images, at most; found {end}"
                )
            images, targets = train.images[first:end], train.targets[first:end]
        if "classes" in setting:
            classes = torch.tensor(setting["classes"])
            matches = targets[:, None] == classes  # (n, classes)
            if not matches.any(0).all():
                lacking = classes[~matches.any(0)].tolist()
                raise UserError(f"{describe(choice)}: no {part} images of the classes {lacking}")
            kept = matches.any(1)
            images, targets = images[kept], matches[kept].int().argmax(1)
        tensors += [images, targets]
    return ImageTensors(*tensors)


def _mapping(choice: Choice) -> Mapping[str, Any]:
    return {"dataset": choice} if isinstance(choice, str) else choice


def _ranges(setting: Mapping[str, Any]) -> tuple[_Range, _Range]:
    """Return where the train and the test part are taken from."""
    train = ("train", *setting.get("train", (0, inf)))
    return train, ("train", *setting["test"]) if "test" in setting else ("test", 0, inf)


def _overlap(first: _Range, second: _Range) -> bool:
    return first[0] == second[0] and first[1] < second[2] and second[1] < first[2]
