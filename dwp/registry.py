"""Classes that settings name: of the package, or of a file of the user's."""

import ast
import contextlib
import functools
import importlib
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from dwp.errors import UserError, not_allowed

NETWORKS: dict[str, str] = {
    "mnist": "dwp.nn.networks.mnist:MnistNet",
    "cifar": "dwp.nn.networks.cifar:CifarNet",
    "cifar-batchnorm": "dwp.nn.networks.cifar:CifarBatchNormNet",
    "shapes": "dwp.nn.networks.shapes:ShapesNet",
}
"""Networks by name, as "module:Class"; see `dwp.nn.networks`."""


def class_at(location: str) -> Any:
    """Return the class or function at a location in the package, "module:Class"."""
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
        raise UserError(f"{what}: {not_allowed(name, [*known, 'FILE.py:CLASS'])}")
    if not Path(file).is_file():
        raise UserError(f"{file}: no such file; expected one with the {what} {attribute}")
    with in_one_line(name, f"a file with the {what} {attribute}"):
        found = getattr(_imported(file), attribute, None)
    if found is None or not all(hasattr(found, each) for each in needed):
        raise UserError(
            f"{file}: expected a class {attribute} with {', '.join(needed)}; found none"
        )
    return found


def class_facts(what: str, name: str, known: Mapping[str, str], *attributes: str) -> dict[str, Any]:
    """Return attributes of the class that a name stands for.

    They are read from the source where they are literals there, so that a class that needs torch
    is not imported for its facts.

    Args:
        what: see `find_class`.
        name: see `find_class`; or "module:Class".
        known: see `find_class`.
        *attributes: names of class attributes.

    Raises:
        UserError: as `find_class`.
    """
    location = known.get(name, name)
    module, _, attribute = location.partition(":")
    path = Path(module)
    if packaged := path.suffix != ".py":
        path = Path(__file__).parents[1].joinpath(*module.split(".")).with_suffix(".py")
    found = _literals(path, attribute) if path.is_file() else {}
    if set(attributes) <= set(found):
        return {each: found[each] for each in attributes}
    own = find_class(what, name, {name: location} if packaged and found else known, attributes)
    return {each: getattr(own, each) for each in attributes}


@functools.cache
def _literals(path: Path, name: str) -> dict[str, Any]:
    """Return the attributes of a class that its source gives as literals."""
    found = {}
    with contextlib.suppress(SyntaxError):
        for node in ast.parse(path.read_bytes()).body:
            for each in node.body if isinstance(node, ast.ClassDef) and node.name == name else ():
                if isinstance(each, ast.Assign | ast.AnnAssign) and each.value:
                    target = each.target if isinstance(each, ast.AnnAssign) else each.targets[0]
                    with contextlib.suppress(ValueError, TypeError):
                        found[ast.unparse(target)] = ast.literal_eval(each.value)
    return found


@contextlib.contextmanager
def in_one_line(name: str, expected: str) -> Iterator[None]:
    """Raise what a file of the user's raises as a `UserError` with its line.

    Args:
        name: `FILE.py:CLASS`.
        expected: of the file, for the message.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        file = Path(name.partition(":")[0]).name
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename).name == file]
        lines += [error.lineno] if isinstance(error, SyntaxError) else []
        where = f" (line {lines[-1]})" if lines else ""
        found = f"{type(error).__name__}: {' '.join(str(error).split())}{where}"
        raise UserError(f"{name}: expected {expected}; found {found}") from None


@functools.cache
def _imported(file: str) -> ModuleType:
    module = sys.modules[file] = ModuleType(file)
    module.__file__ = file
    SourceFileLoader(file, file).exec_module(module)
    return module
