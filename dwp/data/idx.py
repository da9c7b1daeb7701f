"""The idx format of MNIST, and data sets in four files of it.

A file is a big-endian header, then unsigned bytes; plain or gzipped.
"""

import gzip
import hashlib
import logging
import zlib
from pathlib import Path
from typing import ClassVar

import numpy as np

from dwp.data.download import download as fetch
from dwp.data.images import ImageDataset
from dwp.errors import UserError

_log = logging.getLogger(__name__)

FILES = (
    *("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    *("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)

# By content, because the files of all sets have the same names: the SHA-256 of the decompressed
# file, or git's id of the file as it is. Then a file in the wrong folder is recognised.
_DIGESTS = {
    "MNIST": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    "notMNIST": (
        "b29a7071a493b85387834d67a02faef0375089f75b443f03f7dff0eb00ecee70",
        "fa9b7112c73957961a591b8d9edee20f0a67ae48579b87d0bf210491846e362c",
        "32b5c096eb25b2e6435c5e047b54503c147a7283a5aa1795e2c1d378c5001930",
        "769daa18eb2ac29872d11cbef6f4be30ea2106a503984c2c3128a47088e3af88",
    ),
    "notMNIST-large": (
        "6cf3076b36bafa7da1563b28bbe863fd78a008a8",
        "285bdaffe3b109c555b8d43ff6fe0373e7b2a3ff",
        "5d531796d90741366f99a5381569a7aac18e63b0",
        "52b510386bbe3ed235d22fdd932b2351a461e835",
    ),
}
KNOWN: dict[str, tuple[str, str]] = {
    digest: (name, file)
    for name, digests in _DIGESTS.items()
    for file, digest in zip(FILES, digests, strict=True)
}
"""The data set and the file that a digest belongs to."""


def idx_bytes(array: np.ndarray) -> bytes:
    """Return the idx file content of a uint8 array of any shape."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + np.ascontiguousarray(array, np.uint8).tobytes()


def read_idx(path: str | Path) -> tuple[np.ndarray, tuple[str, str]]:
    """Read an idx file, gzipped or not, whatever its name.

    Returns:
        The uint8 array; and the SHA-256 of the decompressed content and git's id of the file.

    Raises:
        UserError: the file cannot be read, decompressed or parsed.
    """
    try:
        stored = Path(path).read_bytes()
        content = gzip.decompress(stored) if stored[:2] == b"\x1f\x8b" else stored
        if content[:3] != b"\0\0\x08":
            raise ValueError(f"content that begins with {content[:4]!r}")
        shape = np.frombuffer(content, ">u4", content[3], 4)
        array = np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)
    except (OSError, EOFError, zlib.error, ValueError, IndexError) as error:
        raise UserError(
            f"{path}: expected an idx file of unsigned bytes, plain or gzipped; found {error}; get "
            "it again"
        ) from None
    git = hashlib.sha1(b"blob %d\0" % len(stored) + stored).hexdigest()
    return array, (hashlib.sha256(content).hexdigest(), git)


def read_known(path: Path, name: str, file: str, strict: bool) -> np.ndarray:
    """Return the content of an idx file that should be a certain one.

    Args:
        path: where it lies.
        name: the data set.
        file: the file's name in `KNOWN`.
        strict: refuse unknown content; otherwise warn in the log and take it.

    Raises:
        UserError: as `read_idx`; or the content is another file's, or unknown.
    """
    array, digests = read_idx(path)
    found = next((KNOWN[digest] for digest in digests if digest in KNOWN), None)
    if found not in (None, (name, file)):
        raise UserError(
            f"{path}: holds {found[0]}'s {found[1]}, expected {name}'s {file}; replace it by "
            f"{name}'s"
        )
    if found is None and strict:
        raise UserError(
            f"{path}: expected {name}'s {file}, found content that dwp does not know (SHA-256 "
            f"{digests[0]}); get it again"
        )
    if found is None:
        _log.warning("%s: not the %s that dwp knows; using it as it is", path, name)
    return array


class IdxDataset(ImageDataset):
    """Grey images of 28 x 28 in four idx files, which are looked for in `root`.

    A subclass sets `name`, the name of its folder, and `urls`. If it has an `archive` of other
    files as well, it also sets the method `_read_archive`.
    """

    image_shape = (1, 28, 28)
    name: ClassVar[str]
    urls: ClassVar[tuple[str, ...]]  # of folders with the four files as .gz
    archive: ClassVar[str] = ""
    strict: ClassVar[bool] = False

    def _read(self, train: bool, download: bool) -> None:
        root = Path(self.root)
        found = self._find(root)
        missing = [file for file in FILES if file not in found]
        archives = (folder / self.archive for folder in (root, *self._folders(root)))
        archive = next((path for path in archives if path.is_file()), None)
        # Files directly in the root may be any set's; an archive can only be this one's.
        if archive is not None and (missing or found[FILES[0]].parent == root):
            self._path = archive
            self.data, self.targets = self._read_archive(archive, train)
        elif not missing:
            self._path = found[FILES[0]].parent
            files = FILES[:2] if train else FILES[2:]
            self.data, self.targets = (
                read_known(found[file], self.name, file, self.strict) for file in files
            )
        elif download:
            self._download(root, next(iter(found.values())).parent if found else None, missing)
            self._read(train, False)
        else:
            wanted = f"{', '.join(missing)} (plain or .gz)"
            raise UserError(
                f"{self._folders(root)[0]}: {self.name} not found, missing {wanted}"
                f"{f' or {self.archive}' if self.archive else ''}; put it there, from "
                f"{self.urls[0]}, or allow the download"
            )

    def _folders(self, root: Path) -> tuple[Path, ...]:
        return root / self.name / "raw", root / self.name

    def _find(self, root: Path) -> dict[str, Path]:
        """Return the paths of the idx files, from the first folder that has most of them.

        The root itself counts only if it has no folder of a known data set: beside one, nobody
        knows whose the files in `root` are.
        """
        beside = any((root / name).is_dir() for name in {name for name, _ in KNOWN.values()})
        return max(map(_idx_files, self._folders(root) + (() if beside else (root,))), key=len)

    def _download(self, root: Path, folder: Path | None, missing: list[str]) -> None:
        """Fetch the missing files, to those that are there."""
        for file in missing:
            path = (folder or self._folders(root)[0]) / f"{file}.gz"
            addresses = [f"{url}{path.name}" for url in self.urls]
            fetch(addresses, path, lambda path, file=file: read_known(path, self.name, file, True))

    def _read_archive(self, path: Path, train: bool) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError


def _idx_files(folder: Path) -> dict[str, Path]:
    found = {}
    for file in FILES:
        # Some archives write "train-images.idx3-ubyte".
        names = [f"{name}{end}" for end in ("", ".gz") for name in (file, file.replace("-idx", ".idx"))]
        if path := next((folder / name for name in names if (folder / name).is_file()), None):
            found[file] = path
    return found
