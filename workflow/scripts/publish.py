"""Copy a study's tables and figures to results/published, with its config and how it was made.

Tables too large for that are compressed; tables too large even so, and large figures, are left out.

Args:
    config: of the study, run to its end
"""

import gzip
import io
import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from dwp.errors import UserError
from dwp.files import atomic, read_csv, write_text
from dwp.study.program import program
from dwp.study.settings import check_name, read_config

_PACKAGES = ("torch", "torchvision", "numpy", "pandas", "scipy", "matplotlib", "snakemake")
_PATTERNS = ("*/tables/*.csv", "*/tables/*.md", "*/figures/*.png", "*/kernels/*/*.json")
_LARGEST = 2**19  # bytes
_LARGEST_COMPRESSED = 2**20
_README = """# {name}

Made by `snakemake --cores N --configfile {config}`, with the settings in [config.yaml](config.yaml)
and the code of commit `{commit}`. Tables and figures are as the workflow wrote them;
[docs/results.md](../../../docs/results.md) discusses them.

- Hardware: {processor}, {cores} cores, {system}.
- Versions: Python {python}, {packages}.

Time of the jobs, each on one core (of a job that was run again, the last time):

| stage | minutes |
| --- | --: |
"""


@program
def main(config: Path, /) -> None:
    name = read_config(config).get("name")
    check_name(f"{config}: name", name)
    results, logs = Path("results", name), Path("logs", name)
    target = Path("results", "published", name)
    made = _up_to_date(config)
    outputs = sorted(map(Path, made["output_file"]))
    files = [file for pattern in _PATTERNS for file in outputs if file.match(pattern)]
    if not files:
        raise UserError(
            f"{results}: expected tables and figures, found none that are up to date; run "
            f"snakemake --configfile {config} first"
        )
    facts = {
        "name": name,
        "config": config,
        "commit": _commit(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": ", ".join(f"{package} {version(package)}" for package in _PACKAGES),
    }
    shutil.rmtree(target, ignore_errors=True)
    for file in files:
        content, goal = file.read_bytes(), target / file.relative_to(results)
        if len(content) > _LARGEST:
            if file.suffix != ".csv":
                continue
            content = gzip.compress(content, mtime=0)  # no time: the same bytes each time
            if len(content) > _LARGEST_COMPRESSED:
                continue
            goal = goal.with_name(f"{file.name}.gz")
        with atomic(goal) as temporary:
            temporary.write_bytes(content)
    write_text(target / "config.yaml", config.read_text(encoding="utf-8"))
    minutes = pd.Series(dtype=float)
    for file in sorted({Path(log).with_suffix(".tsv") for log in made["log-file(s)"]}):
        if file.is_file():
            stage = file.relative_to(logs).parts[1]
            minutes[stage] = minutes.get(stage, 0) + read_csv(file, sep="\t")["s"].sum() / 60
    minutes["all"] = minutes.sum()
    times = "".join(f"| {stage} | {value:.1f} |\n" for stage, value in minutes.items())
    write_text(target / "README.md", _README.format(**facts) + times)


def _up_to_date(config: Path) -> pd.DataFrame:
    """Return Snakemake's account of the files that the config makes and that are up to date."""
    command = [sys.executable, "-m", "snakemake", "--configfile", str(config), "--summary"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise UserError(f"{config}: {''.join(reason).removeprefix('error in the config: ')}")
    files = pd.read_csv(io.StringIO(done.stdout), sep="\t", dtype=str)
    return files[files["plan"] == "no update"]


def _commit() -> str:
    command = ["git", "rev-parse", "--short=12", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise UserError("git: expected a repository with a commit, found none") from None
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main()
