"""The workflow through a real Slurm on this machine, one job cancelled and one hanging on the way.

`DWP_SLURM_UP` is a program that starts a node (`--install --dir DIR --cpus N --gpus N`), with its
`slurm-down.sh` beside it. One run of a small config serves all tests, because its waits overlap.
"""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import yaml
from helpers import snakemake, tiny_config, wait_for
from test_profiles import TRAINING

UP = os.environ.get("DWP_SLURM_UP")
pytestmark = pytest.mark.skipif(not UP, reason="DWP_SLURM_UP names no program that starts Slurm")

RESULTS = Path("results/tiny/demo")
CELL = "classification/{}/dwp/base/n10"
FIGURES = [RESULTS / "figures" / f"{name}_conv1.pdf" for name in ("norms", "latent_dwp")]


def run(*command: str | os.PathLike, seconds: float = 60) -> str:
    """Run a command to its end; return what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def start(folder: Path, *arguments: str) -> subprocess.Popen:
    """Start Snakemake in the repository's root, results and a log going to a folder.

    The config is the demo's, reduced to seconds, for GPUs if there are some.
    """
    priors = dict.fromkeys(("dwp", "deterministic-l2"))
    config = tiny_config(priors, runs_per_job=2, epochs=500, evaluate_every=500) | {
        "device": "auto"
    }
    config["domains"]["demo"]["source_nets"]["epochs"] = 20
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config))
    own = "--directory", folder, "--configfile", folder / "tiny.yaml"
    # as where nothing can be written to the user's home
    home = {"HOME": "/proc/none", "XDG_CACHE_HOME": str(folder / "cache")}
    with open(folder / "snakemake.txt", "w") as log:
        return snakemake(*own, *arguments, stdout=log, **home)


def finish(process: subprocess.Popen, folder: Path, seconds: float) -> None:
    status = process.wait(timeout=seconds)
    assert status == 0, (folder / "snakemake.txt").read_text()


def training(folder: Path, prior: str) -> psutil.Process:
    """Return the program that trains classifiers under a prior."""
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = process.info["cmdline"] or [""]
        here = process.info["cwd"] == str(folder) and "python" in Path(words[0]).name
        if here and "train_classifiers.py" in " ".join(words) and f"/{prior}/" in " ".join(words):
            return process
    raise AssertionError(f"nothing trains classifiers under {prior}")


def parse_job(line: str) -> SimpleNamespace:
    """Return what Slurm says of a job that has ended: of its rule or group, and its wildcards."""
    said = dict(re.findall(r"(\S+?)=(\S*)", line))
    hours, minutes = re.fullmatch(r"(\d\d):(\d\d):00", said["TimeLimit"]).groups()
    memory = said["MinMemoryNode"]
    return SimpleNamespace(
        name=said["Comment"].removeprefix("rule_"),
        state=said["JobState"],
        minutes=60 * int(hours) + int(minutes),
        memory=round(float(memory[:-1]) * {"M": 1, "G": 1024}[memory[-1]]),  # MiB
        gpus=int(said.get("TresPerJob", "0").removeprefix("gres:gpu:")),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("local")


@pytest.fixture(scope="module")
def jobs(folder, local) -> Iterator[list[SimpleNamespace]]:
    """The jobs, as submitted, of a run that came to its end with its results in `folder`.

    The job of the source nets was cancelled while it trained the second; that of the nets under the
    DWP was halted while it trained the second, so that it hung until its time was up. Meanwhile
    some of the results were made without Slurm, in `local`.
    """
    targets = ["classification", f"{RESULTS}/tables/priors.csv", *map(str, FIGURES)]
    lab = Path(tempfile.mkdtemp(prefix="dwp-slurm-"))  # the daemons refuse pytest's private ones
    process = None
    try:
        up = [UP, "--install", "--dir", lab, "--cpus", "2", "--gpus", "2"]
        started = subprocess.run(up, capture_output=True, text=True, timeout=300)
        if started.returncode:  # not root, or nowhere to install Slurm from
            pytest.skip(f"no Slurm: {(started.stderr or started.stdout).strip().splitlines()[-1]}")
        process = start(
            folder,
            *("--profile", "slurm", "--slurm-init-seconds-before-status-checks", "2"),
            *("--set-resources", "classifiers:runtime=3 * attempt - 2"),
            *("--", *targets),
        )
        wait_for((folder / RESULTS / "source/.runs/seed0.safetensors").exists, process)
        run("scancel", *run("squeue", "--noheader", "--states=running", "--format=%i").split())
        kept = folder / RESULTS / CELL.format("dwp") / ".runs/split0-seed0.safetensors"
        wait_for(kept.exists, process)
        training(folder, "dwp").send_signal(signal.SIGSTOP)
        shutil.copytree(folder / RESULTS / "data", local / RESULTS / "data")
        cells = [RESULTS / CELL.format(prior) for prior in ("dwp", "deterministic-l2")]
        tables = [f"{cell}/batch0.csv" for cell in cells]
        finish(start(local, "--profile", "local", "--", *tables), local, 200)
        finish(process, folder, 600)
        yield list(map(parse_job, run("scontrol", "--oneliner", "show", "job").splitlines()))
    finally:
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGINT)  # Snakemake cancels its jobs
            process.wait(timeout=60)
        run(Path(UP).with_name("slurm-down.sh"), "--purge", "--dir", lab, seconds=120)


def test_jobs_run_to_their_figures(jobs, folder):
    assert all((folder / target).is_file() for target in FIGURES)
    last = {job.name: job.state for job in jobs}
    assert set(last.values()) == {"COMPLETED"}
    assert not any("data" in name for name in last)  # may need the network that nodes lack


def test_a_cancelled_job_runs_again_with_more_time_and_memory(jobs, folder):
    first, second = (job for job in jobs if job.name.startswith("source_nets"))
    assert (first.state, second.state) == ("CANCELLED", "COMPLETED")
    assert (second.minutes, second.memory) == (2 * first.minutes, 2 * first.memory)
    log = (folder / "logs/tiny/demo/source/batch0.log").read_text()
    assert log.count("source seed0: finished before") == 1
    assert "source seed1: finished before" not in log


def test_a_job_out_of_time_goes_on_with_more(jobs, folder):
    first, second = (job for job in jobs if job.name.startswith("classifiers_wildcards_demo_dwp_"))
    assert (first.state, second.state) == ("TIMEOUT", "COMPLETED")
    assert (first.minutes, second.minutes) == (1, 4)
    log = (folder / "logs/tiny/demo/classification/dwp/dwp/base/n10/batch0.log").read_text()
    assert "split0-seed0: finished before" in log
    assert "split1-seed0: finished before" not in log


def test_jobs_that_train_and_no_others_get_a_gpu(jobs):
    for job in jobs:
        assert job.gpus == int(job.name.partition("_wildcards_")[0] in TRAINING), job.name


def test_results_are_those_of_a_local_run(jobs, folder, local):
    made = {
        path.relative_to(local)
        for pattern in ("*.safetensors", "batch0*.csv")
        for path in (local / RESULTS).rglob(pattern)
        if ".runs" not in path.parts and "data" not in path.parts
    }
    assert len(made) == 2 + 2 + 2 + 2 * 2  # source nets, kernels, priors, nets
    for path in made:
        assert (local / path).read_bytes() == (folder / path).read_bytes(), path
