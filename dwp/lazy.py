"""Packages that import their public names when these are first used."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def exports(
    package: str, modules: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return `__getattr__`, `__dir__` and `__all__` of a package.

    Args:
        package: its name.
        modules: the public names by the module that each comes from; a name that its module does
            not define is a module in it. Editors and type checkers want the same as plain imports
            under `if TYPE_CHECKING`.
    """
    module_of = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        module = import_module(module_of[name])
        if hasattr(module, name):
            return getattr(module, name)
        return import_module(f"{module.__name__}.{name}")

    return get, lambda: sorted(module_of), sorted(module_of)
