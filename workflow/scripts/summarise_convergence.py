"""Tabulate and draw how fast nets train from several initialisations, with the authors' curves.

Args:
    runs: CSV files with a row a run, step and metric
    paper: CSV of the authors' curves
    dataset: the authors' name of our data set, or none
    kind: of the experiment, as the authors' curves name it
    levels: values of the metric to reach
    output: CSV of all histories to write
    steps: CSV of the steps to the levels to write, with a .md and a .html
    figure: files of the figure
"""

from pathlib import Path

from dwp.evaluation.paper import read_authors
from dwp.evaluation.statistics import steps_to_levels
from dwp.evaluation.tables import concatenate, write_readable
from dwp.files import write_csv
from dwp.plots.curves import curves
from dwp.plots.style import save
from dwp.study.program import program

_METRICS = {"classifier": "test_accuracy", "image-vae": "test_elbo"}
_RESOURCES = Path(__file__).parents[1] / "resources"


@program
def main(
    *,
    runs: list[Path],
    paper: Path = _RESOURCES / "paper_convergence.csv",
    dataset: str,
    kind: str,
    levels: list[float],
    output: Path,
    steps: Path,
    figure: list[Path],
) -> None:
    history = concatenate(runs).dropna(subset="step").astype({"step": int})
    metric = _METRICS[kind]
    write_csv(output, history)
    of = {"dataset": dataset, "experiment": kind}
    authors = read_authors([paper], ["init", "step", "value"], **of)
    ours = steps_to_levels(history[history["metric"] == metric], levels)
    theirs = steps_to_levels(authors.assign(seed=0), levels).rename(columns={"steps": "authors"})
    table = ours.merge(theirs[["init", "level", "authors"]], "left", ["init", "level"])
    write_csv(steps, table)
    write_readable(table, steps)
    save(curves(history, [metric], "step", paper=authors), figure)


if __name__ == "__main__":
    main()
