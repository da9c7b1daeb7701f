"""Summarise the runs of a domain over splits, test them, and hold them against the paper."""

import argparse

import pandas as pd

from dwp.errors import one_line_errors
from dwp.evaluation.statistics import (
    authors_at,
    compare_with_paper,
    paired_tests,
    read_chosen,
    read_papers,
    summarise,
    with_holm,
)
from dwp.files import write_csv
from dwp.plots.tables import to_be_read
from dwp.records import json_option

_REPORTED = ("ensemble_accuracy", "ensemble_nll", "ensemble_ece", "ensemble_ood_auroc")


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
    parser.add_argument("--paper", nargs="+", required=True)
    parser.add_argument("--domain", required=True)
    parser.add_argument("--dataset", required=True, help="the authors' that is ours, or none")
    parser.add_argument("--reference", required=True, help="the prior to test against")
    parser.add_argument("--summary", required=True)
    parser.add_argument("--tests", required=True)
    parser.add_argument("--comparison", required=True, help="CSV; a .md and a .html go beside it")
    parser.add_argument(
        "--table", required=True, help="the main metrics as Markdown; a .html goes beside it"
    )
    arguments = parser.parse_args()

    vary, tune = arguments.vary, arguments.tune
    runs = read_chosen(arguments.runs, vary, tune, arguments.tune_by)
    paper = read_papers(arguments.paper, arguments.dataset, arguments.domain, list(vary))
    by = ["domain", "prior", "init", *vary, "n", *["chosen_by"] * bool(tune), "metric"]
    summary = summarise(runs, [*by[:-1], *tune, "metric"])

    references = {name: values[0] for name, values in vary.items()}
    compared = [{"prior": arguments.reference}, *({name: references[name]} for name in vary)]
    if len(vary) > 1:
        compared.append(references)  # all of them at once
    tests = [
        paired_tests(runs, reference, [name for name in by if name not in reference])
        for reference in compared
    ]
    write_csv(arguments.summary, summary)
    write_csv(arguments.tests, with_holm(pd.concat(tests)))

    accuracy = summary[summary["metric"] == "ensemble_accuracy"]
    apart = [name for name in by if name not in ("domain", "prior", "n", "metric")]
    places = [
        (dict(zip(apart, key, strict=True)), rows)
        for key, rows in accuracy.groupby(apart, observed=True)
    ]
    comparison = pd.concat(
        [
            compare_with_paper(rows, authors_at(paper, place)).assign(**place)
            for place, rows in places
        ]
    )
    write_csv(arguments.comparison, comparison)
    to_be_read(comparison, arguments.comparison)

    main_rows = summary[summary["metric"].isin(_REPORTED)]
    wide = main_rows.pivot(
        index=["n", *apart, "prior", *tune], columns="metric", values=["mean", "interval"]
    )
    wide = wide.reindex(columns=[(part, m) for m in _REPORTED for part in ("mean", "interval")])
    wide.columns = [m if part == "mean" else f"+- ({m})" for part, m in wide.columns]
    to_be_read(wide.reset_index(), arguments.table)


if __name__ == "__main__":
    main()
