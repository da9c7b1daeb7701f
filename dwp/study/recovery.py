"""After a kill the same command goes on: what a killed workflow leaves is removed.

Locks are removed only if this package's workflow made them and no process of it is alive in the
folder: those of another workflow stay.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import IO

from dwp.errors import UserError

_LOCKS = Path(".snakemake/locks")
_NOTED = Path(".snakemake/dwp-locks.json")


def check_writable(*folders: str | Path) -> None:
    """Check that folders, or the first that exist above them, can be written to.

    Raises:
        UserError: one cannot.
    """
    for folder in folders:
        path = Path(folder).absolute()
        existing = next(each for each in (path, *path.parents) if each.exists())
        if not os.access(existing, os.W_OK | os.X_OK):
            raise UserError(f"{existing}: expected a folder that can be written to; make it so")


def clear_after_a_kill(results: str | Path) -> IO:
    """Remove the locks and half-written files of a killed run of this workflow.

    Every run holds the returned file open; the operating system closes it with the process. Only
    if no other process holds it, and the locks are those that `note_locks` noted, are they removed.

    Args:
        results: the folder below which half-written files may lie.
    """
    Path(".snakemake").mkdir(exist_ok=True)
    alive = open(".snakemake/alive", "w")  # noqa: SIM115 - held until the process ends
    with contextlib.suppress(OSError):  # another run holds it, or the file system has no locks
        fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
        locks = _locks()
        if locks and locks == _noted():
            print("going on where a workflow was killed", file=sys.stderr)
            from dwp.files import TEMPORARY

            for name in locks:
                (_LOCKS / name).unlink(missing_ok=True)
            for path in Path(results).rglob(f"{TEMPORARY}*"):
                path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        fcntl.flock(alive, fcntl.LOCK_SH)
    return alive


def note_locks() -> None:
    """Note which of Snakemake's locks the running workflow holds."""
    temporary = _NOTED.with_suffix(".new")
    temporary.write_text(json.dumps(_locks()))
    temporary.replace(_NOTED)


def _locks() -> dict[str, str]:
    """Return a digest of every lock file, by its name."""
    paths = sorted(_LOCKS.glob("*.lock"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def _noted() -> dict[str, str] | None:
    try:
        return json.loads(_NOTED.read_text())
    except (OSError, ValueError):
        return None
