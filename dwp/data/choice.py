"""Images of a data set that a config chooses for a source or target.

A choice, `dwp.study.settings.DataChoice`, is the name of the data set and any of

- `train`: [first, end], which of the data set's training images are the training part;
- `test`: [first, end], which of its training images are the test part, instead of its own;
- `classes`: which classes; the first named becomes 0, and so on;
- `enlarge`: shifted and warped copies are added to the training part, up to so many images;
- `label_noise`: this share of the labels of the training part is redrawn at random.

So two choices of one data set can be disjoint, and only one of them needs its test images. Copies
and labels are drawn once, the same for all nets; the test part stays as it is.
"""

from math import inf
from typing import TYPE_CHECKING

from dwp.data import DATASETS
from dwp.errors import UserError

if TYPE_CHECKING:
    from dwp.data.images import ImageDataset
    from dwp.data.tensors import ImageTensors
    from dwp.study.settings import DataChoice


def describe(choice: "DataChoice") -> str:
    """Return a choice in words, such as "cifar10, classes 0 1 2"."""
    words = [choice.dataset]
    for name, value in sorted(choice.dump().items()):
        if name != "dataset":
            values = value if isinstance(value, list) else [value]
            words.append(" ".join(map(str, [name.replace("_", " "), *values])))
    return ", ".join(words)


def share_images(first: "DataChoice", second: "DataChoice") -> bool:
    """Return whether two choices may have an image in common."""
    names = {first.dataset, second.dataset}
    # versions of one data set share images
    families = {name.partition("-")[0] if name in DATASETS else name for name in names}
    if len(families) == 2:
        return False
    if first.classes and second.classes and not set(first.classes) & set(second.classes):
        return False
    return len(names) == 2 or any(_overlap(a, b) for a in _ranges(first) for b in _ranges(second))


def check_ranges(choice: "DataChoice") -> None:
    """Refuse an empty range, and a test part that is trained on.

    Raises:
        UserError: one line that begins with the setting.
    """
    for part in ("train", "test"):
        first, end = getattr(choice, part) or (0, inf)
        if first >= end:
            expected = "expected the first image and the one after the last"
            raise UserError(f"{part}: {expected}, found {[first, end]}")
    if _overlap(*_ranges(choice)):
        raise UserError("test: holds images of train; set both, to different images")


def choose(choice: "DataChoice", train: "ImageDataset", test: "ImageDataset") -> "ImageTensors":
    """Return the images and targets of a choice.

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

    name, parts = describe(choice), []
    for part, whole in (("train", train), ("test", test)):
        images, targets = whole.images, whole.targets
        if bounds := getattr(choice, part):
            first, end = bounds
            if end > len(train):
                message = f"expected {part} to end at {len(train)}, its training images, at most"
                raise UserError(f"{name}: {message}; found {end}")
            images, targets = train.images[first:end], train.targets[first:end]
        classes = choice.classes or range(len(whole.classes) if part == "train" else 0)
        if lacking := sorted(set(classes) - set(targets.tolist())):
            raise UserError(f"{name}: no {part} images of the classes {lacking}")
        if choice.classes:
            matches = targets[:, None] == torch.tensor(classes)  # (n, classes)
            images, targets = images[matches.any(1)], matches[matches.any(1)].int().argmax(1)
        parts += [images, targets]
    images, targets, *tests = parts
    if images.equal(tests[0]):
        same = f"training and test part are the same {len(images)} images"
        raise UserError(f"{name}: {same}; take others for one")
    count = choice.enlarge or len(images)
    if count < len(images):
        raise UserError(f"{name}: expected enlarge from {len(images)} up, as it has as many images")
    if count > len(images):
        images, targets = enlarge(images, targets, count)
    return ImageTensors(images, redraw_labels(targets, choice.label_noise), *tests)


def _ranges(choice: "DataChoice") -> list[tuple[str, float, float]]:
    """Return where both parts are taken from: a part, its first image, the one after the last."""
    train = ("train", *(choice.train or (0, inf)))
    return [train, ("train", *choice.test) if choice.test else ("test", 0, inf)]


def _overlap(first: tuple[str, float, float], second: tuple[str, float, float]) -> bool:
    return first[0] == second[0] and first[1] < second[2] and second[1] < first[2]
