"""The workflow killed, starved and damaged: it must say what is wrong and end with the same files.

Runs the workflow of a tiny config through all stages once undisturbed, then once or more for each
fault, and compares every result, byte by byte. Prints a table of what was done; exit status 1 if
any promise was broken. Faults that need root (a small disk) are skipped without, and say so.
"""

import argparse
import contextlib
import functools
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
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
        seconds = folder / "seconds"
        if seconds.exists():  # kept by an earlier call
            self.whole = Project.__new__(Project)
            self.whole.folder = folder / "undisturbed"
        else:
            self.whole = self.project("undisturbed")
            start = time.monotonic()
            self.finish(self.whole)
            seconds.write_text(f"{time.monotonic() - start:.1f}")
        self.seconds = float(seconds.read_text())
        self.expected = contents(self.whole.folder)

    def project(self, name: str) -> Project:
        """Return a fresh project."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return Project(folder)

    def finished(self, name: str) -> Project:
        """Return a project whose workflow has been run to its end."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        return self.whole.copy(self.folder / name)

    def start(self, project: Project) -> subprocess.Popen:
        return project.start("--cores", self.cores)

    def finish(self, project: Project) -> str:
        """Run the workflow to its end; raise `AssertionError` if it fails."""
        status, output = project.snakemake("--cores", self.cores)
        expect(status == 0, f"the workflow failed:\n{output}")
        return output

    def fail(self, project: Project, *arguments: str) -> list[str]:
        """Run the workflow, which has to fail; return the lines of errors of ours."""
        status, output = project.snakemake("--cores", self.cores, *arguments)
        expect(status != 0, f"the workflow did not fail:\n{output}")
        expect("Traceback" not in output, f"a traceback:\n{output}")
        return errors(output)

    def compare(self, project: Project) -> int:
        """Compare all results with the undisturbed ones; return how many files they are."""
        found = contents(project.folder)
        names = sorted(found.items() ^ self.expected.items())
        expect(not names, f"files differ: {sorted({name for name, _ in names})}")
        litter = [str(path) for path in (project.folder / "results").rglob(".tmp-*")]
        expect(not litter, f"half-written files are left: {litter}")
        return len(found)

    def compare_those_there(self, project: Project) -> int:
        """Compare the results that are there."""
        found = contents(project.folder)
        wrong = [name for name, value in found.items() if self.expected.get(name) != value]
        expect(not wrong, f"half-written or other files: {wrong}")
        return len(found)


def expect(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def errors(output: str) -> list[str]:
    return sorted({line for line in output.splitlines() if line.startswith("error: ")})


def contents(folder: Path) -> dict[str, str]:
    """The SHA-256 of every result."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (folder / "results").rglob("*")
        if path.is_file() and not path.name.startswith(".tmp-")
    }


def kill(process: subprocess.Popen, folder: Path) -> None:
    """Kill a process group and wait until it is gone."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 60
    while left := alive_in(folder):
        expect(time.monotonic() < deadline, f"outside of the killed group: {left}")
        time.sleep(0.02)


def alive_in(folder: Path) -> list[int]:
    """The processes that work in a folder."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            if Path(os.readlink(link)).is_relative_to(folder):
                found.append(int(link.parent.name))
    return found


def wait_for(condition: Callable[[], bool], process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        expect(process.poll() is None and time.monotonic() < deadline, "it did not come so far")
        time.sleep(0.02)


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
        expect(process.returncode == 0, f"the workflow failed after kills:\n{output}")
        compared += lab.compare(project)
        project = lab.project("kills")  # from the beginning, while kills are left
    lab.finish(project)
    compared += lab.compare(project)
    return {"kills survived": len(moments), "files compared": compared, "moments": moments}


def orphans(lab: Lab) -> dict:
    """Snakemake alone is killed; its jobs live on while the same command is given again."""
    project = lab.project("orphans")
    process = lab.start(project)
    wait_for(lambda: (project.folder / RESULTS / "data" / "source.safetensors").exists(), process)
    os.kill(process.pid, signal.SIGKILL)
    reader = threading.Thread(target=process.communicate)  # a full pipe would stop its jobs
    reader.start()
    left = len(alive_in(project.folder)) - 1  # without Snakemake itself
    lab.finish(project)
    reader.join()
    return {"processes left": left, "files compared": lab.compare(project)}


def forget(project: Project, *names: str) -> None:
    """Delete results, so that a run makes them again."""
    for name in names:
        found = list((project.folder / RESULTS).glob(name))
        expect(bool(found), f"no file {name}")
        for path in found:
            path.unlink()


def on_a_disk(lab: Lab, free: int) -> dict:
    """Run while the disk of the results has so many bytes left, then with enough."""
    project = lab.finished("full-disk")
    forget(project, "priors/*/scores.json", "tables/priors*", "figures/latent*", "figures/images*")
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
        with contextlib.suppress(UserError):
            save_tensors(results / "t", tensors, kind="net", settings={})
            expect(False, "a file larger than the disk was written")
        lines = lab.fail(project, "--keep-going")
        intact = lab.compare_those_there(project)
        ballast.unlink()
        lab.finish(project)
        return {"errors": lines, "intact": intact, "files compared": lab.compare(project)}


def full_disk(lab: Lab) -> dict:
    """The disk of the results has no room for a figure, or for anything."""
    outcomes = {}
    for free in (20 << 10, 0):
        outcome = on_a_disk(lab, free)
        said = [e for e in outcome["errors"] if "cannot be written (No space left" in e]
        expect(bool(said), f"no clear line: {outcome['errors']}")
        outcomes[f"{free} bytes left"] = outcome
    return {"files compared": sum(o["files compared"] for o in outcomes.values()), **outcomes}


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda content: b"",
    "truncated": lambda content: content[: len(content) * 2 // 3],
    "bit-flipped": lambda content: (
        content[: len(content) * 2 // 3]
        + bytes([content[len(content) * 2 // 3] ^ 4])
        + content[len(content) * 2 // 3 + 1 :]
    ),
}
# Damaged files, and the results to make again that read each; no damage hides another.
DAMAGED = {
    "classification/standard-normal/dwp/base/n10/batch0.csv": "tables/class*",
    "features/dwp/scale0.25/batch0.csv": "tables/features*",
    "priors/dwp/scores.json": "tables/priors*",
    "convergence/image-vae/dwp/batch0.csv": "tables/convergence_*",
    "convergence/image-vae/dwp/batch0.safetensors": "figures/images_*",
}


def damage(lab: Lab, kind: str) -> dict:
    """Finished files are damaged; each is named where it is used, deleted, made again."""
    project = lab.finished("damage")
    for name, use in DAMAGED.items():
        path = project.folder / RESULTS / name
        before = path.stat()
        path.write_bytes(DAMAGES[kind](path.read_bytes()))  # the same file: also what is linked
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        forget(project, use)
    lines = lab.fail(project, "--keep-going")
    for name in DAMAGED:
        said = [line for line in lines if line.startswith(f"error: {RESULTS / name}: ")]
        said = [line for line in said if "; delete it and make it again" in line]
        expect(len(said) == 1, f"{name}: not named in one line, but {lines}")
        (project.folder / RESULTS / name).unlink()
    lab.finish(project)
    return {"found and made again": len(DAMAGED), "files compared": lab.compare(project)}


def twice(lab: Lab) -> dict:
    """A second workflow is started while one runs."""
    project = lab.finished("twice")
    forget(project, "tables/*", "figures/*")
    first = lab.start(project)
    wait_for(lambda: any((project.folder / ".snakemake" / "locks").glob("*")), first)
    os.killpg(first.pid, signal.SIGSTOP)  # not over before the second begins
    status, output = project.snakemake("--cores", "1")
    os.killpg(first.pid, signal.SIGCONT)
    expect(status != 0 and "Directory cannot be locked" in output, f"not refused:\n{output}")
    expect("Traceback" not in output, f"a traceback:\n{output}")
    output = first.communicate()[0]
    expect(first.returncode == 0, f"the first failed:\n{output}")
    return {"files compared": lab.compare(project)}


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
    project, lines = lab.finished("read-only"), []
    forget(project, "figures/norms_conv1*")
    for part in ("", "results"):
        with read_only_mount(project.folder / part):
            found = lab.fail(project, "--keep-going")
            expect(len(found) == 1, f"{part}: no single line: {found}")
            lab.compare_those_there(project)
        lines += found
    lab.finish(project)
    return {"errors": lines, "files compared": lab.compare(project)}


def not_a_number(lab: Lab) -> dict:
    """One of two step sizes makes the loss infinite or NaN."""
    project = lab.finished("not-a-number")
    settings = project.config["domains"]["demo"]["classification"]
    settings["vary"] = {"learning_rate": [0.002, 1e30]}
    project.write_config()
    lines = lab.fail(project, "--keep-going", "classification")
    priors = settings["priors"]
    for prior in priors:
        said = [line for line in lines if f" classification {prior} dwp learning_rate" in line]
        said = [line for line in said if re.search(r": the loss is \S+ at step \d", line)]
        expect(len(said) == 1, f"{prior}: no single line that names the step: {lines}")
    others = (project.folder / RESULTS).glob("classification/*/dwp/learning_rate*/n10/batch0.csv")
    others = len(list(others))
    expect(others == len(priors), f"only {others} other batches")
    return {"errors": lines, "other batches": others}


CASES: dict[str, Callable[[Lab], dict]] = {
    "kills": kills,
    "orphans": orphans,
    "full-disk": full_disk,
    **{kind: functools.partial(damage, kind=kind) for kind in DAMAGES},
    "twice": twice,
    "read-only": read_only,
    "not-a-number": not_a_number,
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
    folder.mkdir(parents=True, exist_ok=True)
    lab = Lab(folder.resolve(), arguments.cores, arguments.seed, arguments.kills)
    outcomes = {
        "undisturbed": {"result": "held", "seconds": lab.seconds, "files": len(lab.expected)}
    }
    for name in arguments.only:
        start, outcome = time.monotonic(), {"result": "held"}
        try:
            outcome |= CASES[name](lab)
        except Skipped as reason:
            outcome = {"result": f"skipped: {reason}"}
        except AssertionError as broken:
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
