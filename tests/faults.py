"""The workflow killed or without room: it must say what is wrong and end with the same files.

Runs the workflow of a tiny config through all stages once undisturbed, then once or more for each
fault, and compares every result, byte by byte. Prints a table of what was done; exit status 1 if
any promise was broken. Faults that need root (a small disk) are skipped without, and say so.
Damaged files, a second workflow and losses that are not finite have tests.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from helpers import differences, wait_for
from test_workflow import Project

from dwp.errors import UserError
from dwp.files import save_tensors

RESULTS = Path("results", "tiny", "demo")


class Skipped(Exception):
    """A case cannot be tried here."""


class Lab:
    """Projects to hurt, and what an undisturbed one comes to."""

    def __init__(self, folder: Path, cores: str, seed: int, kills: int) -> None:
        self.folder, self.cores, self.kills = folder, cores, kills
        self.random = random.Random(seed)
        start = time.monotonic()
        self.whole = self.project("undisturbed")
        self.finish(self.whole)
        self.seconds = round(time.monotonic() - start, 1)

    def project(self, name: str) -> Project:
        """Return a fresh project."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return Project(folder)

    def finish(self, project: Project) -> None:
        """Run the workflow to its end; raise `AssertionError` if it fails."""
        project.made("--cores", self.cores)

    def fail(self, project: Project) -> list[str]:
        """Run the workflow, which has to fail; return the lines of errors of ours."""
        status, output = project.snakemake("--cores", self.cores, "--keep-going")
        assert status != 0, f"the workflow did not fail:\n{output}"
        assert "Traceback" not in output, f"a traceback:\n{output}"
        return sorted({line for line in output.splitlines() if line.startswith("error: ")})

    def compare(self, project: Project, *, finished: bool = True) -> int:
        """Compare the results that are there, or all, with the undisturbed; return their number."""
        expected, found = (each.folder / "results" for each in (self.whole, project))
        wrong = differences(expected, found)
        if not finished:
            wrong = [line for line in wrong if not line.startswith(f"Only in {expected}")]
        assert not wrong, f"half-written or other files: {wrong}"
        return files(project)


def files(project: Project) -> int:
    """The number of results."""
    return sum(path.is_file() for path in (project.folder / "results").rglob("*"))


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
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            if Path(os.readlink(link)).is_relative_to(folder):
                found.append(int(link.parent.name))
    return found


def mount(*arguments: object) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Skipped(f"mounting needs root: {done.stderr.strip()}")


@contextlib.contextmanager
def disk(folder: Path, size: int) -> Iterator[None]:
    """Mount a small disk, which lives in memory, on a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def kills(lab: Lab) -> dict:
    """The whole process group is killed again and again, and the same command given again."""
    project, moments, compared = lab.project("kills"), [], 0
    longest = 2 * (lab.seconds / lab.kills + 4)
    while len(moments) < lab.kills:
        process, moment = lab.start(project), lab.random.uniform(0, longest)
        try:
            output = process.communicate(timeout=moment)[0]
        except subprocess.TimeoutExpired:
            kill(process, project.folder)
            moments.append(round(moment, 2))
            continue
        assert process.returncode == 0, f"the workflow failed after kills:\n{output}"
        compared += lab.compare(project)
        project = lab.project("kills")  # from the beginning, while kills are left
    lab.finish(project)
    compared += lab.compare(project)
    return {"kills survived": len(moments), "files compared": compared, "moments": moments}


def orphans(lab: Lab) -> dict:
    """Snakemake alone is killed; its jobs live on while the same command is given again."""
    project = lab.project("orphans")
    process = lab.start(project)
    wait_for((project.folder / RESULTS / "data" / "source.safetensors").exists, process)
    os.kill(process.pid, signal.SIGKILL)
    reader = threading.Thread(target=process.communicate)  # a full pipe would stop its jobs
    reader.start()
    left = len(alive_in(project.folder)) - 1  # without Snakemake itself
    lab.finish(project)
    reader.join()
    return {"processes left": left, "files compared": lab.compare(project)}


def unfinished(lab: Lab, name: str, *forgotten: str) -> Project:
    """Return a copy of the undisturbed project without some results, to be made again."""
    shutil.rmtree(lab.folder / name, ignore_errors=True)
    project = lab.whole.copy(lab.folder / name)
    for pattern in forgotten:
        for path in (project.folder / RESULTS).glob(pattern):
            path.unlink()
    return project


def on_a_disk(lab: Lab, free: int) -> dict:
    """Run while the disk of the results has so many bytes left, then with enough."""
    forgotten = "priors/*/scores.json", "tables/priors*", "figures/latent*", "figures/images*"
    project = unfinished(lab, "full-disk", *forgotten)
    folder, results = lab.folder / "full-disk-disk", project.folder / "results"
    with disk(folder, 40 << 20):
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
        lines = lab.fail(project)
        intact = lab.compare(project, finished=False)
        ballast.unlink()
        lab.finish(project)
        return {"errors": lines, "intact": intact, "files compared": lab.compare(project)}


def full_disk(lab: Lab) -> dict:
    """The disk of the results has no room for a figure, or for anything."""
    outcomes = {}
    for free in (20 << 10, 0):
        outcome = on_a_disk(lab, free)
        assert "cannot be written (No space left" in str(outcome["errors"]), outcome["errors"]
        outcomes[f"{free} bytes left"] = outcome
    return {"files compared": sum(o["files compared"] for o in outcomes.values()), **outcomes}


@contextlib.contextmanager
def read_only_mount(folder: Path) -> Iterator[None]:
    mount("--bind", folder, folder)
    try:
        mount("-o", "remount,ro,bind", folder)
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def read_only(lab: Lab) -> dict:
    """The project or its results cannot be written to."""
    project, lines = unfinished(lab, "read-only", "figures/norms_conv1*"), []
    for part in ("", "results"):
        with read_only_mount(project.folder / part):
            found = lab.fail(project)
            assert len(found) == 1, f"{part}: no single line: {found}"
            lab.compare(project, finished=False)
        lines += found
    lab.finish(project)
    return {"errors": lines, "files compared": lab.compare(project)}


CASES: dict[str, Callable[[Lab], dict]] = {
    "kills": kills,
    "orphans": orphans,
    "full-disk": full_disk,
    "read-only": read_only,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="how often to kill")
    parser.add_argument("--seed", type=int, default=0, help="of the moments to kill at")
    parser.add_argument("--cores", default="all", help="of each workflow")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--folder", type=Path, help="to work in, and keep; default: a new one")
    parser.add_argument("--output", type=Path, default=Path("results/faults.json"))
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="faults-"))
    lab = Lab(folder.resolve(), arguments.cores, arguments.seed, arguments.kills)
    undisturbed = {"result": "held", "seconds": lab.seconds, "files": files(lab.whole)}
    outcomes = {"undisturbed": undisturbed}
    for name in arguments.only:
        start, outcome = time.monotonic(), {"result": "held"}
        try:
            outcome |= CASES[name](lab)
        except Skipped as reason:
            outcome = {"result": f"skipped: {reason}"}
        except (AssertionError, pytest.fail.Exception) as broken:
            outcome = {"result": f"BROKEN: {broken}"}
        outcome["seconds"] = round(time.monotonic() - start, 1)
        outcomes[name] = outcome
        print(f"{name}: {json.dumps(outcome)}", flush=True)
    settings = {"kills": arguments.kills, "seed": arguments.seed, "cores": arguments.cores}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps({**settings, **outcomes}, indent=2) + "\n")
    if arguments.folder is None:
        shutil.rmtree(folder)
    return any(outcome["result"].startswith("BROKEN") for outcome in outcomes.values())


if __name__ == "__main__":
    raise SystemExit(main())
