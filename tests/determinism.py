"""Run one config in several ways, and compare the bytes of every file of its results.

The ways differ in what must not matter: the number of cores, the number of runs a job, the order
of jobs, and, with `--profile`, who runs them. Exit status 0: all results are the same; 1: some
differ, each of which is told in a line of its own; 2: a run failed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent


def snakemake(folder: Path, config: dict[str, Any], *arguments: str) -> str:
    """Run the workflow in a folder of its own; return what it printed.

    Raises:
        SystemExit: it failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "config.json"
    file.write_text(json.dumps(config))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(folder), "--configfile", str(file), *arguments]
    done = subprocess.run(
        command,
        cwd=ROOT,  # where a profile's folder is looked for
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        print(done.stdout, f"error: {' '.join(command)}", sep="\n", file=sys.stderr)
        raise SystemExit(2)
    return done.stdout


def one_core(folder: Path, config: dict[str, Any]) -> None:
    """Run the workflow, one job at a time."""
    snakemake(folder, config, "--cores", "1")


def two_cores(folder: Path, config: dict[str, Any]) -> None:
    """Run the workflow, two jobs at a time."""
    snakemake(folder, config, "--cores", "2")


def other_jobs(folder: Path, config: dict[str, Any]) -> None:
    """Run the workflow target by target, other runs in its jobs, and jobs granted two cores."""
    config = with_runs_per_job(config, 4)
    targets = sorted(snakemake(folder, config, "--list-target-rules").split(), reverse=True)
    for target in targets:
        if target.endswith(tuple(f"_{domain}" for domain in config["domains"])):
            snakemake(folder, config, "--cores", "2", "--set-threads", "prior=2", "--", target)
    snakemake(folder, config, "--cores", "2")


WAYS: dict[str, Callable[[Path, dict[str, Any]], None]] = {
    "one-core": one_core,
    "two-cores": two_cores,
    "other-jobs": other_jobs,
}


def with_runs_per_job(config: Any, number: int) -> Any:
    """Return a config with every `runs_per_job` replaced."""
    if not isinstance(config, dict):
        return config
    changed = {key: with_runs_per_job(value, number) for key, value in config.items()}
    return changed | ({"runs_per_job": number} if "runs_per_job" in changed else {})


def differences(first: Path, second: Path) -> list[str]:
    """Return a line for every file that is not the same in two folders, hidden ones too."""
    files = [
        {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
        for folder in (first, second)
    ]
    lines = [f"only in {first}: {path}" for path in sorted(files[0] - files[1])]
    lines += [f"only in {second}: {path}" for path in sorted(files[1] - files[0])]
    for path in sorted(files[0] & files[1]):
        if (first / path).read_bytes() != (second / path).read_bytes():
            lines.append(f"differs in {second}: {path}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ways", nargs="*", help=f"of {', '.join(WAYS)}; none: all of them")
    parser.add_argument("--config", default=ROOT / "config" / "demo.yaml", type=Path)
    parser.add_argument("--profile", help="run it also as this Snakemake profile says")
    parser.add_argument("--folder", type=Path, help="what is there is finished, not made again")
    options = parser.parse_args()
    config = yaml.safe_load(options.config.read_text())
    ways = {name: WAYS[name] for name in options.ways or WAYS}
    if options.profile:
        ways["profile"] = lambda *run: snakemake(*run, "--profile", options.profile)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="determinism-"))
    results = []
    for name, run in ways.items():
        start = time.monotonic()
        run(folder / name, config)
        results.append(folder / name / "results")
        files = sum(path.is_file() for path in results[-1].rglob("*"))
        print(f"{name}: {files} files in {time.monotonic() - start:.0f} s", flush=True)
    found = [line for other in results[1:] for line in differences(results[0], other)]
    print(*found, f"{len(found)} files differ; all are in {folder}", sep="\n")
    raise SystemExit(bool(found))


if __name__ == "__main__":
    main()
