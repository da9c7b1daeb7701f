"""Draw initialisation crossed with prior: accuracy, NLL and ECE of every cell."""

import argparse
import json

from dwp.errors import one_line_errors
from dwp.evaluation.statistics import read_runs
from dwp.plots.factorial import factorial_figure
from dwp.plots.style import save


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", required=True)
    parser.add_argument("--vary", type=json.loads, required=True, help="values to compare")
    parser.add_argument("--outputs", nargs="+", required=True)
    arguments = parser.parse_args()

    cells = read_runs(arguments.cells, arguments.vary)
    if "chosen_by" in cells:
        cells = cells[cells["chosen_by"] == "validation"]
    save(factorial_figure(cells, list(arguments.vary)), arguments.outputs)


if __name__ == "__main__":
    main()
