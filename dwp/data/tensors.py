"""An image data set as plain tensors in one file, as the workflow's stages pass it on."""

import os
from dataclasses import dataclass, fields

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
            UserError: the file is missing, unreadable, or holds other tensors.
        """
        tensors, _ = load_tensors(path, kind="images")
        for part in ("train", "test"):
            images, targets = tensors[f"{part}_images"], tensors[f"{part}_targets"]
            found = tuple(images.shape[1:])
            fit = images.dtype == torch.uint8 and len(found) == 3 and shape in (None, found)
            one_each = targets.dtype == torch.int64 and targets.shape == images.shape[:1] != (0,)
            if not (fit and one_each and targets.min() >= 0):
                wanted = "x".join(map(str, shape or ("channels", "height", "width")))
                raise UserError(
                    f"{path}: expected {part} images, uint8, of {wanted}, found {images.dtype} of "
                    f"{'x'.join(map(str, found))}, and classes, int64, from 0 up, found "
                    f"{targets.dtype} of {list(targets.shape)}; make it again"
                )
        return cls(**{field.name: tensors[field.name] for field in fields(cls)})

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
