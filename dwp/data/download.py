"""Files from the network."""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

import pooch

from dwp.errors import UserError
from dwp.files import atomic

_log = logging.getLogger(__name__)


def download(urls: Iterable[str], destination: Path, check: Callable[[Path], None]) -> None:
    """Fetch a file from the first of several addresses that gives the right content.

    Args:
        urls: addresses, tried in order.
        destination: where the file goes; nothing is left there if every address fails.
        check: is given the downloaded file under a temporary name; raises `UserError` to refuse.

    Raises:
        UserError: every address failed.
    """
    failures = []
    for url in urls:
        _log.info("downloading %s", url)
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
