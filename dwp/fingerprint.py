"""The meaning of code as a hash: what decides whether a stage of the workflow runs again."""

import ast
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
            tree = ast.parse(path.read_bytes())
            todo += _imported_files(tree, root)
            trees[path] = ast.dump(_without_docstrings(tree))
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


def _imported_files(tree: ast.Module, root: Path) -> list[Path]:
    modules = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                modules.append(module if _file(module, root) else node.module)
    files = [_file(m, root) for m in modules if m.split(".")[0] == PACKAGE]
    return [file for file in files if file is not None]


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
