"""Data sets of one's own: classes in files, whatever they are derived from."""

import contextlib
import inspect
import operator
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dwp.data import DATASETS
from dwp.data.checks import checked
from dwp.data.images import ImageDataset
from dwp.errors import UserError
from dwp.registry import find_class

_EXAMPLE = "see examples/new_data_set.py"


class OwnClass:
    """The class that `FILE.py:CLASS` names.

    It is an `ImageDataset`, or another data set whose items are pairs (image, class), called with
    those of `root`, `train` and `download` that it takes; `train` it must take.

    Args:
        name: `FILE.py:CLASS`.

    Attributes:
        image_shape: channels, height and width.
        classes: names of the classes.

    Raises:
        UserError: no such class, or its `image_shape` or `classes` are not what they must be.
    """

    def __init__(self, name: str) -> None:
        known = {name: each.location for name, each in DATASETS.items()}
        self.name = name
        with self._in_one_line():
            self.found = find_class("data set", name, known, ("image_shape", "classes"))
        shape, names = (), self.found.classes
        with contextlib.suppress(TypeError):
            shape = tuple(map(operator.index, self.found.image_shape))
        if len(shape) != 3 or min(shape) < 1:
            raise UserError(
                f"{name}: expected image_shape (channels, height, width), found "
                f"{self.found.image_shape!r}; {_EXAMPLE}"
            )
        if isinstance(names, int):
            names = range(names)
        ordered = isinstance(names, (list, tuple, range)) or hasattr(names, "tolist")
        self.image_shape, self.classes = shape, tuple(map(str, names)) if ordered else ()
        if len(set(self.classes)) != len(self.classes) or len(self.classes) < 2:
            raise UserError(
                f"{name}: expected classes, a tuple of two or more different names, found "
                f"{names!r}; {_EXAMPLE}"
            )

    def load(self, root: str | Path, train: bool, download: bool) -> ImageDataset:
        """Return one part of the data set, checked; see `dwp.data.load_dataset`."""
        arguments = {"root": root, "train": train, "download": download}
        with self._in_one_line():
            parameters = inspect.signature(self.found).parameters
            if not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
                arguments = {key: arguments[key] for key in arguments if key in parameters}
            if "train" not in arguments:
                raise UserError(
                    f"{self.name}: expected a class that is called with train=True for its "
                    f"training and train=False for its test part (data and targets), found one "
                    f"called with {', '.join(parameters) or 'nothing'}; {_EXAMPLE}"
                )
            dataset = self.found(**arguments)
            content = self._content(dataset)
        data, targets = checked(self.name, *content, self.classes, self.image_shape)
        lacking = set(range(len(self.classes))) - set(targets.tolist())
        if train and lacking:
            raise UserError(
                f"{self.name}: expected targets with training images of every class, found none "
                f"of {self.classes[min(lacking)]}; {_EXAMPLE}"
            )
        if not isinstance(dataset, ImageDataset):
            dataset = _Held(data, targets, self.classes, train)
        dataset.data, dataset.targets, dataset.classes = data, targets, self.classes
        return dataset

    def _content(self, dataset: Any) -> tuple[Any, Any]:
        if isinstance(dataset, ImageDataset) or not hasattr(dataset, "__getitem__"):
            return dataset.data, dataset.targets
        images, labels = [], []
        for index in range(len(dataset)):
            image, label = dataset[index]
            images.append(image)
            labels.append(label)
        return images, labels

    @contextlib.contextmanager
    def _in_one_line(self) -> Iterator[None]:
        """Raise what the user's code raises as a `UserError` with its line."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            file = Path(self.name.partition(":")[0]).name
            frames = traceback.extract_tb(error.__traceback__)
            lines = [frame.lineno for frame in frames if Path(frame.filename).name == file]
            line = f", line {lines[-1]}" if lines else ""
            raise UserError(
                f"{self.name}: expected data and targets, or items of an image and a class; found "
                f"{type(error).__name__}: {' '.join(str(error).split())} ({file}{line}); {_EXAMPLE}"
            ) from None


class _Held(ImageDataset):
    """Images and targets that were read before."""

    def __init__(self, data: Any, targets: Any, classes: tuple[str, ...], train: bool) -> None:
        self.classes, self._content = classes, (data, targets)
        super().__init__(train=train)

    def _read(self, train: bool, download: bool) -> None:
        self.data, self.targets = self._content
