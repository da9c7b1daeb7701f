"""Draw the KL of a posterior from the priors of one layer against the posterior's width."""

import argparse

from dwp.errors import one_line_errors
from dwp.evaluation.statistics import read_table
from dwp.plots.kl import kl_against_width
from dwp.plots.style import save


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", required=True)
    parser.add_argument("--outputs", nargs="+", required=True)
    arguments = parser.parse_args()
    table = read_table(arguments.table, ["prior", "w"], ["deviation", "mean", "standard_error"])
    save(kl_against_width(table), arguments.outputs)


if __name__ == "__main__":
    main()
