"""MNIST, its idx format, and the base of data sets in four files of it.

A file is a big-endian header, then unsigned bytes; plain or gzipped.
"""

import functools
import gzip
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import numpy as np

from dwp.data.files import StoredDataset, check_content, download, path_of
from dwp.errors import reading

KINDS = "images-idx3-ubyte", "labels-idx1-ubyte"
FILES = tuple(f"{part}-{kind}" for part in ("train", "t10k") for kind in KINDS)


def idx_bytes(array: np.ndarray) -> bytes:
    """Return the idx file content of a uint8 array of any shape."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + np.ascontiguousarray(array, np.uint8).tobytes()


def read_idx(path: Path, known: str, strict: bool = False) -> np.ndarray:
    """Return the uint8 array of an idx file, gzipped or not, whatever its name.

    Args:
        path: the file.
        known: its name in `dwp.data.files.KNOWN`.
        strict: refuse unknown content; otherwise warn in the log and take it.

    Raises:
        UserError: it cannot be read, or holds another known file, or something unknown.
    """
    with reading(path, "an idx file of unsigned bytes, plain or gzipped"):
        stored = path.read_bytes()
        content = gzip.decompress(stored) if stored[:2] == b"\x1f\x8b" else stored
        if content[:3] != b"\0\0\x08":
            raise ValueError(f"content that begins with {content[:4]!r}")
        shape = np.frombuffer(content, ">u4", content[3], 4)
        array = np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)
    check_content(path, known, content, stored, strict=strict)
    return array


class IdxDataset(StoredDataset):
    """Grey images of 28 x 28 in four idx files."""

    image_shape = (1, 28, 28)
    files = FILES
    strict: ClassVar[bool] = False

    def _load(self, source: Path, train: bool) -> Iterable[np.ndarray]:
        for file in FILES[:2] if train else FILES[2:]:
            yield read_idx(path_of(source, file), f"{self.name}/{file}", self.strict)

    def _download(self, folder: Path, missing: list[str]) -> None:
        for file in missing:
            check = functools.partial(read_idx, known=f"{self.name}/{file}", strict=True)
            download(self.urls, folder / f"{file}.gz", check)


class MNIST(IdxDataset):
    """MNIST, 60,000 train and 10,000 test images, from its four idx files.

    Args:
        root: folder with the files, in `MNIST/raw/`, `MNIST/` or directly; plain or `.gz`.
        train: which part.
        transform: applied to the PIL image of an item.
        target_transform: applied to the class of an item.
        download: fetch files that are missing into `root/MNIST/raw/`.

    Raises:
        UserError: files are missing, cannot be downloaded, or are not MNIST's.
    """

    name = "MNIST"
    folders = "MNIST/raw", "MNIST", "."
    classes = tuple("0123456789")
    strict = True
    urls = (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    )
