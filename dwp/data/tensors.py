"""An image data set as plain tensors in one file, as the workflow's stages pass it on."""

import os
from dataclasses import dataclass

import torch
from torch import Tensor

from dwp.errors import UserError
from dwp.files import load_tensors, save_tensors


@dataclass(frozen=True)
class ImageTensors:
    """Images (n, channels, height, width) uint8 and targets (n,) int64, train and test part."""

    train_images: Tensor
    train_targets: Tensor
    test_images: Tensor
    test_targets: Tensor

    def save(self, path: str | os.PathLike, settings: dict) -> None:
        """Write the data set to a `.safetensors` file whose header holds `settings`."""
        save_tensors(path, vars(self), kind="images", settings=settings)

    @classmethod
    def load(
        cls, path: str | os.PathLike, shape: tuple[int, int, int] | None = None
    ) -> "ImageTensors":
        """Read what `save` wrote.

        Args:
            path: the file.
            shape: channels, height and width that the images must have; None: any.

        Raises:
            UserError: the file is missing, unreadable, or holds images of another shape.
        """
        images = cls(**load_tensors(path, kind="images")[0])
        found = tuple(images.train_images.shape[1:])
        if shape not in (None, found):
            raise UserError(
                f"{path}: expected images of {'x'.join(map(str, shape))}, found "
                f"{'x'.join(map(str, found))}; take another data set or network"
            )
        return images

    @property
    def classes(self) -> int:
        """The number of classes, by the training targets."""
        return int(self.train_targets.max()) + 1

    def to(self, device: str) -> "ImageTensors":
        """Return the data set on a device, without a copy of what is there already."""
        return type(self)(**{name: tensor.to(device) for name, tensor in vars(self).items()})


def to_unit(images: Tensor) -> Tensor:
    """Return uint8 images as float32 in [0, 1], the paper's input scale."""
    return images.to(torch.float32) / 255
