"""The base of dwp's data sets: all images in one tensor, used as torchvision's MNIST is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from dwp.data._torchvision import VisionDataset
from dwp.data.checks import checked


class ImageDataset(VisionDataset):
    """Images of one size held in memory.

    A subclass sets `classes` and `image_shape` (channels, height, width) and has a method `_read`,
    given which part and whether to download, that sets `data` and `targets`, in any form that
    `dwp.data.checks.checked` takes.

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
        UserError: what was read is of another form.
    """

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
        # torchvision takes no root as well, whatever its annotation
        super().__init__(root, None, transform, target_transform)  # pyright: ignore
        self.train = train
        self._read(train, download)
        shape = getattr(self, "image_shape", None)
        name = self._path or f"{type(self).__module__}:{type(self).__name__}"
        remedy = {"remedy": "get it again"} if self._path else {}
        read = vars(self).get("data"), vars(self).get("targets")
        self.data, self.targets = checked(name, *read, self.classes, shape, **remedy)

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
        image: Any = Image.fromarray(self.data[index].numpy())
        target: Any = int(self.targets[index])
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return image, target

    def extra_repr(self) -> str:
        """Return the line of `repr` that names the part."""
        return f"Split: {'Train' if self.train else 'Test'}"
