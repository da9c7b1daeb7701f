"""Summarise classifiers on random features over seeds, the authors' accuracies beside them."""

import argparse

from dwp.errors import one_line_errors
from dwp.evaluation.seeds import over_seeds, read_authors
from dwp.evaluation.statistics import read_table
from dwp.files import write_csv
from dwp.plots.tables import to_be_read


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", required=True)
    parser.add_argument("--paper", required=True)
    parser.add_argument("--dataset", required=True, help="the authors' that is ours, or none")
    parser.add_argument("--summary", required=True)
    parser.add_argument(
        "--table", required=True, help="the test accuracies as Markdown; a .html goes beside it"
    )
    arguments = parser.parse_args()

    groups = ["domain", "init", "scale", "metric"]
    summary = over_seeds(read_table(arguments.runs, [*groups, "seed"], ["value"]), groups)
    paper = read_authors(arguments.paper, arguments.dataset, "scale")
    paper = paper.rename(columns={"value": "authors"}).assign(metric="test_accuracy")
    summary = summary.merge(paper, "left", ["init", "scale", "metric"])
    write_csv(arguments.summary, summary)
    accuracy = summary[summary["metric"] == "test_accuracy"]
    to_be_read(accuracy.drop(columns=["domain", "metric"]), arguments.table)


if __name__ == "__main__":
    main()
