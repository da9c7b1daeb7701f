"""Choices of data: what a config takes for a source or target.

A choice is a data set's name, or a mapping with `dataset` (the name) and any of

- `train`: [first, end], which of the data set's training images are the training part;
- `test`: [first, end], which of its training images are the test part, instead of its own;
- `classes`: which classes; the first named becomes 0, and so on;
- `enlarge`: shifted and warped copies are added to the training part, up to so many images;
- `label_noise`: this share of the labels of the training part is redrawn at random.

So two choices of one data set can be disjoint, and only one of them needs its test images. Copies
and labels are drawn once, the same for all nets; the test part stays as it is.
"""

from collections.abc import Mapping
from math import inf
from typing import TYPE_CHECKING, Any

from dwp.data import DATASETS
from dwp.errors import UserError

if TYPE_CHECKING:
    from dwp.data.images import ImageDataset
    from dwp.data.tensors import ImageTensors

Choice = str | Mapping[str, Any]


def dataset_of(choice: Choice) -> str:
    """Return the name of the data set that a choice is of."""
    return _mapping(choice)["dataset"]


def describe(choice: Choice) -> str:
    """Return a choice in words, such as "cifar10, classes 0 1 2"."""
    words = [dataset_of(choice)]
    for name, value in sorted(_mapping(choice).items()):
        if name != "dataset":
            values = value if isinstance(value, list | tuple) else [value]
            words.append(" ".join(map(str, [name.replace("_", " "), *values])))
    return ", ".join(words)


def share_images(first: Choice, second: Choice) -> bool:
    """Return whether two choices may have an image in common."""
    first, second = _mapping(first), _mapping(second)
    names = [each["dataset"] for each in (first, second)]
    # versions of one data set share images
    families = {name.partition("-")[0] if name in DATASETS else name for name in names}
    classes = [set(choice["classes"]) for choice in (first, second) if "classes" in choice]
    if len(families) == 2 or (len(classes) == 2 and classes[0].isdisjoint(classes[1])):
        return False
    if names[0] != names[1]:
        return True
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
            expected = "expected the first image and the one after the last"
            raise UserError(f"{part}: {expected}, found {[first, end]}")
    if _overlap(*_ranges(setting)):
        raise UserError("test: holds images of train; set both, to different images")


def choose(choice: Choice, train: "ImageDataset", test: "ImageDataset") -> "ImageTensors":
    """Return what a choice takes of its data set.

    Args:
        choice: see this module.
        train: the data set's train part.
        test: its test part.

    Raises:
        UserError: the data set has fewer images than a range says, or more than it is to be
            enlarged to; a class has no training image; or both parts are the same.
    """
    import torch

    from dwp.data.distort import enlarge, redraw_labels
    from dwp.data.tensors import ImageTensors

    setting, name, parts = _mapping(choice), describe(choice), []
    for part, own in (("train", train), ("test", test)):
        images, targets = own.images, own.targets
        if part in setting:
            first, end = setting[part]
            if end > len(train):
                message = f"expected {part} to end at {len(train)}, its training images, at most"
                raise UserError(f"{name}: {message}; found {end}")
            images, targets = train.images[first:end], train.targets[first:end]
        classes = setting.get("classes", range(len(own.classes) if part == "train" else 0))
        if lacking := sorted(set(classes) - set(targets.tolist())):
            raise UserError(f"{name}: no {part} images of the classes {lacking}")
        if "classes" in setting:
            matches = targets[:, None] == torch.tensor(classes)  # (n, classes)
            images, targets = images[matches.any(1)], matches[matches.any(1)].int().argmax(1)
        parts += [images, targets]
    images, targets, *tests = parts
    if images.equal(tests[0]):
        same = f"training and test part are the same {len(images)} images"
        raise UserError(f"{name}: {same}; take others for one")
    count = setting.get("enlarge", len(images))
    if count < len(images):
        raise UserError(f"{name}: expected enlarge from {len(images)} up, as it has as many images")
    if count > len(images):
        images, targets = enlarge(images, targets, count)
    return ImageTensors(images, redraw_labels(targets, setting.get("label_noise", 0)), *tests)


def _mapping(choice: Choice) -> Mapping[str, Any]:
    if isinstance(choice, str):
        return {"dataset": choice}
    found = {name: value for name, value in dict(choice).items() if value not in (None, 0)}
    if "dataset" not in found:
        raise UserError(f"choice of data: expected dataset, found only {', '.join(found)}")
    return found


def _ranges(setting: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Return where both parts are taken from: a part, its first image, the one after the last."""
    train = ("train", *setting.get("train", (0, inf)))
    return [train, ("train", *setting["test"]) if "test" in setting else ("test", 0, inf)]


def _overlap(first: tuple[str, float, float], second: tuple[str, float, float]) -> bool:
    return first[0] == second[0] and first[1] < second[2] and second[1] < first[2]
