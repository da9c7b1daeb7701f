"""The workflow killed or without room: it must say what is wrong and end with the same files.

`make faults` runs a tiny config through all stages once undisturbed, then for each fault, and
compares every result, byte by byte. Faults that need root (a small disk) are skipped without.
`KILLS` says how often to kill, `SEED` when.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
from helpers import differences, wait_for
from projects import RESULTS, Project

from dwp.errors import UserError
from dwp.files import save_tensors

KILLS, SEED = (int(os.environ.get(name, default)) for name, default in (("KILLS", 20), ("SEED", 0)))
LONGEST = 25.0  # seconds from a start to a kill


def assert_same(project: Project, undisturbed: Project, *, all_there: bool = True) -> None:
    """Check that the results, or those that are there, are those of an undisturbed project."""
    expected = undisturbed.folder / "results"
    wrong = differences(expected, project.folder / "results")
    if not all_there:
        wrong = [line for line in wrong if not line.startswith(f"Only in {expected}")]
    assert wrong == []


def failed(project: Project) -> list[str]:
    """Run the workflow, which has to fail; return the lines of errors of ours."""
    status, output = project.snakemake("--cores", "2", "--keep-going")
    assert status != 0
    assert "Traceback" not in output
    return sorted({line for line in output.splitlines() if line.startswith("error: ")})


def kill(process: subprocess.Popen, folder: Path) -> None:
    """Kill a process group and wait until it is gone."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 60
    while left := alive_in(folder):
        assert time.monotonic() < deadline, f"outside of the killed group: {left}"
        time.sleep(0.02)


def alive_in(folder: Path) -> list[int]:
    """The processes that work in a folder."""
    running = psutil.process_iter(["cwd"])
    return [p.pid for p in running if p.info["cwd"] and Path(p.info["cwd"]).is_relative_to(folder)]


def forget(project: Project, *patterns: str) -> None:
    """Delete results, so that a run makes them again."""
    for pattern in patterns:
        for path in (project.folder / RESULTS).glob(pattern):
            path.unlink()


def mount(*arguments: object) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting needs root: {done.stderr.strip()}")


@contextlib.contextmanager
def mounted(folder: Path, *arguments: object) -> Iterator[None]:
    """Mount something on a folder for a while."""
    mount(*arguments, folder)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_kills_of_the_whole_process_group(finished, tmp_path):
    moments, left, number = random.Random(SEED), KILLS, 0
    while left:
        number += 1
        project, status = Project(tmp_path / str(number)), None
        while left and status is None:
            process = project.start("--cores", "2")
            try:
                output = process.communicate(timeout=moments.uniform(0, LONGEST))[0]
            except subprocess.TimeoutExpired:
                kill(process, project.folder)
                left -= 1
            else:
                status = process.returncode
                assert status == 0, output
        project.made()
        assert_same(project, finished)


def test_snakemake_alone_is_killed_and_its_jobs_live_on(finished, fresh):
    process = fresh.start("--cores", "2")
    wait_for((fresh.folder / RESULTS / "data" / "source.safetensors").exists, process)
    os.kill(process.pid, signal.SIGKILL)
    reader = threading.Thread(target=process.communicate)  # a full pipe would stop its jobs
    reader.start()
    fresh.made()
    reader.join()
    assert_same(fresh, finished)


@pytest.mark.parametrize("free", [20 << 10, 0])
def test_a_disk_without_room_for_a_figure_or_for_anything(finished, copy, tmp_path, free):
    forget(copy, "priors/*/scores.json", "tables/priors*", "figures/latent*", "figures/images*")
    folder, results = tmp_path / "disk", copy.folder / "results"
    folder.mkdir()
    with mounted(folder, "-t", "tmpfs", "-o", f"size={40 << 20}", "tmpfs"):
        subprocess.run(["cp", "-a", results, folder], check=True)
        shutil.rmtree(results)
        results.symlink_to(folder / "results")
        ballast = folder / "ballast"
        with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as file:
            while file.write(bytes(1 << 16)):
                pass
        os.truncate(ballast, max(0, ballast.stat().st_size - free))
        tensors = {"weight": torch.zeros(1 << 20)}  # larger than what is left
        with pytest.raises(UserError):
            save_tensors(results / "t", tensors, kind="net", settings={})
        assert "cannot be written (No space left" in str(failed(copy))
        assert_same(copy, finished, all_there=False)
        ballast.unlink()
        copy.made()
        assert_same(copy, finished)


@pytest.mark.parametrize("part", ["", "results"])
def test_a_folder_that_cannot_be_written_to(finished, copy, part):
    forget(copy, "figures/norms_conv1*")
    folder = copy.folder / part
    with mounted(folder, "--bind", folder):
        mount("-o", "remount,ro,bind", folder)
        (line,) = failed(copy)
        assert str(part or ".snakemake") in line
        assert_same(copy, finished, all_there=False)
    copy.made()
    assert_same(copy, finished)
