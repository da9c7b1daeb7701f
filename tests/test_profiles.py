"""The profiles: `snakemake --profile local` and `--profile slurm`, dry-run without a cluster."""

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
TRAINING = ("source_nets", "prior", "classifiers", "features", "convergence")
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
    assert len(jobs) > 25
    for name, asked in jobs.items():
        for job in asked:
            computes = name.partition("_demo_")[0] in (*TRAINING, "kernels", "prior_score")
            least = 20 if computes else 2
            assert least <= int(job["runtime"]) <= LONGEST, name
            assert int(job["mem_mb"]) in (4000, 8000), name


def test_the_longest_job_asks_for_no_more_than_the_config_allows(jobs):
    # a VAE of 300 epochs would ask for more
    assert max(int(job["runtime"]) for job in jobs["prior"]) == LONGEST


def test_a_net_asks_for_the_time_of_its_operations(jobs):
    image = 2 * (49 * 64 * 20**2 + 25 * 64 * 24 * 6**2 + 24 * 9 * 10)  # two a product
    seconds = 2 * 12 * 60_000 * 3 * image / 1e11  # two nets, 12 epochs, gradients
    asked = {int(job["runtime"]) for job in jobs["source_nets_demo_0"]}
    assert asked == {20 + math.ceil(seconds / 60)}


def test_training_and_only_training_asks_for_one_gpu(jobs):
    for name, asked in jobs.items():
        trains = name.partition("_demo_")[0] in TRAINING
        assert {job.get("gpu") for job in asked} == {"1" if trains else None}, name


def test_grouped_rules_exist_and_train_nothing(jobs):
    profile = yaml.safe_load((ROOT / "slurm" / "config.yaml").read_text())
    assert set(profile["groups"]) <= set(jobs)
    assert not {name.partition("_demo_")[0] for name in profile["groups"]} & set(TRAINING)


def test_the_local_profile_works_as_typed(tmp_path):
    assert "Job stats" in dry_run("local", tmp_path, "prior_study")
