"""Arrays from NumPy's `.npz` files, which may come from anywhere: checked, never unpickled."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dwp.data.limits import MOST_BYTES
from dwp.errors import UserError


def read_npz(
    path: Path, expected: Mapping[str, tuple[str, tuple[int | None, ...]]]
) -> dict[str, np.ndarray]:
    """Read arrays from an `.npz` file, whose checksums tell damaged content.

    Args:
        path: the file.
        expected: type and shape of every array that is wanted, by name; a length of None: any.

    Returns:
        The arrays by name.

    Raises:
        UserError: the file is missing or damaged, or an array is missing or not as expected.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            size = sum(member.file_size for member in file.zip.infolist())
            if size > MOST_BYTES:
                raise ValueError(f"{size} bytes when decompressed, more than {MOST_BYTES}")
            arrays = {name: np.asarray(file[name]) for name in expected}
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file; put it there ('Data' in config/README.md says what it is)"
        ) from None
    except Exception as error:  # damaged archives and headers make their readers raise almost any
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{path}: expected an npz file with {', '.join(expected)}; found {reason}; get it again"
        ) from None
    for name, (dtype, shape) in expected.items():
        found = arrays[name]
        any_length = {axis for axis, length in enumerate(shape) if length is None}
        lengths = tuple(None if k in any_length else n for k, n in enumerate(found.shape))
        if found.dtype != dtype or lengths != shape:
            wanted = " x ".join("n" if length is None else str(length) for length in shape)
            raise UserError(
                f"{path}: expected {name} to be {dtype} of shape {wanted}, found {found.dtype} of "
                f"shape {' x '.join(map(str, found.shape))}; get it again"
            )
    return arrays


def check_labels(path: Path, labels: np.ndarray, images: int, classes: int) -> None:
    """Refuse labels (n,) that are not one an image, from 0 to `classes` - 1, or of no image.

    Raises:
        UserError: they do not fit.
    """
    if images == 0 or len(labels) != images or labels.max() >= classes:
        most = f", up to {labels.max()}" if len(labels) else ""
        raise UserError(
            f"{path}: expected a label from 0 to {classes - 1} for each of 1 or more images, found "
            f"{images} images and {len(labels)} labels{most}; get it again"
        )
