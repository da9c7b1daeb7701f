"""Gather the metrics or the histories, or both, of all runs of a domain into tidy tables.

What the last look at the validation images saw is a metric too, where both are gathered.
"""

import argparse
import itertools

import pandas as pd

from dwp.errors import one_line_errors
from dwp.evaluation.statistics import read_table
from dwp.files import read_json, write_csv
from dwp.records import json_option
from dwp.study.runs import run_folder


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", required=True, help="folder of a run, with {places}")
    parser.add_argument(
        "--grid", type=json_option("--grid"), required=True, help="values of each place"
    )
    parser.add_argument(
        "--variants",
        type=json_option("--variants"),
        default={},
        help="of each prior: folder and listed values of each combination of them",
    )
    parser.add_argument("--domain", required=True)
    parser.add_argument("--metrics", help="the table of metrics.json")
    parser.add_argument("--history", help="the table of history.csv")
    arguments = parser.parse_args()

    metrics, histories = [], []
    for values in itertools.product(*arguments.grid.values()):
        run = {"domain": arguments.domain, **dict(zip(arguments.grid, values, strict=True))}
        for variant, listed in arguments.variants.get(run.get("prior"), [("", {})]):
            folder = run_folder(arguments.runs, {"variant": variant, **run})
            row, content = {**run, **listed}, {}
            if arguments.history:
                history = read_table(f"{folder}/history.csv", ["metric"], ["step", "value"])
                histories.append(history.assign(**row))
                looks = history[history["metric"].str.startswith("validation_")]
                content = dict(looks[["metric", "value"]].itertuples(index=False))  # the last wins
            if arguments.metrics:
                content |= read_json(f"{folder}/metrics.json")
                metrics += [{**row, "metric": name, "value": v} for name, v in content.items()]
    if arguments.metrics:
        write_csv(arguments.metrics, pd.DataFrame(metrics))
    if arguments.history:
        write_csv(arguments.history, pd.concat(histories))


if __name__ == "__main__":
    main()
