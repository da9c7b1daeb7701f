"""Run one config in several ways, and compare the bytes of every file of its results.

The ways differ in what must not matter: the number of cores, the number of runs a job, the order
of jobs, and, with `--profile`, who runs them. Exit status 0: all results are the same; 1: some
differ, each named in a line of its own; 2: a run failed.
"""

import argparse
import json
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from helpers import ROOT, differences, snakemake


def run(folder: Path, config: dict[str, Any], *arguments: str) -> str:
    """Run the workflow in a folder of its own; return what it printed.

    Raises:
        SystemExit: it failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "config.json"
    file.write_text(json.dumps(config))
    own = "--snakefile", ROOT / "Snakefile", "--directory", folder, "--configfile", file
    process = snakemake(*own, *arguments)  # a profile's folder is looked for in the repository
    output = process.communicate()[0]
    if process.returncode:
        print(output, f"error: snakemake {' '.join(arguments)}", sep="\n", file=sys.stderr)
        raise SystemExit(2)
    return output


TARGETS = ("prior_study", "convergence", "random_features", "classification", "all")
OTHER_JOBS = "other-jobs"
WAYS = {
    "one-core": [["--cores", "1"]],
    "two-cores": [["--cores", "2"]],
    # target by target, other runs in its jobs, and jobs granted two cores
    OTHER_JOBS: [["--cores", "2", "--set-threads", "prior=2", "--", each] for each in TARGETS],
}
"""The arguments of the calls of Snakemake, by the name of the way."""


def with_runs_per_job(config: dict[str, Any], number: int) -> dict[str, Any]:
    """Return a config with every `runs_per_job` replaced."""
    return json.loads(re.sub(r'("runs_per_job": )\d+', rf"\g<1>{number}", json.dumps(config)))


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
        ways["profile"] = [["--profile", options.profile]]
    folder = options.folder or Path(tempfile.mkdtemp(prefix="determinism-"))
    found, reference = [], folder / next(iter(ways)) / "results"
    for name, calls in ways.items():
        start, results, other = time.monotonic(), folder / name / "results", name == OTHER_JOBS
        for arguments in calls:
            own = with_runs_per_job(config, 4) if other else config
            run(folder / name, own, *arguments)
        # files of batches hold other runs where jobs do
        found += differences(reference, results, *["*batch[0-9]*"] * other)
        files = sum(path.is_file() for path in results.rglob("*"))
        print(f"{name}: {files} files in {time.monotonic() - start:.0f} s", flush=True)
    print(*found, f"{len(found)} files differ; all are in {folder}", sep="\n")
    raise SystemExit(bool(found))


if __name__ == "__main__":
    main()
