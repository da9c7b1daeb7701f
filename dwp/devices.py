"""The device to compute on, and the precision of products there."""

import contextlib
import fcntl
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import torch

from dwp.errors import UserError

Precision = Literal["float32", "tfloat32", "bfloat16"]
"""That of matrix products and convolutions; see `products`."""

_taken: dict[str, int] = {}  # lock files that this process holds, by the device's UUID


def choose_device(name: Literal["auto", "cpu", "cuda"]) -> str:
    """Return the device to compute on, "cpu" or "cuda:<number>".

    Processes of one user on one machine take different GPUs as long as there are free ones, each
    for its life; after that they share the one with most free memory. Products of float32 numbers
    become full ones in this process (see `products`).

    Args:
        name: "auto" for a GPU if there is one.

    Raises:
        UserError: "cuda" without a GPU.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise UserError("device: expected a GPU for 'cuda', found none; set it to auto or cpu")
    _set_tfloat32((False, False))
    devices = _visible_devices()
    for device, uuid in devices.items():
        if uuid in _taken or _take(uuid):
            return device
    return max(devices, key=_free_memory)


def has_bfloat16() -> bool:
    """Whether the processor has instructions for products in bfloat16."""
    return torch.cpu._is_avx512_bf16_supported() or has_matrix_units()


def has_matrix_units() -> bool:
    """Whether the processor has matrix units for bfloat16 (AMX)."""
    return torch.cpu._is_amx_tile_supported()


def _visible_devices() -> dict[str, str]:
    names = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return {name: str(torch.cuda.get_device_properties(name).uuid) for name in names}


def _free_memory(device: str) -> int:
    return torch.cuda.mem_get_info(device)[0]


def _take(uuid: str) -> bool:
    # The system drops the lock when the process ends, however it ends
    path = Path(tempfile.gettempdir()) / f"dwp-{os.getuid()}-{uuid}.lock"
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return False
    _taken[uuid] = file
    return True


class Switch:
    """A setting that blocks change for their time, also those of several threads.

    It has the value of the latest block; after the last it is as it was before the first.

    Args:
        get: returns the setting, of the process or of an object.
        change: changes it; takes the object, if any, and the value.
    """

    def __init__(self, get: Callable[..., Any], change: Callable[..., None]) -> None:
        self._get, self._change = get, change
        self._values: dict[tuple, dict[object, Any]] = {}  # of an object by the block, in order
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def __call__(self, value: Any, *of: Any) -> Iterator[None]:
        """Within the block, let the setting have a value; `of`: the object, if it is of one."""
        block = object()
        with self._lock:
            if of not in self._values:
                self._values[of] = {"before": self._get(*of)}
            self._values[of][block] = value
            self._change(*of, value)
        try:
            yield
        finally:
            with self._lock:
                del self._values[of][block]
                *others, latest = self._values[of].values()
                self._change(*of, latest)
                if not others:
                    del self._values[of]


def _tfloat32() -> tuple[bool | str, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


def _set_tfloat32(allowed: tuple[bool, bool]) -> None:
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = allowed


_switch = Switch(_tfloat32, _set_tfloat32)


@contextlib.contextmanager
def products(precision: Precision, device: str | torch.device) -> Iterator[None]:
    """Within the block, matrix products and convolutions run in a precision.

    Gradients must be computed within it as well: TF32 is a switch of the moment.

    Args:
        precision: "float32": in full (torch by itself lets cuDNN use TF32); "tfloat32": in TF32
            on a GPU that has it, else as float32; "bfloat16": products of float32 numbers in half
            precision, everything else as it is (`torch.autocast`); on a CPU without instructions
            for them as float32, which is many times faster there.
        device: where they run.
    """
    kind = torch.device(device).type
    half = torch.autocast(
        kind,
        torch.bfloat16,
        enabled=precision == "bfloat16" and (kind != "cpu" or has_bfloat16()),
        cache_enabled=False,  # it would keep copies of weights that training changes
    )
    with _switch((precision == "tfloat32",) * 2), half:
        yield
