"""The reference: made of what the docstrings say now, and they say what they should."""

import ast
import inspect
import re
import textwrap

import pandas as pd
import pytest
from helpers import ROOT, module_at

import dwp
from dwp.nn.bayesian import bayesianize

PUBLISHED = ROOT / "results" / "published"
build_api = module_at(ROOT / "docs" / "build_api.py")
PUBLIC = build_api.public_objects()


def test_the_reference_is_what_the_docstrings_give():
    assert (ROOT / "docs" / "api.md").read_text() == build_api.reference()


def test_the_reference_has_every_public_name():
    assert {f"dwp.{name}" for name in dwp.__all__ if name != "init"} <= set(PUBLIC)
    assert PUBLIC["dwp.bayesianize"] is bayesianize
    assert not [name for name in dwp.__all__ if getattr(dwp, name, None) is None]


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_a_public_name_is_documented(name):
    thing = PUBLIC[name]
    text = inspect.getdoc(thing)
    if not text:  # a method may be documented where it is first defined
        owner, _, method = name.rpartition(".")
        bases = PUBLIC[owner].__mro__[1:]
        assert any(inspect.getdoc(getattr(base, method, None)) for base in bases)
        return
    first = text.partition("\n\n")[0]
    assert first[0].isupper()
    assert first.endswith(".")
    node = ast.parse(textwrap.dedent(inspect.getsource(thing))).body[0]
    if isinstance(node, ast.FunctionDef):
        lines = ast.walk(node)
        raised = {ast.unparse(each.exc.func) for each in lines if _raises(each)}
        for error in raised - {"NotImplementedError"}:
            assert "Raises:" in text or f"Raise `{error}`" in text
        given = [a.arg for a in (*node.args.args, *node.args.kwonlyargs)]
        if "Args:" in text:
            known = set(re.findall(r"^ {4}\*{0,2}(\w+):", text, re.MULTILINE))
            assert set(given) - {"self", "cls"} <= known


def _raises(node):
    return isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)


def test_every_column_and_metric_of_a_table_is_explained():
    known = set(re.findall(r"`([^`]+)`", (ROOT / "docs" / "tables.md").read_text()))
    known |= {f"{start}{end}" for start in ("test", "train") for end in ("_accuracy", "_nll")}
    known |= {f"{term}_error" for term in ("elbo", "log_likelihood", "kl", "log_prob")}
    studies = "mnist", "mnist-factorial"  # which have tables of all kinds
    files = [file for study in studies for file in PUBLISHED.glob(f"{study}/*/tables/*.csv")]
    assert len(files) > 15
    unknown = {}
    for file in files:
        table = pd.read_csv(file)
        names = {*table.columns, *table.get("metric", ())}
        names = {re.sub("^(sample|mean)_(?=.)", "ensemble_", name) for name in names}
        names = {re.sub("^kl_conv.*", "kl_<layer>", name) for name in names}
        names = {re.sub("^(init|prior|nearest_[a-z]+)_.*", r"\1_…", name) for name in names}
        if names - known:
            unknown[file.name] = names - known
    assert unknown == {}
