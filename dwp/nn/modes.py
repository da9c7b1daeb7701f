"""Evaluation mode for a while."""

import contextlib
import threading
from collections.abc import Iterator

from torch import nn

_lock = threading.Lock()
_held: dict[nn.Module, list] = {}  # the mode of each module before, and the blocks it is in


@contextlib.contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Within the block, batch norm uses its running statistics and dropout does nothing.

    After it every module is in the mode it was in before, its own; where blocks overlap, as those
    of several threads, after the last of them.
    """
    modules = list(net.modules())
    with _lock:
        for module in modules:
            _held.setdefault(module, [module.training, 0])[1] += 1
    try:
        net.eval()
        yield
    finally:
        with _lock:
            for module in modules:
                _held[module][1] -= 1
                if not _held[module][1]:
                    module.training = _held.pop(module)[0]
