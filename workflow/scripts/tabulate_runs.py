"""Concatenate the tables of runs that several jobs have written.

Args:
    runs: CSV files.
    variants: prior, variant and settings as text of each combination of varied and tuned ones
    output: CSV
"""

from pathlib import Path

from dwp.evaluation.tables import concatenate
from dwp.files import write_csv
from dwp.study.program import program


@program
def main(*, runs: list[Path], variants: list[dict[str, str]] | None = None, output: Path) -> None:
    write_csv(output, concatenate(runs, variants or ()))


if __name__ == "__main__":
    main()
