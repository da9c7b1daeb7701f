"""Tabulate and draw initialisation crossed with prior: cells, tests, and parts of the gain.

Args:
    runs: CSV
    comparison: what to compare
    cells: CSV to write, with a .md and a .html
    parts: CSV of the gain's parts to write, with a .md and a .html
    figure: files of the figure
"""

from pathlib import Path

from dwp.evaluation.comparison import Comparison
from dwp.evaluation.factorial import METRICS, effects, factorial
from dwp.evaluation.statistics import keep_chosen
from dwp.evaluation.tables import read_runs, write_readable
from dwp.files import write_csv
from dwp.plots.factorial import factorial_figure, factorial_text
from dwp.plots.style import save
from dwp.study.program import program


@program
def main(
    *, runs: Path, comparison: Comparison, cells: Path, parts: Path, figure: list[Path]
) -> None:
    vary, tune, reference = comparison.vary, comparison.tune, comparison.reference
    chosen = keep_chosen(read_runs(runs, comparison.listed), list(tune), comparison.tune_by)
    chosen = chosen[chosen["metric"].isin(METRICS)]
    by = [*vary, "n", *comparison.chosen_by]
    compared = ["domain", *by, "metric"]
    crossed = factorial(chosen, reference, compared)
    gains = effects(chosen, comparison.full, reference, compared)
    for path, table, *axes in (
        (cells, crossed, [*by, "prior"], ["metric", "init"]),
        (parts, gains, [*by, "metric"], ["effect"]),
    ):
        write_csv(path, table)
        write_readable(factorial_text(table, *axes), path)
    drawn = crossed[crossed["chosen_by"] == "validation"] if tune else crossed
    save(factorial_figure(drawn, list(vary)), figure)


if __name__ == "__main__":
    main()
