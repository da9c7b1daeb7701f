"""A fingerprint follows the meaning of the code that is used, and nothing else."""

import re
import shutil
from textwrap import dedent

import pytest
from helpers import ROOT

from dwp.study import fingerprint as module

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
        word = 'word'

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


def depends(root, name, *entries):
    """Whether the fingerprint of the entries depends on the statements of a file."""
    path = root / name
    before, text = fingerprint(*entries, root=root), path.read_text()
    path.write_text(text + "\nchanged = 'here'\n")
    after = fingerprint(*entries, root=root)
    path.write_text(text)
    return before != after


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# a comment", "# another comment\n\n# and one more"),
        ("'''The module's docstring.'''\n", ""),
        ("'''A docstring.'''", "'''Says more.\n\n    And more.'''"),
        ("        '''Another.'''\n", ""),
        ("return x + 1", "return (\n            x  +  1  # a sum\n        )"),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(root, old, new):
    before = fingerprint("script.py", root=root)
    assert re.fullmatch("[0-9a-f]{16}", before)
    edit(root, "dwp/a.py", old, new)
    assert fingerprint("script.py", root=root) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return x + 1", "return x + 2"),
        ("return x + 1", "x += 0\n        return x + 1"),
        ("def method(self, x):", "def method(self, x=0):"),
        ("used = dwp.deep.inner.value", "used = 'dwp.deep.inner.value'"),
        ("word = 'word'", "word = 'ward'"),
    ],
)
def test_statements_count(root, old, new):
    before = fingerprint("script.py", root=root)
    edit(root, "dwp/a.py", old, new)
    assert fingerprint("script.py", root=root) != before


@pytest.mark.parametrize(
    ("statement", "files"),
    [
        ("import dwp.a", {"a", "deep/inner"}),  # and what is imported there
        ("def later():\n    import dwp.lazy", {"lazy"}),
        ("if 0:\n    import dwp.lazy", {"lazy"}),
        ("import numpy, dwp.lazy", {"lazy"}),
        ("from dwp import lazy", {"lazy"}),
        ("from dwp import ROOT", {"__init__"}),
        ("import dwp.cycle_a", {"cycle_a", "cycle_b"}),
        ("from dwp.exports import two as t", {"exports/two"}),
        ("from dwp.exports.two import other", {"exports/two"}),
        ("import dwp.exports.two as t", {"exports/two"}),
        ("from dwp.exports import name", {"exports/one"}),
        ("from dwp.exports import (name, two)", {"exports/one", "exports/two"}),
        ("from dwp.exports import *", {"exports/__init__", "exports/one"}),
        ("import dwp.exports", {"exports/__init__", "exports/one"}),
        ("from dwp.deep import inner", {"deep/inner"}),  # and not what the package exports
        ("from dwp.deep import value", {"unrelated"}),
        ("import json", set()),
        ("from dwperson import lazy", set()),
        ("# import dwp.lazy", set()),
    ],
)
def test_imports(root, statement, files):
    (root / "script.py").write_text(f"{statement}\n")
    found = {name for name in PACKAGE if depends(root, name, "script.py")}
    assert found == {"script.py", *(f"dwp/{file}.py" for file in files)}


def test_modules_and_classes_as_entries(root, monkeypatch):
    assert depends(root, "dwp/lazy.py", "dwp.lazy")
    assert not depends(root, "dwp/lazy.py", "dwp.a")
    assert depends(root, "dwp/exports/__init__.py", "dwp.exports")
    # modules that a registry names go with the script
    script = fingerprint("script.py", root=root)
    together = fingerprint("script.py", "dwp.unrelated", root=root)
    assert together == fingerprint("dwp.unrelated", "script.py", root=root) != script
    assert fingerprint("script.py", "dwp.a", root=root) == script
    named = {fingerprint("script.py", f"dwp.a:{name}", root=root) for name in ("Thing", "Other")}
    assert len(named | {script}) == 3
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
    for entry in ("absent.py", "dwp.absent", "dwp/absent.py"):
        with pytest.raises(FileNotFoundError, match="absent"):
            fingerprint("script.py", entry, root=root)


def test_registries_do_not_count(root):
    registry, more = 'KINDS: dict[str, str] = {"a": "dwp.a:Thing"', ', "b": "dwp.b:Other"'
    results = []
    for text in (f"{registry}}}\n", f"{registry}{more}}}\n", f"KINDS_OF = {registry[24:]}}}\n"):
        (root / "script.py").write_text(text)
        results.append(fingerprint("script.py", root=root))
    assert results[0] == results[1] != results[2]


def test_moved_code_counts_and_a_moved_checkout_does_not(root, tmp_path_factory):
    before = fingerprint("script.py", root=root)
    copy = shutil.copytree(root, tmp_path_factory.mktemp("elsewhere") / "copy")
    assert fingerprint("script.py", root=copy) == before
    (root / "dwp/lazy.py").rename(root / "dwp/late.py")
    edit(root, "script.py", "dwp.lazy", "dwp.late")
    assert fingerprint("script.py", root=root) != before


def test_source_nets_depend_on_their_training_and_not_on_what_comes_later(tmp_path):
    for name in ("dwp", "workflow/scripts"):
        shutil.copytree(ROOT / name, tmp_path / name)
    files = "training/source", "nn/networks/__init__", "files", "data/tensors"
    later = "priors/load", "priors/pretrained", "nn/bayesian", "plots/style", "data/__init__"
    script = "workflow/scripts/train_source.py"
    found = [name for name in files + later if depends(tmp_path, f"dwp/{name}.py", script)]
    assert found == [*files]
