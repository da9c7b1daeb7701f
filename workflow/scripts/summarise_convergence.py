"""Tell after how many steps each initialisation reaches some levels, and the authors' steps."""

import argparse

from dwp.errors import one_line_errors
from dwp.evaluation.seeds import read_authors, steps_to_levels
from dwp.evaluation.statistics import read_table
from dwp.files import write_csv
from dwp.plots.tables import to_be_read


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--history", required=True)
    parser.add_argument("--paper", required=True)
    parser.add_argument("--dataset", required=True, help="the authors' that is ours, or none")
    parser.add_argument("--experiment", required=True, help="what the authors' numbers call it")
    parser.add_argument("--levels", type=float, nargs="+", required=True)
    parser.add_argument("--output", required=True, help="CSV; a .md and a .html go beside it")
    arguments = parser.parse_args()

    levels = arguments.levels
    paper = read_authors(arguments.paper, arguments.dataset, "step", arguments.experiment)
    theirs = steps_to_levels(paper.assign(seed=0), levels).rename(columns={"steps": "authors"})
    history = read_table(arguments.history, ["init", "seed"], ["step", "value"])
    ours = steps_to_levels(history, levels)
    table = ours.merge(theirs[["init", "level", "authors"]], "left", ["init", "level"])
    write_csv(arguments.output, table)
    to_be_read(table, arguments.output)


if __name__ == "__main__":
    main()
