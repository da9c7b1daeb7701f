"""Files of data sets: which they are, where they lie, and how to get them."""

import hashlib
import io
import logging
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import ClassVar

import pooch

from dwp.data.images import ImageDataset
from dwp.errors import UserError, reading
from dwp.files import atomic

_log = logging.getLogger(__name__)

_LINES = Path(__file__).with_name("checksums.txt").read_text("utf-8").splitlines()
KNOWN = dict(line.split()[::-1] for line in _LINES if not line.startswith("#"))
"""The files that dwp knows, as "folder/file" or "archive", by a digest of their content."""


def identify(content: bytes) -> str | None:
    """Return the name in `KNOWN` of a file's content; None if it is unknown."""
    git = hashlib.sha1(b"blob %d\0" % len(content) + content)
    digests = hashlib.sha256(content), git, hashlib.sha1(content), hashlib.md5(content)
    return next((KNOWN[d.hexdigest()] for d in digests if d.hexdigest() in KNOWN), None)


def warn_unknown(path: Path, name: str) -> None:
    """Log that a file is taken which is not the known `name`."""
    _log.warning("%s: not the %s that dwp knows; using it as it is", path, name)


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the names and contents of the files in a .tar.gz archive.

    Raises:
        UserError: it cannot be read.
    """
    with reading(path, "a .tar.gz archive"), tarfile.open(path, "r|gz") as archive:
        for member in archive:
            if member.isfile():
                yield member.name, (archive.extractfile(member) or io.BytesIO()).read()


def path_of(folder: Path, file: str) -> Path:
    """Return the path of a file in a folder, plain or gzipped; as if plain if there is none."""
    names = file, file.replace("-idx", ".idx")  # how some archives write it
    paths = [folder / f"{name}{end}" for name in names for end in ("", ".gz")]
    return next((path for path in paths if path.is_file()), paths[0])


def download(urls: Iterable[str], destination: Path, check: Callable[[Path], object]) -> None:
    """Fetch a file from the first of several addresses that gives the right content.

    Args:
        urls: addresses, tried in order.
        destination: where the file goes; nothing is left there if every address fails.
        check: is given the downloaded file and returns whether it is right, or raises `UserError`.

    Raises:
        UserError: every address failed.
    """
    failures = []
    for url in urls:
        temporary = destination
        try:
            with atomic(destination) as temporary:
                pooch.HTTPDownloader(timeout=30, chunk_size=2**20)(url, str(temporary), None)
                if not check(temporary):
                    raise UserError("other content than expected")
            return
        except (OSError, ValueError, UserError) as error:
            reason = " ".join(str(error).replace(f"{temporary}: ", "").split())
            failures.append(f"{url} ({reason})")
    raise UserError(
        f"{destination}: could not be downloaded; put it there by hand; tried {', '.join(failures)}"
    )


class StoredDataset(ImageDataset):
    """Images in files of a folder below `root`, or in an archive.

    A subclass sets the attributes and has a method `_load`, given the folder or the archive and
    which part, that returns images and targets.

    Attributes:
        name: of the data set, for messages.
        folders: those that may hold the files, the usual one first; "." is `root` itself.
        files: all files.
        archive: which may lie in any of the folders or in `root`; "" for none.
        urls: addresses of folders with the files or the archive.
    """

    name: ClassVar[str]
    folders: ClassVar[tuple[str, ...]]
    files: ClassVar[tuple[str, ...]]
    archive: ClassVar[str] = ""
    urls: ClassVar[tuple[str, ...]]

    def _read(self, train: bool, download: bool) -> None:
        archives = [self.root / folder / self.archive for folder in (".", *self.folders)]
        archive = next((path for path in archives if path.is_file()), None)
        # Files directly in the root may be any set's; an archive can only be this one's.
        folders = [self.root / each for each in self.folders if not (archive and each == ".")]
        self._path = folder = min(folders, key=lambda each: len(self._missing(each)))
        missing = self._missing(folder)
        if archive or not missing:
            self._path = archive if archive and missing else folder
            self.data, self.targets = self._load(self._path, train)
        elif download:
            self._download(folder, missing)
            self._read(train, False)
        else:
            raise UserError(
                f"{folder}: {self.name} not found, missing {', '.join(missing)}"
                f"{self.archive and f' or {self.archive}'}; put it there, from {self.urls[0]}, or "
                "allow the download"
            )

    def _missing(self, folder: Path) -> list[str]:
        return [file for file in self.files if not path_of(folder, file).is_file()]

    def _download(self, folder: Path, missing: list[str]) -> None:
        urls, archive = [url + self.archive for url in self.urls], self.root / self.archive
        download(urls, archive, lambda path: identify(path.read_bytes()) == archive.name)
