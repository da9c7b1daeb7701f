"""Concatenate the tables of runs that several jobs have written.

Args:
    runs: CSV files with a row a run and metric
    output: CSV
"""

from pathlib import Path

from dwp.evaluation.tables import concatenate
from dwp.files import write_csv
from dwp.study.program import program


@program
def main(*, runs: list[Path], output: Path) -> None:
    write_csv(output, concatenate(runs))


if __name__ == "__main__":
    main()
