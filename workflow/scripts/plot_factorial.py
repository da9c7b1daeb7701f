"""Draw initialisation crossed with prior: accuracy, NLL and ECE of every cell."""

import argparse

from dwp.errors import one_line_errors
from dwp.evaluation.statistics import read_runs
from dwp.plots.factorial import factorial_figure
from dwp.plots.style import save
from dwp.records import json_option


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", required=True)
    parser.add_argument(
        "--vary", type=json_option("--vary"), required=True, help="values to compare"
    )
    parser.add_argument("--outputs", nargs="+", required=True)
    arguments = parser.parse_args()

    cells = read_runs(arguments.cells, arguments.vary, ("mean", "interval"))
    if "chosen_by" in cells:
        cells = cells[cells["chosen_by"] == "validation"]
    save(factorial_figure(cells, list(arguments.vary)), arguments.outputs)


if __name__ == "__main__":
    main()
