"""The meaning of code as a hash: what decides whether a stage of the workflow runs again."""

import ast
import functools
import hashlib
from pathlib import Path

PACKAGE = "dwp"
REGISTRIES = {"DATASETS", "KINDS", "NETWORKS"}
"""Tables of names: a new line in one does not change the meaning of the others."""

IGNORED = {"dwp.study.settings", "dwp.study.program"}
"""Modules that only carry values: a stage compares the values of its settings themselves."""


def fingerprint(*entries: str, root: Path) -> str:
    """Return a hash of the code that the entries use inside `dwp`.

    The hash covers the syntax trees, without comments and docstrings, of the entries and of every
    module of `dwp` that they import, directly or not. Touching or reformatting a file leaves it;
    changing a statement changes it. A name that a package only re-exports leads to the module it
    is from. `REGISTRIES` and the modules of `IGNORED` do not count: pass the classes that
    registries name as entries.

    Args:
        *entries: scripts (paths relative to `root`, ending in `.py`), modules (`dwp.x.y`) or
            classes: of a module (`dwp.x.y:Class`), or of a file of the user's (`FILE.py:CLASS`,
            relative to the working folder).
        root: the folder that holds the package `dwp`.

    Returns:
        16 hexadecimal digits.

    Raises:
        FileNotFoundError: an entry does not exist.
    """
    todo, files = [], set()
    for entry in entries:
        location, _, name = entry.partition(":")
        if not location.endswith(".py"):
            path = _file(location, root)
        else:
            path = Path(location) if name else root / location
        if path is None:
            raise FileNotFoundError(f"no module {entry} below {root}")
        todo.append(path)
    while todo:
        path = todo.pop()
        if path not in files:
            files.add(path)
            todo += _imported(path, root)
    digest = hashlib.sha256()
    for path in sorted(files):
        name = path.relative_to(root) if path.is_relative_to(root) else path
        digest.update(f"{name.as_posix()} {_parsed(path)[1]}\n".encode())
    for entry in sorted(entry for entry in entries if ":" in entry):
        digest.update(f"{entry}\n".encode())
    return digest.hexdigest()[:16]


@functools.cache
def _imported(path: Path, root: Path) -> set[Path]:
    """Return the files of `dwp` that a file imports from."""
    return {file for each in _parsed(path)[0] if (file := _source(*each, root)) is not None}


def _source(module: str, name: str, root: Path) -> Path | None:
    """Return the file that an imported name is from; None if it does not count."""
    if {module, f"{module}.{name}"} & IGNORED:
        return None
    own = _file(f"{module}.{name}", root)
    if own is not None:
        return own
    path = _file(module, root)
    if path is not None and path.name == "__init__.py":
        for other, exported in _parsed(path)[0]:
            if exported == name and other != module:
                return _source(other, name, root)
    return path


@functools.cache
def _file(module: str, root: Path) -> Path | None:
    base = root.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


@functools.cache
def _parsed(path: Path) -> tuple[list[tuple[str, str]], str]:
    """Return what a file imports of `dwp`, as (module, name), and a digest of its tree."""
    tree, names = ast.parse(path.read_bytes()), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name.rpartition(".")[::2] for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [(node.module, alias.name) for alias in node.names]
        elif isinstance(body := getattr(node, "body", None), list):
            node.body = [each for each in body if not (_is_text(each) or _is_registry(each))]
    names = [(module, name) for module, name in names if (module or name).split(".")[0] == PACKAGE]
    return names, hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_text(statement: ast.stmt) -> bool:
    text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return text and isinstance(statement.value.value, str)


def _is_registry(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.AnnAssign) and ast.unparse(statement.target) in REGISTRIES
