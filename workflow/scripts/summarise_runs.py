"""Summarise the runs of a domain over splits, test them, and hold them against the paper."""

import argparse

import pandas as pd

from dwp.errors import one_line_errors
from dwp.evaluation.statistics import compare_with_paper, paired_tests, read_paper, summarise
from dwp.plots.tables import to_csv, to_markdown

_REPORTED = ("ensemble_accuracy", "ensemble_nll", "ensemble_ece", "ensemble_ood_auroc")


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", required=True)
    parser.add_argument("--paper", required=True)
    parser.add_argument("--reference", required=True, help="the prior to test against")
    parser.add_argument("--summary", required=True)
    parser.add_argument("--tests", required=True)
    parser.add_argument("--comparison", required=True, help="CSV; a .md is written beside it")
    parser.add_argument("--table", required=True, help="the main metrics as Markdown")
    arguments = parser.parse_args()

    runs = pd.read_csv(arguments.runs)
    summary = summarise(runs, ["domain", "prior", "init", "n", "metric"])
    to_csv(summary, arguments.summary)
    to_csv(paired_tests(runs, arguments.reference), arguments.tests)

    paper = read_paper(arguments.paper)
    accuracy = summary[summary["metric"] == "ensemble_accuracy"]
    comparison = pd.concat(
        [
            compare_with_paper(rows, paper).assign(init=init)
            for init, rows in accuracy.groupby("init")
        ]
    )
    to_csv(comparison, arguments.comparison)
    to_markdown(comparison, arguments.comparison.removesuffix(".csv") + ".md")

    main_rows = summary[summary["metric"].isin(_REPORTED)]
    wide = main_rows.pivot(
        index=["n", "init", "prior"], columns="metric", values=["mean", "interval"]
    )
    wide = wide.reindex(columns=[(part, m) for m in _REPORTED for part in ("mean", "interval")])
    wide.columns = [m if part == "mean" else f"+- ({m})" for part, m in wide.columns]
    to_markdown(wide.reset_index(), arguments.table)


if __name__ == "__main__":
    main()
