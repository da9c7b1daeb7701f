"""Copy a study's tables and figures to results/published, with what they were made with.

Tables too large for that are compressed; tables too large even so, and large figures, are left out.
"""

import argparse
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

from dwp.errors import UserError, one_line_errors
from dwp.files import atomic, read_csv, write_text
from dwp.study.settings import check_name, read_config

_PACKAGES = ("torch", "torchvision", "numpy", "pandas", "scipy", "matplotlib", "snakemake")
_PATTERNS = ("*/tables/*.csv", "*/tables/*.md", "*/figures/*.png", "*/kernels/*/*.json")
_LARGEST = 2**19  # bytes
_LARGEST_COMPRESSED = 2**20


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="of the study, run to its end")
    arguments = parser.parse_args()
    name = read_config(arguments.config).get("name")
    check_name(f"{arguments.config}: name", name)
    results, logs = Path("results", name), Path("logs", name)
    made = _made(arguments.config)
    outputs = sorted(map(Path, made["output_file"]))
    files = [file for pattern in _PATTERNS for file in outputs if file.match(pattern)]
    if not files:
        raise UserError(
            f"{results}: expected tables and figures, found none that are up to date; run "
            f"snakemake --configfile {arguments.config} first"
        )
    measured = {Path(log).with_suffix(".tsv") for log in made["log-file(s)"]}
    readme = _readme(name, arguments.config, logs, sorted(filter(Path.is_file, measured)))
    target = Path("results", "published", name)
    shutil.rmtree(target, ignore_errors=True)
    for file in files:
        place = target / file.relative_to(results)
        if file.stat().st_size <= _LARGEST:
            _copy(file, place)
        elif file.suffix == ".csv":
            _compress(file, place.with_name(f"{file.name}.gz"))
    _copy(Path(arguments.config), target / "config.yaml")
    write_text(target / "README.md", readme)


def _made(config: str) -> pd.DataFrame:
    """Return Snakemake's account of the files that the config makes and that are up to date."""
    command = [sys.executable, "-m", "snakemake", "--configfile", config, "--summary"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise UserError(f"{config}: {''.join(reason).removeprefix('error in the config: ')}")
    files = pd.read_csv(io.StringIO(done.stdout), sep="\t", dtype=str)
    return files[files["plan"] == "no update"]


def _copy(source: Path, target: Path) -> None:
    with atomic(target) as temporary:
        shutil.copyfile(source, temporary)


def _compress(source: Path, target: Path) -> None:
    content = gzip.compress(source.read_bytes(), mtime=0)  # no time: the same bytes each time
    if len(content) <= _LARGEST_COMPRESSED:
        with atomic(target) as temporary:
            temporary.write_bytes(content)


def _readme(name: str, config: str, logs: Path, measured: list[Path]) -> str:
    seconds = {}
    for file in measured:
        stage = file.relative_to(logs).parts[1]
        seconds[stage] = seconds.get(stage, 0) + float(read_csv(file, sep="\t")["s"].sum())
    times = "".join(f"| {stage} | {value / 60:.1f} |\n" for stage, value in seconds.items())
    packages = ", ".join(f"{package} {version(package)}" for package in _PACKAGES)
    return f"""# {name}

Made by `snakemake --cores N --configfile {config}`, with the settings in [config.yaml](config.yaml)
and the code of commit `{_commit()}`. Tables and figures are as the workflow wrote them; what they
show stands in [docs/results.md](../../../docs/results.md).

- Hardware: {_processor()}, {os.cpu_count()} cores, {platform.system()}.
- Versions: Python {platform.python_version()}, {packages}.

Time that the jobs took, one on a core each, side by side (of a job run again, the last time):

| stage | minutes |
| --- | --: |
{times}| all | {sum(seconds.values()) / 60:.1f} |
"""


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
