"""Concatenate the tables of runs that several jobs have written.

Args:
    metrics: CSV files with a row a run and metric
    history: CSV files with a row a run, step and metric
    variants: prior, variant and settings as text of each combination of varied and tuned ones
    outputs: CSV of all metrics, and of all histories
"""

from pathlib import Path

from dwp.evaluation.tables import concatenate
from dwp.files import write_csv
from dwp.study.program import program


@program
def main(
    *,
    metrics: list[Path],
    history: list[Path] | None = None,
    variants: list[dict[str, str]] | None = None,
    outputs: list[Path],
) -> None:
    for tables, output in zip([metrics, history], outputs, strict=False):
        write_csv(output, concatenate(tables or [], variants or ()))


if __name__ == "__main__":
    main()
