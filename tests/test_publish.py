"""Copying a finished study's tables and figures to where they are published."""

import gzip
import subprocess
import sys

import pytest
from helpers import ROOT, script

CONFIG = (ROOT / "config" / "demo.yaml").read_text()
# A rule for every file of the config, by the log of the job that makes it; the last one fails.
SNAKEFILE = """
RULES = {
    "source/0": ("tables/summary.csv", "echo a"),
    "source/1": ("tables/large.csv", "head -c 1000000 /dev/zero"),
    "source/3": ("tables/larger.csv", "head -c 3000000 /dev/urandom"),
    "source/4": ("figures/large.png", "head -c 1000000 /dev/zero"),
    "kernels/0": ("kernels/conv1.json", "echo counts"),
    "priors/0": ("priors/dwp/conv1.csv", "echo steps"),
    "classification/a/b/0": ("figures/curve.png", "echo drawn"),
    "tables/0": ("tables/never.csv", "false"),
}

rule all:
    input: [f"results/tiny/mnist/{file}" for file, _ in RULES.values()]

for log, (file, command) in RULES.items():
    rule:
        output: f"results/tiny/mnist/{file}"
        log: f"logs/tiny/mnist/{log}.log"
        params: command=command
        shell: "{params.command} > {output} 2> {log}"
"""
FILES = {
    "config.yaml": CONFIG.replace("name: demo", "name: tiny"),
    "Snakefile": SNAKEFILE,
    "results/tiny/mnist/figures/dropped.png": "of an earlier config",
    "results/published/tiny/old.csv": "of an earlier study",
    "logs/tiny/mnist/source/0.tsv": "s\th:m:s\n90\t0:01:30\n",
    "logs/tiny/mnist/source/1.tsv": "s\th:m:s\n30\t0:00:30\n",
    "logs/tiny/mnist/source/2.tsv": "s\th:m:s\n500\t0:08:20\n",  # of no file
    "logs/tiny/mnist/classification/a/b/0.tsv": "s\th:m:s\n60\t0:01:00\n",
}


def test_small_tables_and_figures_with_how_they_were_made(tmp_path, monkeypatch):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    git = "git -c user.name=a -c user.email=a@b"
    snakemake = f"{sys.executable} -m snakemake --cores 1 --keep-going all"
    for command in (f"{git} init -q", f"{git} commit -qm x --allow-empty", snakemake):
        subprocess.run(command.split(), cwd=tmp_path, capture_output=True)
    monkeypatch.chdir(tmp_path)
    script("publish").main(["config.yaml"])
    root = tmp_path / "results" / "published" / "tiny"
    files = {str(file.relative_to(root)): file for file in root.rglob("*") if file.is_file()}
    assert files.keys() == {
        *("mnist/tables/summary.csv", "mnist/tables/large.csv.gz", "mnist/figures/curve.png"),
        *("mnist/kernels/conv1.json", "config.yaml", "README.md"),
    }
    assert files["mnist/tables/summary.csv"].read_text() == "a\n"
    assert gzip.decompress(files["mnist/tables/large.csv.gz"].read_bytes()) == bytes(1_000_000)
    text = files["README.md"].read_text()
    for part in ("--configfile config.yaml", "torch ", "| source | 2.0 |", "| all | 3.0 |"):
        assert part in text


def test_a_study_without_results_is_refused(tmp_path, monkeypatch, capsys):
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "Snakefile").write_text("rule all:\n    input: []\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        script("publish").main(["config.yaml"])
    line = "error: results/demo: expected tables and figures, found none that"
    assert capsys.readouterr().err.startswith(line)
