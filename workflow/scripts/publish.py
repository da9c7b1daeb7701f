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
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from dwp.errors import UserError
from dwp.files import atomic, read_csv, write_text
from dwp.study.program import program
from dwp.study.settings import load_settings, read_config

_PACKAGES = ("torch", "torchvision", "numpy", "pandas", "scipy", "matplotlib", "snakemake")
_PUBLISHED = ("tables/*.csv", "tables/*.md", "figures/*.png", "kernels/*.json")
_LARGEST = 2**19  # bytes
_LARGEST_COMPRESSED = 2**20
_README = Path(__file__).parents[1] / "resources" / "published.md"


@program
def main(config: Path, /) -> None:
    name = load_settings(read_config(config)).name
    results, target = Path("results", name), Path("results", "published", name)
    summary = _output(sys.executable, "-m", "snakemake", "--configfile", str(config), "--summary")
    made = pd.read_csv(io.StringIO(summary), sep="\t", dtype=str)
    made = made[made["plan"] == "no update"]
    files = sorted(f for f in map(Path, made["output_file"]) if any(map(f.match, _PUBLISHED)))
    if not files:
        raise UserError(
            f"{results}: expected tables and figures, found none that are up to date; run "
            f"snakemake --configfile {config} first"
        )
    commit = _output("git", "rev-parse", "--short=12", "HEAD").strip()
    shutil.rmtree(target, ignore_errors=True)
    for file in files:
        content, goal, largest = file.read_bytes(), target / file.relative_to(results), _LARGEST
        if len(content) > largest and file.suffix == ".csv":
            content = gzip.compress(content, mtime=0)  # no time: the same bytes each time
            goal, largest = goal.with_name(f"{file.name}.gz"), _LARGEST_COMPRESSED
        if len(content) <= largest:
            with atomic(goal) as temporary:
                temporary.write_bytes(content)
    write_text(target / "config.yaml", config.read_text(encoding="utf-8"))
    minutes = Counter()
    for file in {Path(log).with_suffix(".tsv") for log in made["log-file(s)"]}:
        if file.is_file():  # logs/NAME/DOMAIN/STAGE/...
            minutes[file.parts[3]] += read_csv(file, sep="\t")["s"].sum() / 60
    times = [*sorted(minutes.items()), ("all", minutes.total())]
    facts = Path("/proc/cpuinfo")
    model = re.search("model name\\s*: (.*)", facts.read_text() if facts.exists() else "")
    text = _README.read_text(encoding="utf-8").format(
        name=name,
        config=config,
        commit=commit,
        processor=model[1] if model else platform.machine(),
        cores=os.cpu_count(),
        system=platform.system(),
        python=platform.python_version(),
        packages=", ".join(f"{package} {version(package)}" for package in _PACKAGES),
        times="\n".join(f"| {stage} | {value:.1f} |" for stage, value in times),
    )
    write_text(target / "README.md", text)


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise UserError(f"{' '.join(command)}: {''.join(lines[-1:])}")
    return done.stdout


if __name__ == "__main__":
    main()
