"""Draw a metric of several initialisations against steps or the number of filters."""

import argparse

from dwp.errors import one_line_errors
from dwp.evaluation.seeds import read_authors
from dwp.evaluation.statistics import read_table
from dwp.plots.curves import curves
from dwp.plots.style import save


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", required=True)
    parser.add_argument("--paper", required=True)
    parser.add_argument("--dataset", required=True, help="the authors' that is ours, or none")
    parser.add_argument("--experiment", help="what the authors' numbers call it")
    parser.add_argument("--metric", required=True)
    parser.add_argument("--against", choices=("scale", "step"), required=True)
    parser.add_argument("--outputs", nargs="+", required=True)
    arguments = parser.parse_args()
    x = arguments.against
    paper = read_authors(arguments.paper, arguments.dataset, x, arguments.experiment)
    runs = read_table(arguments.runs, ["domain", "init", x, "seed", "metric"], ["value"])
    figure = curves(runs, arguments.metric, x, paper)
    save(figure, arguments.outputs)


if __name__ == "__main__":
    main()
