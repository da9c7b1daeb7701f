"""Copy a study's tables and figures to results/published, with its config and how it was made.

Tables too large for that are compressed; tables too large even so, and large figures, are left out.

Args:
    config: of the study, run to its end
"""

import gzip
import io
import os
import platform
import re
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
{times}"""


@program
def main(config: Path, /) -> None:
    name = read_config(config).get("name")
    check_name(f"{config}: name", name)
    results, logs = Path("results", name), Path("logs", name)
    snakemake = [sys.executable, "-m", "snakemake", "--configfile", str(config), "--summary"]
    made = pd.read_csv(io.StringIO(_output(config, snakemake)), sep="\t", dtype=str)
    made = made[made["plan"] == "no update"]
    outputs = sorted(map(Path, made["output_file"]))
    files = [file for pattern in _PATTERNS for file in outputs if file.match(pattern)]
    if not files:
        raise UserError(
            f"{results}: expected tables and figures, found none that are up to date; run "
            f"snakemake --configfile {config} first"
        )
    commit = _output("git", ["git", "rev-parse", "--short=12", "HEAD"]).strip()
    target = Path("results", "published", name)
    shutil.rmtree(target, ignore_errors=True)
    for file in files:
        content, goal = file.read_bytes(), target / file.relative_to(results)
        if len(content) > _LARGEST and file.suffix == ".csv":
            content = gzip.compress(content, mtime=0)  # no time: the same bytes each time
            goal = goal.with_name(f"{file.name}.gz")
        if len(content) <= (_LARGEST_COMPRESSED if goal.suffix == ".gz" else _LARGEST):
            with atomic(goal) as temporary:
                temporary.write_bytes(content)
    write_text(target / "config.yaml", config.read_text(encoding="utf-8"))
    minutes = pd.Series(dtype=float)
    for file in sorted({Path(log).with_suffix(".tsv") for log in made["log-file(s)"]}):
        if file.is_file():
            stage = file.relative_to(logs).parts[1]
            minutes[stage] = minutes.get(stage, 0) + read_csv(file, sep="\t")["s"].sum() / 60
    minutes["all"] = minutes.sum()
    text = _README.format(
        name=name,
        config=config,
        commit=commit,
        processor=_processor(),
        cores=os.cpu_count(),
        system=platform.system(),
        python=platform.python_version(),
        packages=", ".join(f"{package} {version(package)}" for package in _PACKAGES),
        times="".join(f"| {stage} | {value:.1f} |\n" for stage, value in minutes.items()),
    )
    write_text(target / "README.md", text)


def _output(source: str | Path, command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise UserError(f"{source}: {''.join(reason).removeprefix('error in the config: ')}")
    return done.stdout


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    found = re.search("model name\\s*: (.*)", facts.read_text() if facts.exists() else "")
    return found[1] if found else platform.machine()


if __name__ == "__main__":
    main()
