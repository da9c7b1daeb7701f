"""The safetensors format (https://github.com/huggingface/safetensors) without its library.

For machines that lack the library; `dwp.files` takes the library where there is one. A file is the
length of a JSON header (8 bytes, little-endian), the header, and the tensors' raw bytes.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

# In the order of the library, which puts the widest first: every tensor is aligned.
_TYPES = {
    "I64": torch.int64,
    "F64": torch.float64,
    "F32": torch.float32,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _TYPES.items()}


def save_file(
    tensors: Mapping[str, Tensor], path: str | os.PathLike, metadata: Mapping[str, str]
) -> None:
    """Write contiguous tensors on the CPU and metadata: the bytes that the library writes."""
    order = list(_NAMES)
    names = sorted(tensors, key=lambda name: (order.index(tensors[name].dtype), name))
    header, parts, end = {"__metadata__": dict(metadata)}, [], 0
    for name in names:
        tensor = tensors[name]
        parts.append(tensor.reshape(-1).view(torch.uint8).numpy())
        start, end = end, end + parts[-1].nbytes
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.writelines(part.data for part in parts)


def load_file(path: str | os.PathLike) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors and metadata; raises `ValueError` for what is not a whole safetensors file."""
    content = bytearray(Path(path).read_bytes())  # torch wants writable memory
    start = 8 + int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8:start])
        metadata, tensors, total = header.pop("__metadata__", {}), {}, 0
        if not all(isinstance(text, str) for text in metadata.values()):
            raise TypeError("metadata that are no text")
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            (first, end), dtype = entry["data_offsets"], _TYPES[entry["dtype"]]
            if first != total or min(entry["shape"], default=0) < 0:
                raise ValueError(f"'{name}' has a place or a shape that no tensor can have")
            count, total = math.prod(entry["shape"]), end
            if start + end > len(content) or count * dtype.itemsize != end - first:
                raise ValueError(f"'{name}' is cut short")
            values = torch.empty(0, dtype=dtype)
            if count:
                values = torch.frombuffer(content, dtype=dtype, count=count, offset=start + first)
            tensors[name] = values.view(entry["shape"]).clone()
    except (AttributeError, KeyError, TypeError, RecursionError, RuntimeError) as error:
        raise ValueError(f"no safetensors header: {error}") from None
    return tensors, metadata
