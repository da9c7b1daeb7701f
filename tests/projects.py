"""Copies of the repository with a config that runs in minutes, to run and to edit."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from unittest import mock

import yaml
from helpers import ROOT, snakemake, tiny_config

from dwp.study.cost import due_jobs

RESULTS = "results/tiny/demo"
TINY_PRIORS = {
    "dwp": None,
    "standard-normal": {"kind": "standard-normal"},
    "deterministic-dwp": {"kind": "deterministic", "l2": 0.001, "penalty": "dwp"},
}


def tiny() -> dict:
    """Return the demo's config, cut down to seconds."""
    return tiny_config(TINY_PRIORS, runs_per_job=3, epochs=2, evaluate_every=2)


class Project:
    """A copy of the repository with a tiny config, to run and to edit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ignored = shutil.ignore_patterns("__pycache__")
        for name in ("dwp", "profiles", "workflow"):
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        shutil.copy(ROOT / "Snakefile", folder)
        (folder / "config").mkdir()
        self.config = tiny()
        self.write_config()

    def copy(self, folder: Path, *options: str) -> "Project":
        """Return a copy with all results."""
        subprocess.run(["cp", *(options or ["-a"]), self.folder, folder], check=True)
        project = Project.__new__(Project)
        project.folder, project.config = folder, tiny()
        return project

    def write_config(self) -> None:
        (self.folder / "config" / "tiny.yaml").write_text(yaml.safe_dump(self.config))

    @property
    def demo(self) -> dict:
        """The settings of the domain."""
        return self.config["domains"]["demo"]

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen:
        """Start Snakemake, with further variables."""
        config = "--configfile", "config/tiny.yaml"
        return snakemake(*config, *arguments, cwd=self.folder, **environment)

    def snakemake(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Run Snakemake; return its exit status and all that it printed."""
        process = self.start(*arguments, **environment)
        output = process.communicate(timeout=1800)[0]
        return process.returncode, output

    def made(self, *arguments: str) -> None:
        """Run Snakemake, which must succeed."""
        status, output = self.snakemake("--cores", "2", *arguments)
        assert status == 0, output

    def due(self) -> Counter[str]:
        """Return the rules that would run, and how often."""
        modules = [module for name, module in sys.modules.items() if name.startswith("dwp.")]
        for value in (value for module in modules for value in vars(module).values()):
            if hasattr(value, "cache_clear"):
                value.cache_clear()  # as in a process of its own
        with contextlib.chdir(self.folder), mock.patch.dict(os.environ):
            return Counter(job.rule for job in due_jobs("config/tiny.yaml")[0])

    def edit(self, path: str, old: str, new: str) -> None:
        file = self.folder / path
        text = file.read_text()
        assert old in text, f"{path} no longer holds {old!r}"
        file.write_text(text.replace(old, new, 1))
