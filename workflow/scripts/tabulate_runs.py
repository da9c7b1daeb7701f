"""Gather the metrics or the histories, or both, of all runs of a domain into tidy tables."""

import argparse
import itertools
import json

import pandas as pd

from dwp.errors import one_line_errors
from dwp.files import read_json
from dwp.plots.tables import to_csv


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", required=True, help="folder of a run, with {places}")
    parser.add_argument("--grid", type=json.loads, required=True, help="values of each place")
    parser.add_argument("--domain", required=True)
    parser.add_argument("--metrics", help="the table of metrics.json")
    parser.add_argument("--history", help="the table of history.csv")
    arguments = parser.parse_args()

    metrics, histories = [], []
    for values in itertools.product(*arguments.grid.values()):
        run = {"domain": arguments.domain, **dict(zip(arguments.grid, values, strict=True))}
        folder = arguments.runs.format(**run)
        if arguments.metrics:
            content = read_json(f"{folder}/metrics.json")
            metrics += [{**run, "metric": name, "value": value} for name, value in content.items()]
        if arguments.history:
            histories.append(pd.read_csv(f"{folder}/history.csv").assign(**run))
    if arguments.metrics:
        to_csv(pd.DataFrame(metrics), arguments.metrics)
    if arguments.history:
        to_csv(pd.concat(histories), arguments.history)


if __name__ == "__main__":
    main()
