"""The idx format of MNIST: a big-endian header, then unsigned bytes; plain or gzipped."""

import hashlib
import struct
import zlib
from math import prod
from pathlib import Path

import torch

from dwp.data.limits import Bounded
from dwp.errors import UserError

_UINT8 = 0x08


def idx_bytes(tensor: torch.Tensor) -> bytes:
    """Return the idx file content of a uint8 tensor of any shape.

    Raises:
        ValueError: the tensor is not uint8.
    """
    if tensor.dtype != torch.uint8:
        raise ValueError(f"idx files hold uint8 here, got {tensor.dtype}")
    header = struct.pack(f">BBBB{tensor.ndim}I", 0, 0, _UINT8, tensor.ndim, *tensor.shape)
    return header + tensor.contiguous().numpy().tobytes()


def parse_idx(content: bytes, name: str | Path) -> torch.Tensor:
    """Return the uint8 tensor that idx file content holds.

    Args:
        content: the decompressed file.
        name: the file's name, for messages.

    Raises:
        UserError: not idx, not unsigned bytes, or not the size that the header tells.
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[3] == 0:
        raise UserError(f"{name}: not an idx file (starts with {content[:4]!r}); get it again")
    if content[2] != _UINT8:
        raise UserError(
            f"{name}: expected idx of unsigned bytes (type 0x{_UINT8:02x}), "
            f"found type 0x{content[2]:02x}; get it again"
        )
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise UserError(f"{name}: truncated in the idx header; get it again")
    shape = struct.unpack_from(f">{content[3]}I", content, 4)
    if len(content) - start != prod(shape):
        raise UserError(
            f"{name}: expected {prod(shape)} bytes of shape {'x'.join(map(str, shape))}, "
            f"found {len(content) - start}; get it again"
        )
    if prod(shape) == 0:
        return torch.empty(shape, dtype=torch.uint8)
    # bytearray: torch wants writable memory.
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start).view(shape).clone()


def read_idx(path: str | Path) -> tuple[torch.Tensor, str]:
    """Read an idx file, gzipped or not (told by its content, whatever its name).

    Returns:
        The uint8 tensor, and the SHA-256 of the decompressed file in hex.

    Raises:
        UserError: the file cannot be read, decompressed or parsed.
    """
    try:
        with open(path, "rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        with Bounded(path) if zipped else open(path, "rb") as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error}); get it again") from None
    return parse_idx(content, path), hashlib.sha256(content).hexdigest()
