"""The documentation: its code runs, its tables are of the published files, its site builds."""

import ast
import inspect
import os
import pkgutil
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pandas as pd
import pytest
import yaml
from helpers import ROOT, module_at

import dwp
from dwp.cli import commands as commands_of_dwp
from dwp.study.settings import load_settings, read_config

PUBLISHED = ROOT / "results" / "published"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "config" / "README.md"]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"`((?:snakemake|make|python -m dwp) [^`\n]+)`")
OF_THE_MACHINE = {".", "export", "find", "squeue", "python3"}
"""Commands that the shell or a cluster has."""


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return the language and the text of each block of code."""
    found = BLOCK.findall(page.read_text())
    return [(language, textwrap.dedent(text)) for _, language, text in found]


def commands(page: Path) -> list[str]:
    """Return the command lines of a page, those in the text included."""
    text = "\n".join(text for language, text in blocks(page) if language == "bash")
    lines = [line for line in text.splitlines() if line.strip() and line.strip()[0] != "#"]
    return lines + COMMAND.findall(BLOCK.sub("", page.read_text()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    names: dict[str, object] = {}
    for language, text in blocks(page):
        assert language in ("python", "bash", "yaml", "text")
        if language == "python":
            short = re.sub(r"^steps = \d+$", "steps = 2", text, flags=re.M)
            exec(compile(short, page, "exec"), names)
        elif language == "yaml":
            assert isinstance(yaml.safe_load(text), dict)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A folder like a clone's, in which a dry run writes nothing into this one."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("Snakefile", "config", "dwp", "local", "profiles", "results", "slurm", "workflow"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "mine.yaml").write_text("device: cpu\n")
    (folder / "partitions.yaml").write_text("partitions: {cpu: {max_runtime: 2880}}\n")
    return folder


def checked(words: list[str]) -> tuple[str, ...]:
    """Check a command that needs no dry run; return what is left of one that does."""
    if words[0] == "make":
        done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    elif words[0] == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        for word in words[2:]:
            named = re.fullmatch(r"\.\[(.*)\]", word)
            assert {*(named[1].split(",") if named else [])} <= {*extras["optional-dependencies"]}
    elif words[:3] == ["python", "-m", "dwp"]:
        command = commands_of_dwp.commands[words[3]]
        command.make_context(words[3], words[4:])  # raises at what it does not take
        assert all((ROOT / word).exists() for word in words if word.startswith("config/"))
    elif words[0] == "python":
        assert (ROOT / words[1]).is_file(), words
    elif words[0] != "snakemake":
        assert words[0] in OF_THE_MACHINE, words
    elif words[1] == "--profile" and len(words) == 3:  # test_profiles.py runs them dry
        assert (ROOT / words[2] / "config.yaml").is_file()
    elif "--configfile" in words:
        config = ROOT / words[words.index("--configfile") + 1]
        if config.exists():
            load_settings(read_config(config), config)
        rest = [word for word in words[1:] if word not in ("--cores", "N", "2", "--configfile")]
        return () if rest == [str(config.relative_to(ROOT))] else tuple(words)
    else:
        return tuple(words)
    return ()


def test_the_commands_of_the_pages_are_accepted(checkout):
    """Those that only name a config are not run dry: its settings are checked."""
    every = {c.split(" | ")[0].split(" && ")[0] for page in PAGES for c in commands(page)}
    for command in sorted({tuple(shlex.split(line, comments=True)) for line in every}):
        words = checked([*command])
        if not words or {"--unlock", "--list-rules", "--lint"} & {*words}:
            continue
        words = [{"N": "2", "NAME": "local"}.get(w, w).replace("TARGET", "all") for w in words]
        done = subprocess.run(
            [sys.executable, "-m", *words, "--dry-run", "--quiet", "all"],
            cwd=checkout,
            env={**os.environ, "DWP_RELEASE": os.environ.get("DWP_RELEASE", str(checkout))},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def test_the_tables_of_the_pages_are_those_of_the_published_files():
    build = module_at(ROOT / "docs" / "build_results.py")
    assert {*(ROOT / "docs" / "results").glob("*.md")} == {*build.pages()}
    table = build.cells(
        "mnist-paper/mnist", rows="prior", columns="metric", n=50, metric="accuracy", prior="dwp"
    )
    assert table.splitlines()[2] == "| DWP | 0.692\u00a0±\u00a00.023 |"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built strictly."""
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_site_needs_no_network(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 25
    loads = re.compile(
        r"<(?:script|img|iframe)[^>]* src=\"?(http[^\" >]*)|<link[^>]*\"(http[^\"]*)"
    )
    for page in pages:
        assert loads.findall(page.read_text()) == [], page
    for style in site.rglob("*.css"):
        assert "url(http" not in style.read_text()
    assert "iframe-worker.js" in (site / "index.html").read_text()


REFERENCE = "".join(page.read_text() for page in (ROOT / "docs" / "api").glob("*.md"))
PUBLIC = re.findall(r"^::: ([\w.]+)$", REFERENCE, re.MULTILINE)


def test_the_reference_has_every_public_name():
    assert {f"dwp.{name}" for name in dwp.__all__ if name != "init"} <= {*PUBLIC}


@pytest.mark.parametrize("name", PUBLIC)
def test_what_a_public_name_raises_is_documented(name):
    thing = pkgutil.resolve_name(name)
    if not inspect.isfunction(thing) and not inspect.isclass(thing):
        return
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(thing)))):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            text = ast.get_docstring(node) or ""
            raises = [each.exc for each in ast.walk(node) if isinstance(each, ast.Raise)]
            raised = {ast.unparse(each.func) for each in raises if isinstance(each, ast.Call)}
            for error in raised - {"NotImplementedError"}:
                assert "Raises:" in text or f"Raise `{error}`" in text, node.name


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
