"""Runs a program without PyTorch's compiler, whose import takes longer than a small training.

`python start.py PROGRAM OPTIONS`. Optimisers import `torch._dynamo` only to be left alone by it.
The module that stands in for it here does nothing, and gives way to it when more of it is used.
"""

import importlib
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

_COMPILER = "torch._dynamo"


class _StandIn(ModuleType):
    """What PyTorch needs of its compiler where nothing is compiled."""

    @staticmethod
    def disable(fn: Callable | None = None, *_: Any, **__: Any) -> Callable:
        """Return the function as it is, or a decorator that does."""
        return fn or (lambda function: function)

    @staticmethod
    def graph_break(*_: Any, **__: Any) -> None:
        """Do nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":  # asked of every module
            raise AttributeError(name)
        sys.modules.pop(_COMPILER)
        return getattr(importlib.import_module(_COMPILER), name)


if __name__ == "__main__":
    sys.modules[_COMPILER] = _StandIn(_COMPILER)
    del sys.argv[0]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")
