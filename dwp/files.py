"""Atomic, self-describing files.

Every file is written under a temporary name and renamed, so that a reader sees a whole file or
none. Tensors are safetensors with a header: the format version, the kind of content, the settings
that made it, the versions of libraries, and a checksum. The checksum of JSON and CSV stands in a
hidden file in the same folder, in the form that `sha256sum --check` takes. Reading checks the
checksum; JSON and CSV without one are taken as they are.
"""

import contextlib
import errno
import hashlib
import io
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import safe_open

from dwp.errors import UserError, reading

if TYPE_CHECKING:  # imported where they are needed: a study reads and writes JSON without them
    import pandas as pd
    import torch

FORMAT_VERSION = 2
_HEADER = "dwp"  # one key only: safetensors does not fix the order of several
_FULL = (errno.ENOSPC, errno.EDQUOT)
_REMEDY = "delete it and make it again (the workflow does when it is started again)"


TEMPORARY = ".tmp-"
"""How temporary names begin; whoever is killed while writing leaves such a file."""


@contextlib.contextmanager
def atomic(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path in the folder of `path`; rename it to `path` if the block succeeds.

    Parent folders are made. If the block raises, `path` is left as it was and the temporary file
    is removed. The temporary name keeps the suffix, because some writers choose a format by it.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
    except OSError as error:
        raise _not_written(path, error) from None
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise _not_written(path, error) from None
    finally:
        temporary.unlink(missing_ok=True)


def _not_written(path: Path, error: OSError) -> UserError:
    remedy = "make room" if error.errno in _FULL else "make its folder writable"
    return UserError(f"{path}: cannot be written ({error.strerror}); {remedy} and start again")


def checksum_file(path: str | os.PathLike) -> Path:
    """Return the file of the checksum of a JSON or CSV file."""
    path = Path(path)
    return path.with_name(f".{path.name}.sha256")


def _write_checked(path: str | os.PathLike, text: str) -> None:
    """As `write_text`, and write the checksum as well."""
    checksum_file(path).unlink(missing_ok=True)  # whoever is killed on the way leaves no wrong one
    write_text(path, text)
    write_text(checksum_file(path), f"{_sha256(text.encode())}  {Path(path).name}\n")


def _read_checked(path: str | os.PathLike) -> bytes:
    """Return the content of a file; raise `UserError` if it is not that of its checksum."""
    content = Path(path).read_bytes()
    with contextlib.suppress(FileNotFoundError):
        if checksum_file(path).read_bytes()[:64] != _sha256(content).encode():
            raise UserError(f"{path}: damaged, not what {checksum_file(path)} says; {_REMEDY}")
    return content


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def digest(paths: Iterable[str | os.PathLike]) -> str:
    """Return the SHA-256, in hex, of the content of files in order; raises `OSError`."""
    return _sha256(b"".join(hashlib.sha256(Path(path).read_bytes()).digest() for path in paths))


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Write `content` to `path` atomically as indented JSON (no NaN: use None), with a checksum."""
    _write_checked(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike) -> dict[str, Any]:
    """Read a JSON file; raise `UserError` if it is missing, damaged or holds no JSON object."""
    with reading(path, "a JSON object", "make it again"):
        content = json.loads(_read_checked(path))
        if not isinstance(content, dict):
            raise ValueError(type(content).__name__)
        return content


def write_csv(path: str | os.PathLike, frame: "pd.DataFrame") -> None:
    """Write a table atomically as CSV with a checksum, in full precision, without the index."""
    _write_checked(path, frame.to_csv(index=False, lineterminator="\n"))


def read_csv(path: str | os.PathLike, **options: Any) -> "pd.DataFrame":
    """Read a table; raise `UserError` when it is missing, damaged or not CSV.

    Args:
        path: a CSV file.
        **options: of `pandas.read_csv`.
    """
    import pandas as pd

    with reading(path, "CSV", _REMEDY):
        return pd.read_csv(io.BytesIO(_read_checked(path)), **options)


def save_tensors(
    path: str | os.PathLike,
    tensors: Mapping[str, "torch.Tensor"],
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
    import torch
    from safetensors.torch import save

    versions = {name: version(name) for name in ("torch", "numpy", "safetensors")}
    header = {"format": FORMAT_VERSION, "kind": kind, "settings": settings, "versions": versions}
    header = json.loads(json.dumps(header))  # as it will be read
    content = {  # copies: those that share memory are refused by safetensors
        name: tensor.detach().clone(memory_format=torch.contiguous_format).cpu()
        for name, tensor in tensors.items()
    }
    header["sha256"] = _checksum(header, content)
    with atomic(path) as temporary:
        temporary.write_bytes(save(content, {_HEADER: json.dumps(header, sort_keys=True)}))


def load_tensors(
    path: str | os.PathLike, *, kind: str
) -> tuple[dict[str, "torch.Tensor"], dict[str, Any]]:
    """Read a file written by `save_tensors`.

    Returns:
        The tensors by name, and the settings of the header.

    Raises:
        UserError: the file is missing, is not a safetensors file of dwp, is not what its checksum
            says, holds another kind of content, or has a newer format.
    """
    with reading(path, "a safetensors file", _REMEDY), safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = json.loads((file.metadata() or {}).get(_HEADER, "null"))
    if header is None:
        raise UserError(f"{path}: a safetensors file without dwp's header; expected kind '{kind}'")
    if header.get("format", 0) > FORMAT_VERSION:
        raise UserError(
            f"{path}: format {header['format']}, this dwp reads up to {FORMAT_VERSION}; update dwp"
        )
    if header.pop("sha256", None) != _checksum(header, tensors):
        raise UserError(f"{path}: damaged, not what its checksum says; {_REMEDY}")
    if header["kind"] != kind:
        raise UserError(f"{path}: holds '{header['kind']}', expected '{kind}'")
    return tensors, header["settings"]


def _checksum(header: Mapping[str, Any], tensors: Mapping[str, "torch.Tensor"]) -> str:
    """Return the SHA-256, in hex, of the content of a file of tensors."""
    import torch

    total = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
