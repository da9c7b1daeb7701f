"""Tabulate the numbers at the end of runs.

Args:
    runs: CSV files with a row a run and metric
    output: CSV
"""

from pathlib import Path

from dwp.evaluation.tables import at_the_end, concatenate
from dwp.files import write_csv
from dwp.study.program import program


@program
def main(*, runs: list[Path], output: Path) -> None:
    write_csv(output, at_the_end(concatenate(runs)))


if __name__ == "__main__":
    main()
