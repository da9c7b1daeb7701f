"""Tabulate and draw classifiers on random features, with the authors' accuracies.

Args:
    runs: CSV files
    paper: CSV of the authors' numbers
    dataset: the authors' name of our data set, or none
    output: CSV of all runs to write, with a .md and a .html of the test accuracies
    summary: CSV over seeds to write
    figure: files of the figure of test accuracies
"""

from pathlib import Path

from dwp.evaluation.paper import read_authors
from dwp.evaluation.statistics import summarise
from dwp.evaluation.tables import at_the_end, concatenate, write_readable
from dwp.files import write_csv
from dwp.plots.curves import curves
from dwp.plots.style import save
from dwp.study.program import program

_RESOURCES = Path(__file__).parents[1] / "resources"


@program
def main(
    *,
    runs: list[Path],
    paper: Path = _RESOURCES / "paper_features.csv",
    dataset: str,
    output: Path,
    summary: Path,
    figure: list[Path],
) -> None:
    numbers = at_the_end(concatenate(runs))
    write_csv(output, numbers)
    by, columns = ["init", "scale", "metric"], ["init", "scale", "value"]
    authors = read_authors([paper], columns, dataset=dataset)[columns]
    theirs = authors.rename(columns={"value": "authors"}).assign(metric="test_accuracy")
    summarised = summarise(numbers, ["domain", *by], over="seed").merge(theirs, "left", by)
    write_csv(summary, summarised)
    accuracy = summarised[summarised["metric"] == "test_accuracy"]
    write_readable(accuracy.drop(columns=["domain", "metric"]), output)
    save(curves(numbers, ["test_accuracy"], "scale", paper=authors), figure)


if __name__ == "__main__":
    main()
