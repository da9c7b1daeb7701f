"""Files of data sets: which they are, and how to get them."""

import hashlib
import io
import logging
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pooch

from dwp.errors import UserError
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
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                if member.isfile():
                    yield member.name, (archive.extractfile(member) or io.BytesIO()).read()
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise UserError(f"{path}: not a readable archive ({error}); get it again") from None


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
