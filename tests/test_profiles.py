"""The profiles: `snakemake --profile local` and `--profile slurm`, dry-run without a cluster."""

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dwp.study.cost import RATE, START

ROOT = Path(__file__).parent.parent
TRAINING = ("source_nets", "prior", "classifiers", "features", "convergence_nets", "shift")
COMPUTING = (*TRAINING, "prior_score", "kernels")
LONGEST = 40  # minutes, in these tests


def dry_run(profile: str, folder: Path, *arguments: str) -> str:
    """Return what a dry run of the demo prints, as if typed in the repository's root."""
    command = [sys.executable, "-m", "snakemake", "--profile", profile, "--dry-run", "--nocolor"]
    command += ["--configfile", "config/demo.yaml", "--directory", str(folder), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def jobs(tmp_path_factory) -> dict[str, list[dict[str, str]]]:
    """What the jobs of each rule ask of a cluster with GPUs."""
    settings = ["--config", "device=auto", f"longest_job_minutes={LONGEST}"]
    output = dry_run("slurm", tmp_path_factory.mktemp("work"), *settings)
    found: dict[str, list[dict[str, str]]] = {}
    for name, block in re.findall(r"^ *rule ([\w-]+):\n((?: +\w+: .*\n)+)", output, re.MULTILINE):
        resources = re.search(r"^ +resources: (.*)$", block, re.MULTILINE)[1]
        found.setdefault(name, []).append(dict(part.split("=") for part in resources.split(", ")))
    del found["all"]
    return found


def test_every_job_asks_for_time_and_memory(jobs):
    assert len(jobs) > 20
    for name, asked in jobs.items():
        for job in asked:
            least = 20 if name in COMPUTING else 2
            assert least <= int(job["runtime"]) <= LONGEST, name
            assert int(job["mem_mb"]) in (4000, 8000), name


def test_jobs_ask_for_twice_their_time_up_to_the_longest(jobs):
    """Their operations, at the default rate: no earlier job lies in the folder."""
    for name in ("source_nets", "prior", "classifiers"):
        for job in jobs[name]:
            expected = math.ceil(2 * (START + int(job["operations"]) / RATE) / 60)
            assert int(job["runtime"]) == min(max(20, expected), LONGEST)
    assert len({job["operations"] for job in jobs["prior"]}) > 3


def test_training_and_only_training_asks_for_one_gpu(jobs):
    for name, asked in jobs.items():
        assert {job.get("gpu") for job in asked} == {"1" if name in TRAINING else None}, name


def test_grouped_rules_exist_and_train_nothing(jobs):
    profile = yaml.safe_load((ROOT / "slurm" / "config.yaml").read_text())
    assert set(profile["groups"]) <= set(jobs)
    assert not set(profile["groups"]) & set(COMPUTING)


def test_the_local_profile_works_as_typed(tmp_path):
    assert "Job stats" in dry_run("local", tmp_path, "prior_study")
