"""The base of dwp's data sets: all images in one tensor, used as torchvision's MNIST is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image

from dwp.data._torchvision import VisionDataset


class ImageDataset(VisionDataset):
    """Grey images held in memory.

    A subclass sets `classes` and, in its `__init__`, `data` and `targets`.

    Attributes:
        data: uint8 tensor (n, 28, 28), 0 = ground, 255 = ink.
        targets: int64 tensor (n,), indices into `classes`.
        classes: names of the classes.
        train: whether this is the train part.
    """

    classes: ClassVar[tuple[str, ...]]
    data: torch.Tensor
    targets: torch.Tensor

    def __init__(
        self,
        root: str | Path | None,
        train: bool,
        transform: Callable | None,
        target_transform: Callable | None,
    ) -> None:
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.train = train

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Return the image (PIL, mode "L") and the class (int), each after its transform."""
        image: Any = Image.fromarray(self.data[index].numpy())
        target: Any = int(self.targets[index])
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return image, target

    def extra_repr(self) -> str:
        return f"Split: {'Train' if self.train else 'Test'}"
