"""Several runs in one process: a finished run is kept, whatever becomes of the others."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dwp.errors import UserError
from dwp.files import atomic, checksum_file, digest, read_json, write_json

KEPT = ".kept"
"""The folder, within a run's own, of the files as they were made."""

CHECKPOINT = "weights.safetensors.checkpoint"
"""The file, within a run's own folder, that its training resumes from."""


def run_folder(pattern: str, places: Mapping[str, Any]) -> Path:
    """Return the folder of a run: a pattern whose {places} are filled in.

    Raises:
        UserError: the pattern has a place that the run has not, or is no pattern.
    """
    try:
        return Path(pattern.format(**places))
    except (AttributeError, LookupError, ValueError) as error:
        raise UserError(
            f"{pattern}: expected a folder with places among {', '.join(places)} in braces, "
            f"found another ({error})"
        ) from None


@contextlib.contextmanager
def kept(
    folder: str | os.PathLike, names: Sequence[str], identity: Mapping[str, Any]
) -> Iterator[Path | None]:
    """Give the place to make a run's files in, or None where the same run is finished already.

    After the block the files also stand in the run's folder, as hard links (or as copies, where
    the file system has no links). Whoever deletes them there, as Snakemake does with all outputs
    of a job before it and after its failure, loses nothing: the next process links them again.
    A finished run has no use for its checkpoint, which is removed.

    Args:
        folder: the run's own.
        names: of the files that the block makes, each under a temporary name first (see
            `dwp.files`): a file written in place would change the one linked to it.
        identity: what decides the content of the files (settings, code, inputs), as JSON can hold
            it. The version of torch counts as well.
    """
    folder = Path(folder)
    place = folder / KEPT
    mark = place / "identity.json"
    identity = json.loads(json.dumps({**identity, "torch": torch.__version__}))
    made = _read(mark)
    if made is not None and made == {**identity, "files": _digests(place, names)}:
        yield None
    else:
        mark.unlink(missing_ok=True)
        yield place
        # the last: it says that the other files are whole
        write_json(mark, {**identity, "files": _digests(place, names)})
    (folder / CHECKPOINT).unlink(missing_ok=True)
    checksums = [checksum_file(name).name for name in names]
    for name in [*names, *(name for name in checksums if (place / name).is_file())]:
        with atomic(folder / name) as temporary:
            temporary.unlink()
            try:
                os.link(place / name, temporary)
            except OSError:
                shutil.copyfile(place / name, temporary)


def _digests(place: Path, names: Sequence[str]) -> dict[str, str | None]:
    return {name: digest([place / name]) if (place / name).is_file() else None for name in names}


def _read(path: Path) -> Any:
    try:
        return read_json(path)
    except UserError:
        return None  # missing or damaged: making the files again is always right


@contextlib.contextmanager
def naming(run: str) -> Iterator[None]:
    """Name the run in every error that the block raises."""
    try:
        yield
    except UserError as error:
        message = str(error)
        raise UserError(message if run in message else f"{run}: {message}") from None
    except Exception as error:
        error.add_note(f"in the run {run}")
        raise
