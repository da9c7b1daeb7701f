"""Classes that settings name: of the package, or of a file of one's own."""

import functools
import importlib
import sys
from collections.abc import Iterable, Mapping
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

from dwp.errors import UserError


def class_at(location: str) -> type:
    """Return the class at a location in the package, "module:Class"."""
    module, name = location.split(":")
    return getattr(importlib.import_module(module), name)


def find_class(what: str, name: str, known: Mapping[str, str], needed: Iterable[str]) -> type:
    """Return the class that a name stands for.

    Args:
        what: the sort of class, for messages.
        name: a key of `known`; or `FILE.py:CLASS`, the path of a file and a class in it.
        known: classes of the package, as "module:Class", by name.
        needed: attributes that a class of a file must have.

    Raises:
        UserError: the name is unknown, or there is no such class in the file.
    """
    if name in known:
        return class_at(known[name])
    file, _, attribute = name.partition(":")
    if not (file.endswith(".py") and attribute):
        raise UserError(
            f"expected a {what}, one of {', '.join(known)} or FILE.py:CLASS; found '{name}'"
        )
    if not Path(file).is_file():
        raise UserError(f"{file}: no such file; expected one with the {what} {attribute}")
    found = getattr(_imported(file), attribute, None)
    if found is None or not all(hasattr(found, each) for each in needed):
        raise UserError(
            f"{file}: expected a class {attribute} with {', '.join(needed)}; found none"
        )
    return found


@functools.cache
def _imported(file: str) -> ModuleType:
    loader = SourceFileLoader(file, file)
    spec = spec_from_loader(file, loader)
    assert spec is not None
    module = sys.modules[file] = module_from_spec(spec)
    loader.exec_module(module)
    return module
