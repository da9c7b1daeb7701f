"""The idx format of MNIST, and data sets in four files of it.

A file is a big-endian header, then unsigned bytes; plain or gzipped.
"""

import gzip
import zlib
from pathlib import Path
from typing import ClassVar

import numpy as np

from dwp.data.files import KNOWN, download, identify, warn_unknown
from dwp.data.images import ImageDataset
from dwp.errors import UserError

_KINDS = "images-idx3-ubyte", "labels-idx1-ubyte"
FILES = tuple(f"{part}-{kind}" for part in ("train", "t10k") for kind in _KINDS)


def idx_bytes(array: np.ndarray) -> bytes:
    """Return the idx file content of a uint8 array of any shape."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + np.ascontiguousarray(array, np.uint8).tobytes()


def read_idx(path: Path, known: str, strict: bool = False) -> np.ndarray:
    """Return the uint8 array of an idx file, gzipped or not, whatever its name.

    Args:
        path: the file.
        known: its name in `KNOWN`.
        strict: refuse unknown content; otherwise warn in the log and take it.

    Raises:
        UserError: it cannot be read, or holds another known file, or something unknown.
    """
    try:
        stored = path.read_bytes()
        content = gzip.decompress(stored) if stored[:2] == b"\x1f\x8b" else stored
        if content[:3] != b"\0\0\x08":
            raise ValueError(f"content that begins with {content[:4]!r}")
        shape = np.frombuffer(content, ">u4", content[3], 4)
        array = np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)
    except (OSError, EOFError, zlib.error, ValueError, IndexError) as error:
        message = f"expected an idx file of unsigned bytes, plain or gzipped; found {error}"
        raise UserError(f"{path}: {message}; get it again") from None
    found = identify(content) or identify(stored)
    if found is None and not strict:
        warn_unknown(path, known)
    elif found != known:
        found = found or "content that dwp does not know"
        raise UserError(f"{path}: holds {found}, expected {known}; replace it")
    return array


class IdxDataset(ImageDataset):
    """Grey images of 28 x 28 in four idx files, which are looked for in `root`.

    A subclass sets `name`, the name of its folder, and `urls`. If it has an `archive` of other
    files as well, it also has a method `_read_archive`, given its path and which part.
    """

    image_shape = (1, 28, 28)
    name: ClassVar[str]
    urls: ClassVar[tuple[str, ...]]  # of folders with the four files as .gz
    archive: ClassVar[str] = ""
    strict: ClassVar[bool] = False

    def _read(self, train: bool, download: bool) -> None:
        root = Path(self.root)
        folders = root / self.name / "raw", root / self.name
        # Beside the folder of a known data set nobody knows whose the files in `root` are.
        beside = any((root / name).parent.is_dir() for name in KNOWN.values() if "/" in name)
        found = max(map(_idx_files, folders if beside else (*folders, root)), key=len)
        missing = [file for file in FILES if file not in found]
        folder = next(iter(found.values())).parent if found else folders[0]
        archives = (each / self.archive for each in (root, *folders))
        archive = next((path for path in archives if path.is_file()), None)
        # Files directly in the root may be any set's; an archive can only be this one's.
        if archive is not None and (missing or folder == root):
            self._path = archive
            self.data, self.targets = self._read_archive(archive, train)
        elif not missing:
            self._path, files = folder, FILES[:2] if train else FILES[2:]
            read = (read_idx(found[file], f"{self.name}/{file}", self.strict) for file in files)
            self.data, self.targets = read
        elif download:
            self._download(root, folder, missing)
            self._read(train, False)
        else:
            files = f"{', '.join(missing)} (plain or .gz)"
            raise UserError(
                f"{folder}: {self.name} not found, missing {files}{self.archive and ' or '}"
                f"{self.archive}; put it there, from {self.urls[0]}, or allow the download"
            )

    def _read_archive(self, path: Path, train: bool) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError

    def _download(self, root: Path, folder: Path, missing: list[str]) -> None:
        for file in missing:
            known, urls = f"{self.name}/{file}", [f"{url}{file}.gz" for url in self.urls]
            download(
                urls, folder / f"{file}.gz", lambda path, k=known: read_idx(path, k, True).size
            )


def _idx_files(folder: Path) -> dict[str, Path]:
    """Return the paths of those of `FILES` that lie in a folder."""
    found = {}
    for file in FILES:
        for name in (file, file.replace("-idx", ".idx")):  # some archives write it with a dot
            for path in (folder / f"{name}.gz", folder / name):
                if path.is_file():
                    found[file] = path
    return found
