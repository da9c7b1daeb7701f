"""A fingerprint follows the meaning of the code that is used, and nothing else."""

import re
import shutil
from pathlib import Path

import pytest

from dwp.study import fingerprint as module

ROOT = Path(__file__).parents[1]

PACKAGE = {
    "script.py": """
        import json
        from dwp.a import used

        def main():
            from dwp.lazy import late
            return used, late
    """,
    "dwp/__init__.py": "ROOT = 1",
    "dwp/a.py": """
        # a comment
        '''The module's docstring.'''
        import dwp.deep.inner
        used = dwp.deep.inner.value + 1

        class Thing:
            '''A docstring.'''

            def method(self, x):
                '''Another.'''
                return x + 1
    """,
    "dwp/lazy.py": "late = 1",
    "dwp/unrelated.py": "value = 1",
    "dwp/deep/__init__.py": "from dwp.unrelated import value",
    "dwp/deep/inner.py": "value = 1",
    "dwp/exports/__init__.py": "from dwp.exports.one import name",
    "dwp/exports/one.py": "name = 1",
    "dwp/exports/two.py": "other = 2",
    "dwp/cycle_a.py": "import dwp.cycle_b\nvalue = 1",
    "dwp/cycle_b.py": "from dwp.cycle_a import value",
}


def dedent(text):
    lines = text.strip("\n").rstrip().splitlines()
    margin = len(lines[0]) - len(lines[0].lstrip())
    return "\n".join(line[margin:] for line in lines) + "\n"


@pytest.fixture
def root(tmp_path):
    for name, text in PACKAGE.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
    return tmp_path


def fingerprint(*entries, root):
    """The fingerprint as a new process would see it: files change here as they do not there."""
    for cached in (module._parsed, module._imported, module._file):
        cached.cache_clear()
    return module.fingerprint(*entries, root=root)


def edit(root, name, old, new):
    path = root / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def write_script(root, text):
    (root / "script.py").write_text(text)


def depends(root, name, *entries):
    """Whether the fingerprint of the entries depends on the statements of a file."""
    path = root / name
    before, text = fingerprint(*entries, root=root), path.read_text()
    path.write_text(text + "\nchanged = 'here'\n")
    after = fingerprint(*entries, root=root)
    path.write_text(text)
    assert fingerprint(*entries, root=root) == before
    return before != after


def test_form(root):
    found = fingerprint("script.py", root=root)
    assert re.fullmatch("[0-9a-f]{16}", found)
    assert fingerprint("script.py", root=root) == found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# a comment", "# another comment\n\n# and one more"),
        ("The module's docstring.", "Other words."),
        ("'''The module's docstring.'''\n", ""),
        ("'''A docstring.'''", "'''Says more.\n\n    And more.'''"),
        ("        '''Another.'''\n", ""),
        ("return x + 1", "return (\n            x  +  1  # a sum\n        )"),
        ("import dwp.deep.inner\n", "import dwp.deep.inner\n\n\n\n"),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(root, old, new):
    before = fingerprint("script.py", root=root)
    edit(root, "dwp/a.py", old, new)
    assert fingerprint("script.py", root=root) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return x + 1", "return x + 2"),
        ("return x + 1", "return x - 1"),
        ("return x + 1", "return 1 + x"),
        ("return x + 1", "x += 0\n        return x + 1"),
        ("class Thing:", "class Other:"),
        ("def method(self, x):", "def method(self, x=0):"),
        ("used = dwp.deep.inner.value", "used = 'dwp.deep.inner.value'"),
    ],
)
def test_statements_count(root, old, new):
    before = fingerprint("script.py", root=root)
    edit(root, "dwp/a.py", old, new)
    assert fingerprint("script.py", root=root) != before


def test_strings_that_are_no_docstrings_count(root):
    edit(root, "dwp/a.py", "return x + 1", "return 'word'")
    before = fingerprint("script.py", root=root)
    edit(root, "dwp/a.py", "return 'word'", "return 'ward'")
    assert fingerprint("script.py", root=root) != before


def test_what_is_followed(root):
    assert depends(root, "script.py", "script.py")
    assert depends(root, "dwp/a.py", "script.py")
    assert depends(root, "dwp/lazy.py", "script.py")  # imported within a function
    assert depends(root, "dwp/deep/inner.py", "script.py")  # imported by what is imported
    for unused in ("dwp/unrelated.py", "dwp/exports/one.py", "dwp/cycle_a.py"):
        assert not depends(root, unused, "script.py")
    # The packages on the way re-export and do nothing else.
    assert not depends(root, "dwp/__init__.py", "script.py")
    assert not depends(root, "dwp/deep/__init__.py", "script.py")


@pytest.mark.parametrize(
    ("statement", "files"),
    [
        ("from dwp.exports import two", {"dwp/exports/two.py"}),
        ("from dwp.exports import two as t", {"dwp/exports/two.py"}),
        ("from dwp.exports.two import other", {"dwp/exports/two.py"}),
        ("import dwp.exports.two as t", {"dwp/exports/two.py"}),
        ("from dwp.exports import name", {"dwp/exports/one.py"}),
        ("from dwp.exports import *", {"dwp/exports/__init__.py", "dwp/exports/one.py"}),
        ("import dwp.exports", {"dwp/exports/__init__.py", "dwp/exports/one.py"}),
        ("from dwp.exports import (name, two)", {"dwp/exports/one.py", "dwp/exports/two.py"}),
        ("from dwp import lazy", {"dwp/lazy.py"}),
        ("from dwp import ROOT", {"dwp/__init__.py"}),
        ("import numpy, dwp.lazy", {"dwp/lazy.py"}),
        ("if 0:\n    import dwp.lazy", {"dwp/lazy.py"}),
        ("import json", set()),
        ("from dwperson import lazy", set()),
        ("# import dwp.lazy", set()),
    ],
)
def test_imports(root, statement, files):
    write_script(root, f"{statement}\n")
    found = {name for name in PACKAGE if name != "script.py" and depends(root, name, "script.py")}
    assert found == files


def test_imports_of_packages_that_export(root):
    # A name that is a module in the package does not pull in the package's own code.
    write_script(root, "from dwp.deep import inner\n")
    assert not depends(root, "dwp/unrelated.py", "script.py")
    write_script(root, "from dwp.deep import value\n")
    assert depends(root, "dwp/unrelated.py", "script.py")


def test_cycles_terminate(root):
    write_script(root, "import dwp.cycle_a\n")
    assert depends(root, "dwp/cycle_a.py", "script.py")
    assert depends(root, "dwp/cycle_b.py", "script.py")


def test_modules_as_entries(root):
    assert depends(root, "dwp/lazy.py", "dwp.lazy")
    assert depends(root, "dwp/deep/inner.py", "dwp.a")
    assert not depends(root, "dwp/lazy.py", "dwp.a")
    assert depends(root, "dwp/exports/__init__.py", "dwp.exports")
    # Modules that a registry names are passed beside the script.
    assert depends(root, "dwp/unrelated.py", "script.py", "dwp.unrelated")
    together = fingerprint("script.py", "dwp.unrelated", root=root)
    assert together == fingerprint("dwp.unrelated", "script.py", root=root)
    assert together != fingerprint("script.py", root=root)
    assert fingerprint("script.py", "dwp.a", root=root) == fingerprint("script.py", root=root)


def test_classes_as_entries(root, monkeypatch):
    assert depends(root, "dwp/deep/inner.py", "script.py", "dwp.a:Thing")
    named = {fingerprint("script.py", f"dwp.a:{name}", root=root) for name in ("Thing", "Other")}
    assert len(named) == 2
    # a file of the user's, relative to the working folder
    folder = root / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "own.py").write_text("import dwp.lazy\nclass Own: size = 1\n")
    entries = "script.py", "own.py:Own"
    assert depends(root, "elsewhere/own.py", *entries)
    assert depends(root, "dwp/lazy.py", "dwp.a", "own.py:Own")
    before = fingerprint(*entries, root=root)
    (folder / "own.py").write_text("import dwp.lazy  # why\nclass Own: size = 1\n")
    assert fingerprint(*entries, root=root) == before


def test_registries_do_not_count(root):
    registry, more = 'KINDS: dict[str, str] = {"a": "dwp.a:Thing"', ', "b": "dwp.b:Other"'
    results = []
    for text in (f"{registry}}}\n", f"{registry}{more}}}\n", f"KINDS_OF = {registry[24:]}}}\n"):
        write_script(root, text)
        results.append(fingerprint("script.py", root=root))
    assert results[0] == results[1] != results[2]


def test_place_of_the_checkout_does_not_count(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.copytree(root, elsewhere)
    assert fingerprint("script.py", root=elsewhere) == fingerprint("script.py", root=root)


def test_moved_code_counts(root):
    before = fingerprint("script.py", root=root)
    (root / "dwp/lazy.py").rename(root / "dwp/late.py")
    edit(root, "script.py", "dwp.lazy", "dwp.late")
    assert fingerprint("script.py", root=root) != before


@pytest.mark.parametrize("entry", ["absent.py", "dwp.absent", "dwp/absent.py"])
def test_missing_entries_raise(root, entry):
    with pytest.raises(FileNotFoundError, match="absent"):
        fingerprint("script.py", entry, root=root)


# The repository itself


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repository")
    for name in ("dwp", "workflow/scripts"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.so")
        )
    return folder


SOURCE = "workflow/scripts/train_source.py"


@pytest.mark.parametrize(
    "module",
    [
        *("dwp/training/source.py", "dwp/training/loop.py"),
        "dwp/nn/networks/__init__.py",
        *("dwp/files.py", "dwp/seeds.py", "dwp/data/tensors.py"),
    ],
)
def test_source_nets_depend_on_their_training(copy, module):
    assert depends(copy, module, SOURCE)


@pytest.mark.parametrize(
    "module",
    [
        *("dwp/priors/vae.py", "dwp/priors/__init__.py", "dwp/nn/bayesian.py"),
        *("dwp/plots/style.py", "dwp/data/files.py", "dwp/data/__init__.py"),
    ],
)
def test_source_nets_do_not_depend_on_what_comes_later(copy, module):
    assert not depends(copy, module, SOURCE)


def test_copy_has_the_fingerprint_of_the_repository(copy):
    scripts = sorted(path.name for path in (ROOT / "workflow" / "scripts").glob("*.py"))
    assert "train_source.py" in scripts
    for script in scripts:
        entry = f"workflow/scripts/{script}"
        assert fingerprint(entry, root=copy) == fingerprint(entry, root=ROOT)
