"""Files of data sets: which they are, where they lie, and how to get them."""

import hashlib
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


def check_content(path: Path, known: str, *contents: bytes, strict: bool = False) -> None:
    """Check that a file is the known one; another is accepted, with a warning in the log.

    Args:
        path: the file.
        known: its name in `KNOWN`.
        *contents: its content, as it is and decompressed.
        strict: refuse unknown content.

    Raises:
        UserError: it is another known file, or an unknown one if `strict`.
    """
    found = next(filter(None, map(_identify, contents)), None)
    if not (found or strict):
        _log.warning("%s: not the %s that dwp knows; using it as it is", path, known)
    elif found != known:
        found = found or "content that dwp does not know"
        raise UserError(f"{path}: holds {found}, expected {known}; replace it")


def _identify(content: bytes) -> str | None:
    git = hashlib.sha1(b"blob %d\0" % len(content) + content)
    digests = hashlib.sha256(content), git, hashlib.sha1(content), hashlib.md5(content)
    return next((KNOWN[d.hexdigest()] for d in digests if d.hexdigest() in KNOWN), None)


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the names and contents of the files in a .tar.gz archive.

    Raises:
        UserError: it cannot be read.
    """
    with reading(path, "a .tar.gz archive"), tarfile.open(path, "r|gz") as archive:
        for member in archive:
            if member.isfile():
                yield member.name, archive.extractfile(member).read()


def path_of(folder: Path, file: str) -> Path:
    """Return the path of a file in a folder, plain or gzipped; as if plain if there is none."""
    names = file, file.replace("-idx", ".idx")  # how some archives write it
    paths = [folder / f"{name}{end}" for name in names for end in ("", ".gz")]
    return next((path for path in paths if path.is_file()), paths[0])


def download(folders: Iterable[str], destination: Path, check: Callable[[Path], object]) -> None:
    """Fetch a file from the first of several addresses that gives the right content.

    Args:
        folders: addresses of folders that have the file, tried in order.
        destination: where the file goes; nothing is left there if every address fails.
        check: is given the downloaded file and raises `UserError` if it is not right.

    Raises:
        UserError: every address failed.
    """
    failures = []
    for url in (folder + destination.name for folder in folders):
        temporary = destination
        try:
            with atomic(destination) as temporary:
                pooch.HTTPDownloader(timeout=30, chunk_size=2**20)(url, str(temporary), None)
                check(temporary)
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
        archives = (self.root / folder / self.archive for folder in (".", *self.folders))
        archive = next(filter(Path.is_file, archives), None)
        # Files directly in the root may be any set's; an archive can only be this one's.
        folders = [self.root / each for each in self.folders if not (archive and each == ".")]
        folder = min(folders, key=lambda each: len(self._missing(each)))
        missing = self._missing(folder)
        self._path = archive if archive and missing else folder
        if archive or not missing:
            self.data, self.targets = self._load(self._path, train)
        elif download:
            self._download(folder, missing)
            self._read(train, False)
        else:
            instead = self.archive and f" or {self.archive}"
            raise UserError(
                f"{folder}: {self.name} not found, missing {', '.join(missing)}{instead}; put it "
                f"there, from {self.urls[0]}, or allow the download"
            )

    def _missing(self, folder: Path) -> list[str]:
        return [file for file in self.files if not path_of(folder, file).is_file()]

    def _download(self, folder: Path, missing: list[str]) -> None:
        download(self.urls, self.root / self.archive, self._check)

    def _check(self, archive: Path) -> None:
        check_content(archive, self.archive, archive.read_bytes(), strict=True)
