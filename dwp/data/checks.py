"""The entrance of all data sets: arrays of many kinds become images and targets of one kind."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from dwp.errors import UserError

_SLACK = 1e-3  # of floats from 0 to 1; resampling overshoots, and half a grey level is twice this


def checked(
    name: object,
    data: Any,
    targets: Any,
    classes: Sequence[str],
    shape: tuple[int, int, int] | None = None,
    remedy: str = "see examples/new_data_set.py",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images as uint8 (n, h, w) or (n, h, w, channels), and targets as int64 (n,).

    Args:
        name: the class or file that they come from, for messages.
        data: images, as an array, tensor or list, channels last or first: whole numbers from 0 to
            255 of any type, floats from 0 to 1, or truth values.
        targets: a class for each image: its index, of any type; its name; or one-hot.
        classes: the names of the classes.
        shape: channels, height and width; None: as `data` have.
        remedy: what to do, for messages.

    Raises:
        UserError: they are nothing of this, or leave a choice.
    """
    try:
        images, labels = _images(_array(data), shape), _labels(_array(targets), classes)
        if len(images) != len(labels):
            raise ValueError(f"{len(images)} images and {len(labels)} targets")
    except Exception as error:  # objects of other libraries can raise anything
        found = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{name}: expected data, images of {_by(shape or ('channels', 'height', 'width'))}, "
            "whole numbers from 0 to 255 or floats from 0 to 1, and targets, a class from 0 to "
            f"{len(classes) - 1} for each image; found {found}; {remedy}"
        ) from None
    return torch.from_numpy(images), torch.from_numpy(labels)


def _by(shape: Sequence[object]) -> str:
    return " x ".join(map(str, shape)) or "no axes"


def _array(values: Any) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        return values.detach().cpu().numpy()
    if isinstance(values, (list, tuple)) and len(values):
        return np.stack([_array(value) for value in values])
    array = np.asarray(values)
    return np.array(array.tolist()) if array.dtype.kind == "O" else array


def _images(data: np.ndarray, shape: tuple[int, int, int] | None) -> np.ndarray:
    found = data.shape[1:]
    if shape is None and len(found) == 3:
        shape = (found[2], *found[:2]) if found[2] in (1, 3) else found
    channels, height, width = shape or (1, *found[:1], *found[1:2])
    grey = {(height, width), (height * width,)} if channels == 1 else set()
    if found == (channels, height, width) != (height, width, channels):
        data = np.moveaxis(data, 1, 3)
    elif found not in {(height, width, channels), *grey} or data.size == 0:
        raise ValueError(f"data of {_by(data.shape)}")
    kind = data.dtype.kind
    if kind not in "buif":
        raise ValueError(f"data of type {data.dtype}")
    low, high = data.min(), data.max()
    if kind == "b" or (kind == "f" and low >= -_SLACK and high <= 1 + _SLACK):
        data = np.rint(255.0 * np.clip(data, 0, 1))
    elif not (low >= 0 and high <= 255) or high == 1 or (kind == "f" and (data % 1).any()):
        raise ValueError(f"data of type {data.dtype} from {low} to {high}")
    return np.array(data, np.uint8, order="C").reshape(
        (-1, height, width, channels) if channels > 1 else (-1, height, width)
    )


def _labels(targets: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if targets.dtype.kind in "US":
        names = targets.astype(str).tolist()
        if unknown := sorted(set(names) - set(classes)):
            raise ValueError(f"targets that name no class, such as {unknown[0]!r}")
        targets = np.array([classes.index(name) for name in names])
    if targets.ndim == 2 and targets.shape[1] == len(classes):
        if not (np.isin(targets, (0, 1)).all() and (targets.sum(1) == 1).all()):
            raise ValueError("targets of two axes that are not one-hot")
        targets = targets.argmax(1)
    if targets.ndim != 1 or targets.dtype.kind not in "buif":
        raise ValueError(f"targets of type {targets.dtype}, {_by(targets.shape)}")
    if not (targets.min() >= 0 and targets.max() < len(classes)):
        raise ValueError(f"targets from {targets.min()} to {targets.max()}")
    if targets.dtype.kind == "f" and (targets % 1).any():
        raise ValueError("targets that are not whole numbers")
    return targets.astype(np.int64)
