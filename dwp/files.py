"""Atomic, self-describing files.

Every file is written under a temporary name and renamed, so that a reader sees a whole file or
none. Tensors are safetensors with a header that tells the format version, the kind of content,
the settings that made it, and the library versions.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from dwp import tensorfile
from dwp.errors import UserError
from dwp.records import Record, parse_json

try:
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import save_file
except ImportError:  # a bare machine
    safe_open, save_file, SafetensorError = None, tensorfile.save_file, ValueError

FORMAT_VERSION = 1
_HEADER = "dwp"  # one key only: safetensors does not fix the order of several


@contextlib.contextmanager
def atomic(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` if the block succeeds.

    Parent folders are made. If the block raises, `path` is left as it was and the temporary file
    is removed. The temporary name keeps the suffix, because some writers choose a format by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def digest(paths: Iterable[str | os.PathLike]) -> str:
    """Return the SHA-256, in hex, of the content of files in order; raises `OSError`."""
    total = hashlib.sha256()
    for path in paths:
        total.update(hashlib.sha256(Path(path).read_bytes()).digest())
    return total.hexdigest()


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Write `content` to `path` atomically as indented JSON (no NaN: use None)."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike) -> Record:
    """Read a JSON file; raise `UserError` when it is missing or does not hold a JSON object."""
    try:
        content = parse_json(Path(path).read_bytes(), path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    if not isinstance(content, Record):
        kind = type(content).__name__
        raise UserError(f"{path}: expected a JSON object, found {kind}; make the file again")
    return content


def save_tensors(
    path: str | os.PathLike,
    tensors: Mapping[str, torch.Tensor],
    *,
    kind: str,
    settings: Mapping[str, Any],
) -> None:
    """Write tensors to a `.safetensors` file with a header that describes them.

    Args:
        path: where to write (atomically).
        tensors: the content by name; moved to the CPU and made contiguous.
        kind: what the file holds, checked by `load_tensors` ("prior", "kernels", ...).
        settings: JSON-serialisable settings that made the content.
    """
    header = {
        "format": FORMAT_VERSION,
        "kind": kind,
        "settings": settings,
        "versions": _versions("torch", "numpy", "safetensors"),
    }
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic(path) as temporary:
        save_file(content, temporary, {_HEADER: json.dumps(header, sort_keys=True)})


def load_tensors(
    path: str | os.PathLike, *, kind: str
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read a file written by `save_tensors`.

    Returns:
        The tensors by name, and the settings of the header.

    Raises:
        UserError: the file is missing, is not a safetensors file of dwp, holds another kind of
            content, or has a newer format.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file")
    try:
        tensors, metadata = _read(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"{path}: not a readable safetensors file ({error}); make it again"
        ) from None
    if _HEADER not in metadata:
        raise UserError(f"{path}: a safetensors file without dwp's header; expected kind '{kind}'")
    header = parse_json(metadata[_HEADER], f"{path}: header")
    if not isinstance(header, Record) or not isinstance(header["format"], int):
        raise UserError(f"{path}: expected dwp's header, found another; make the file again")
    if header["format"] > FORMAT_VERSION:
        raise UserError(
            f"{path}: format {header['format']}, this dwp reads up to {FORMAT_VERSION}; update dwp"
        )
    if header["kind"] != kind:
        raise UserError(f"{path}: holds '{header['kind']}', expected '{kind}'")
    if not isinstance(settings := header["settings"], Record):
        raise UserError(f"{path}: expected settings in the header, found none; make the file again")
    return Record(tensors, path), settings


def _read(path: str | os.PathLike) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    if safe_open is None:
        return tensorfile.load_file(path)
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, file.metadata() or {}


def _versions(*names: str) -> dict[str, str]:
    found = {}
    for name in names:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
