"""The meaning of code as a hash: what decides whether a stage of the workflow runs again."""

import ast
import functools
import hashlib
from pathlib import Path

PACKAGE = "dwp"


def fingerprint(*entries: str, root: Path) -> str:
    """Return a hash of the code that the entries use inside `dwp`.

    The hash covers the syntax trees, without comments and docstrings, of the entries and of every
    module of `dwp` that they import, directly or not. Touching or reformatting a file leaves it;
    changing a statement changes it. The `__init__` of a package counts only where a name is
    imported from the package itself: it re-exports and does nothing else. Modules that a registry
    names by a string are not followed: pass them as entries.

    Args:
        *entries: scripts (paths relative to `root`, ending in `.py`) or modules (`dwp.x.y`).
        root: the folder that holds the package `dwp`.

    Returns:
        16 hexadecimal digits.

    Raises:
        FileNotFoundError: an entry does not exist.
    """
    todo = [root / entry if entry.endswith(".py") else _file(entry, root) for entry in entries]
    if None in todo:
        raise FileNotFoundError(f"no module {entries[todo.index(None)]} below {root}")
    trees: dict[Path, str] = {}
    while todo:
        path = todo.pop()
        if path not in trees:
            names, trees[path] = _parsed(path.read_bytes())
            # a name is a module, or stands in one
            files = (
                _file(f"{module}.{name}", root) or _file(module, root) for module, name in names
            )
            todo += [file for file in files if file is not None]
    digest = hashlib.sha256()
    for path in sorted(trees):
        digest.update(f"{path.relative_to(root).as_posix()}\n{trees[path]}\n".encode())
    return digest.hexdigest()[:16]


def _file(module: str, root: Path) -> Path | None:
    base = root.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


@functools.cache
def _parsed(code: bytes) -> tuple[list[tuple[str, str]], str]:
    """Return what code imports of `dwp`, as (module, name), and its tree without docstrings."""
    tree = ast.parse(code)
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name.rpartition(".")[::2] for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [(node.module, alias.name) for alias in node.names]
    names = [(module, name) for module, name in names if (module or name).split(".")[0] == PACKAGE]
    return names, ast.dump(_without_docstrings(tree))


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            node.body = [
                statement
                for statement in node.body
                if not (
                    isinstance(statement, ast.Expr)
                    and isinstance(statement.value, ast.Constant)
                    and isinstance(statement.value.value, str)
                )
            ]
    return tree
