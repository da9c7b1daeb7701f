"""Packages whose names editors see as plain imports, and Python imports when first used."""

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def exports(
    package: str, file: str
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return `__getattr__`, `__dir__` and `__all__` of a package.

    Args:
        package: its name.
        file: its `__init__.py`, which imports the public names as themselves (`from module import
            name as name`) under `if TYPE_CHECKING`.
    """
    module_of = {
        alias.name: node.module
        for node in ast.walk(ast.parse(Path(file).read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
        if alias.asname == alias.name
    }

    def get(name: str) -> Any:
        if name not in module_of:
            message = f"module '{package}' has no attribute '{name}'"
            raise AttributeError(message, name=name, obj=sys.modules[package])  # for its hints
        module = import_module(module_of[name])
        # the last is for the name of a module itself
        return getattr(module, name, None) or import_module(f"{module.__name__}.{name}")

    return get, lambda: sorted(module_of), sorted(module_of)
