"""Tabulate initialisation crossed with prior: the cells, their tests, and what each is worth."""

import argparse

from dwp.errors import one_line_errors
from dwp.evaluation.factorial import METRICS, effects, factorial
from dwp.evaluation.statistics import read_chosen
from dwp.files import write_csv
from dwp.plots.factorial import effects_text, factorial_text
from dwp.plots.tables import to_be_read
from dwp.records import json_option


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", required=True)
    parser.add_argument(
        "--vary", type=json_option("--vary"), required=True, help="values to compare"
    )
    parser.add_argument(
        "--tune", type=json_option("--tune"), required=True, help="values to choose among"
    )
    parser.add_argument("--tune-by", required=True, help="validation metric to choose by")
    parser.add_argument("--full", type=json_option("--full"), required=True, help="prior and init")
    parser.add_argument(
        "--reference", type=json_option("--reference"), required=True, help="prior and init"
    )
    parser.add_argument("--cells", required=True, help="CSV; a .md and a .html go beside it")
    parser.add_argument("--effects", required=True, help="CSV; a .md and a .html go beside it")
    arguments = parser.parse_args()

    vary, tune = arguments.vary, arguments.tune
    runs = read_chosen(arguments.runs, vary, tune, arguments.tune_by)
    by = [*vary, "n", *["chosen_by"] * bool(tune)]
    runs = runs[runs["metric"].isin(METRICS)]
    cells = factorial(runs, arguments.reference, ["domain", *by, "metric"])
    parts = effects(runs, arguments.full, arguments.reference, ["domain", *by, "metric"])
    for table, text, path in (
        (cells, factorial_text(cells, by), arguments.cells),
        (parts, effects_text(parts, by), arguments.effects),
    ):
        write_csv(path, table)
        to_be_read(text, path)


if __name__ == "__main__":
    main()
