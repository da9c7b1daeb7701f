"""The one way into the faster paths."""

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from dwp.fast.convolve import conv2d, max_pool2d
from dwp.fast.toom_cook import full_width

_REPLACED = {torch.conv2d: conv2d, F.max_pool2d: max_pool2d}


class Door(TorchFunctionMode):
    """What a thread computes faster while it is within `faster`.

    Attributes:
        open: whether anything is.
        kept: what was prepared from modules whose parameters stay as they are.
    """

    def __init__(self, enabled: bool) -> None:
        super().__init__()
        self.open = enabled
        self.kept: weakref.WeakKeyDictionary[nn.Module, Any] = weakref.WeakKeyDictionary()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if self.open and function in _REPLACED and _are_ordinary((*args, *kwargs.values())):
            function = _REPLACED[function]
        return function(*args, **kwargs)


_thread = threading.local()  # its `door`, while there is one


@contextlib.contextmanager
def faster(enabled: bool = True) -> Iterator[None]:
    """Within the block, compute the same numbers, but for rounding, by faster algorithms.

    Convolutions and max-pools of any net, and kernel VAEs without parameters to train, where
    these algorithms pay (see `dwp.fast.convolve` and `dwp.fast.frozen`). Tensors of
    `torch.compile`, `torch.export`, `torch.fx`, `torch.func`, `torch.jit` and forward-mode
    differentiation take the plain path, but for products on a GPU, which can be compiled. Gradients
    may be computed after the block, except those of checkpointed passes; they have no derivatives.

    Blocks may be nested, and are their thread's own. Parameters without gradients may change within
    a block, though not by `parameter.data` or NumPy, of which PyTorch knows nothing.

    Args:
        enabled: False: take the plain path, also in blocks within this one.
    """
    door: Door | None = getattr(_thread, "door", None)
    if torch.compiler.is_compiling():
        yield
    elif door is None:
        try:
            with full_width() if enabled else nullcontext(), Door(enabled) as _thread.door:
                yield
        finally:
            _thread.door = None
    else:
        before, door.open = door.open, door.open and enabled
        try:
            yield
        finally:
            door.open = before


def entered() -> Door | None:
    """Return the door through which this thread has gone; None: it takes the plain path."""
    door = None if torch.compiler.is_compiling() else getattr(_thread, "door", None)
    return door if door and door.open else None


def by(alternative: Callable[..., Tensor], plain: Callable[..., Tensor], *arguments: Any) -> Tensor:
    """Return what a plain function returns, within `faster` computed by another one.

    Args:
        alternative: takes the plain function, and its arguments.
        plain: takes tensors and more.
        *arguments: its own.
    """
    if entered() is None or not _are_ordinary(arguments):
        return plain(*arguments)
    with torch._C.DisableTorchFunction():  # a call less for each of torch's
        return alternative(plain, *arguments)


def _are_ordinary(values: Iterable[object]) -> bool:
    """Return whether there are tensors, all of them such as hand-made gradients can take."""
    kinds = {type(value) for value in values if isinstance(value, Tensor)}
    transformed = not torch.compiler.is_compiling() and (
        torch._C._are_functorch_transforms_active()
        or torch.jit.is_tracing()
        or torch.autograd.forward_ad._current_level >= 0
    )
    return bool(kinds) and kinds <= {Tensor, nn.Parameter} and not transformed
