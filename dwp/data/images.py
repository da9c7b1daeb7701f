"""The base of dwp's data sets: all images in one tensor, used as torchvision's MNIST is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from dwp.data._torchvision import VisionDataset


class ImageDataset(VisionDataset):
    """Images of one size held in memory.

    A subclass sets `classes` and has a method `_read`, given which part and whether to download,
    that sets `data` and `targets`.

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
    """

    classes: tuple[str, ...]
    data: torch.Tensor
    targets: torch.Tensor

    def __init__(
        self,
        root: str | Path | None = None,
        train: bool = True,
        transform: Callable | None = None,
        target_transform: Callable | None = None,
        download: bool = False,
    ) -> None:
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.train = train
        self._read(train, download)

    def _read(self, train: bool, download: bool) -> None:
        raise NotImplementedError

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
        """Return the line of `repr` that tells which part it is."""
        return f"Split: {'Train' if self.train else 'Test'}"
