"""The base of dwp's data sets: all images in one tensor, used as torchvision's MNIST is.

A class in a file of one's own need not be derived from it.
"""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from dwp.data import DATASETS, _torchvision  # noqa: F401 users take its transforms
from dwp.errors import UserError, reading
from dwp.registry import find_class, in_one_line

_SLACK = 1e-3  # of floats from 0 to 1; resampling overshoots, and half a grey level is twice this


class ImageDataset(Dataset):
    """Images of one size held in memory.

    A subclass sets `classes` and `image_shape` (channels, height, width) and has a method `_read`,
    given which part and whether to download, that sets `data` and `targets`. These may be arrays,
    tensors or lists. Images are channels last or first, of whole numbers from 0 to 255, floats from
    0 to 1 or truth values; targets are indices of classes, of any type, their names, or one-hot.

    Args:
        root: folder with the files, if there are any.
        train: which part.
        transform: applied to the PIL image of an item.
        target_transform: applied to the class of an item.
        download: fetch files that are missing, if an address gives them.

    Attributes:
        data: uint8 tensor, as torchvision keeps images: grey ones (n, height, width), 0 = ground,
            255 = ink; colour ones (n, height, width, 3).
        targets: int64 tensor (n,), indices into `classes`.
        classes: names of the classes.
        train: whether this is the train part.

    Raises:
        UserError: what was read has another form, or one that could mean two things.
    """

    image_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    data: Any  # until they are checked, anything
    targets: Any
    _path: Path | None = None  # the file or folder read, for messages

    def __init__(
        self,
        root: str | Path | None = None,
        train: bool = True,
        transform: Callable | None = None,
        target_transform: Callable | None = None,
        download: bool = False,
    ) -> None:
        self.root, self.train = Path(root or "."), train
        self.transform, self.target_transform = transform, target_transform
        self._read(train, download)
        expected = (
            f"data, images of {_by(self.image_shape)}, whole numbers from 0 to 255 or floats from 0"
            f" to 1, and targets, a class from 0 to {len(self.classes) - 1} for each image"
        )
        name = self._path or f"{type(self).__module__}:{type(self).__name__}"
        remedy = "get it again" if self._path else "see examples/new_data_set.py"
        with reading(name, expected, remedy):
            images = _images(_array(vars(self).get("data")), *self.image_shape)
            labels = _labels(_array(vars(self).get("targets")), self.classes)
            if len(images) != len(labels):
                raise ValueError(f"{len(images)} images and {len(labels)} targets")
        self.data, self.targets = torch.from_numpy(images), torch.from_numpy(labels)

    def _read(self, train: bool, download: bool) -> None:
        """Set `data` and `targets`; a subclass does."""

    @property
    def images(self) -> torch.Tensor:
        """The images as nets take them, uint8 (n, channels, height, width)."""
        return self.data[:, None] if self.data.dim() == 3 else self.data.permute(0, 3, 1, 2)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Return the image (PIL, "L" or "RGB") and the class (int), each after its transform."""
        image, target = Image.fromarray(self.data[index].numpy()), int(self.targets[index])
        image = self.transform(image) if self.transform else image
        return image, self.target_transform(target) if self.target_transform else target

    def __repr__(self) -> str:
        part = "training" if self.train else "test"
        return f"{type(self).__name__}: {len(self)} {part} images, {len(self.classes)} classes"


def _by(shape: Sequence[object]) -> str:
    return " x ".join(map(str, shape)) or "no axes"


def _array(values: Any) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        return values.detach().cpu().numpy()
    if isinstance(values, (list, tuple)) and len(values):
        return np.stack([_array(value) for value in values])
    array = np.asarray(values)
    return np.array(array.tolist()) if array.dtype.kind == "O" else array


def _images(data: np.ndarray, channels: int, height: int, width: int) -> np.ndarray:
    """Return images as uint8 (n, height, width) or (n, height, width, channels)."""
    found, first, last = data.shape[1:], (channels, height, width), (height, width, channels)
    grey = [(height, width), (height * width,)] if channels == 1 else []
    if found not in [first, last, *grey] or data.size == 0:
        raise ValueError(f"data of {_by(data.shape)}")
    if found == first != last:
        data = np.moveaxis(data, 1, 3)
    kind = data.dtype.kind
    if kind not in "buif":
        raise ValueError(f"data of type {data.dtype}")
    low, high = data.min(), data.max()
    if kind == "b" or (kind == "f" and low >= -_SLACK and high <= 1 + _SLACK):
        data = np.rint(255.0 * np.clip(data, 0, 1))
    elif not (low >= 0 and high <= 255) or high == 1 or (kind == "f" and (data % 1).any()):
        raise ValueError(f"data of type {data.dtype} from {low} to {high}")
    shape = (height, width, channels)[: 3 if channels > 1 else 2]
    return np.array(data, np.uint8, order="C").reshape(-1, *shape)


def _labels(targets: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Return targets as int64 (n,)."""
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if targets.dtype.kind in "US":
        indices = {name: index for index, name in enumerate(classes)}
        targets = np.array([indices[name] for name in targets.astype(str).tolist()])
    if targets.shape[1:] == (len(classes),) and np.isin(targets, (0, 1)).all():  # one-hot
        targets = targets.argmax(1) if (targets.sum(1) == 1).all() else targets
    if targets.ndim != 1 or targets.dtype.kind not in "buif":
        raise ValueError(f"targets of type {targets.dtype}, {_by(targets.shape)}")
    low, high = targets.min(), targets.max()
    if not (low >= 0 and high < len(classes)) or (targets % 1).any():
        raise ValueError(f"targets from {low} to {high}, not all classes")
    return targets.astype(np.int64)


def own_class(name: str) -> type:
    """Return the class of a data set that `FILE.py:CLASS` names.

    Raises:
        UserError: no such class, or its `image_shape` or `classes` are not what they must be.
    """
    found = find_class("data set", name, dict.fromkeys(DATASETS, ""), ("image_shape", "classes"))
    shape, classes = found.image_shape, found.classes
    if not isinstance(shape, tuple | list) or [type(n) for n in shape] != [int, int, int]:
        raise _refusal(name, f"image_shape (channels, height, width), found {shape!r}")
    if not isinstance(classes, tuple | list) or not 1 < len({*map(str, classes)}) == len(classes):
        raise _refusal(name, f"classes, a tuple of two or more different names, found {classes!r}")
    found.image_shape, found.classes = tuple(shape), tuple(map(str, classes))
    return found


def load_own(name: str, root: str | Path, train: bool, download: bool) -> ImageDataset:
    """Return one part of the data set `FILE.py:CLASS`; see `dwp.data.load_dataset`.

    The class is an `ImageDataset`, or another data set whose items are pairs of an image and a
    class. It is called with those of `root`, `train` and `download` that it takes; `train` it must
    take.
    """
    found, options = own_class(name), {"root": root, "download": download}
    with in_one_line(name, "data and targets of a train and a test part, or pairs of them"):
        takes = inspect.signature(found).parameters
        if not any(each.kind is each.VAR_KEYWORD for each in takes.values()):
            options = {key: value for key, value in options.items() if key in takes}
        own = found(train=train, **options)
        if isinstance(own, ImageDataset) or not hasattr(own, "__getitem__"):
            data, targets = own.data, own.targets
        else:
            data, targets = zip(*(own[index] for index in range(len(own))), strict=True)
        facts = {key: getattr(found, key) for key in ("__module__", "image_shape", "classes")}
        facts["_read"] = lambda self, *_: vars(self).update(data=data, targets=targets)
        return type(found.__name__, (ImageDataset,), facts)(root, train)


def _refusal(name: str, message: str) -> UserError:
    return UserError(f"{name}: expected {message}; see examples/new_data_set.py")
