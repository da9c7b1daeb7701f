"""Tabulate and draw initialisation crossed with prior: cells, tests, and parts of the gain.

Args:
    runs: CSV
    vary: values of the varied settings
    tune: values of the tuned settings
    tune_by: validation metric that chooses the tuned settings
    full: prior and init whose gain is split into parts
    reference: prior and init to compare with
    cells: CSV to write, with a .md and a .html
    parts: CSV of the gain's parts to write, with a .md and a .html
    figures: files of the figure
"""

from pathlib import Path

from dwp.evaluation.factorial import METRICS, effects, factorial
from dwp.evaluation.statistics import keep_chosen
from dwp.evaluation.tables import read_runs, write_readable
from dwp.files import write_csv
from dwp.plots.factorial import factorial_figure, factorial_text
from dwp.plots.style import save
from dwp.study.program import program


@program
def main(
    *,
    runs: Path,
    vary: dict[str, list[str]],
    tune: dict[str, list[str]],
    tune_by: str,
    full: dict[str, str],
    reference: dict[str, str],
    cells: Path,
    parts: Path,
    figures: list[Path],
) -> None:
    chosen = keep_chosen(read_runs(runs, {**vary, **tune}), list(tune), tune_by)
    chosen = chosen[chosen["metric"].isin(METRICS)]
    by = [*vary, "n", *["chosen_by"] * bool(tune)]
    compared = ["domain", *by, "metric"]
    crossed = factorial(chosen, reference, compared)
    gains = effects(chosen, full, reference, compared)
    write_csv(cells, crossed)
    write_readable(factorial_text(crossed, [*by, "prior"], ["metric", "init"]), cells)
    write_csv(parts, gains)
    write_readable(factorial_text(gains, [*by, "metric"], ["effect"]), parts)
    drawn = crossed[crossed["chosen_by"] == "validation"] if tune else crossed
    save(factorial_figure(drawn, list(vary)), figures)


if __name__ == "__main__":
    main()
