"""Summarise the runs of a domain over splits, test them, and compare them with the paper.

Args:
    runs: CSV
    vary: values of the varied settings
    tune: values of the tuned settings
    tune_by: validation metric that chooses the tuned settings
    paper: CSV files of the authors' numbers
    dataset: the authors' name of our data set, or none
    reference: the prior to test against
    summary: CSV to write
    tests: CSV to write
    comparison: CSV to write, with a .md and a .html
    table: .md of the main metrics to write, with a .html
"""

from pathlib import Path

import pandas as pd

from dwp.evaluation.paper import authors_at, compare_with_paper, read_authors
from dwp.evaluation.statistics import paired_tests, read_chosen, summarise, with_holm
from dwp.evaluation.tables import write_readable
from dwp.files import write_csv
from dwp.study.program import program

_REPORTED = ("ensemble_accuracy", "ensemble_nll", "ensemble_ece", "ensemble_ood_auroc")


@program
def main(
    *,
    runs: Path,
    vary: dict[str, list[str]],
    tune: dict[str, list[str]],
    tune_by: str,
    paper: list[Path],
    domain: str,
    dataset: str,
    reference: str,
    summary: Path,
    tests: Path,
    comparison: Path,
    table: Path,
) -> None:
    chosen = read_chosen(runs, vary, tune, tune_by)
    by = ["domain", "prior", "init", *vary, "n", *["chosen_by"] * bool(tune), "metric"]
    summarised = summarise(chosen, [*by[:-1], *tune, "metric"])
    write_csv(summary, summarised)

    first = {name: values[0] for name, values in vary.items()}
    references = [{"prior": reference}, *({name: value} for name, value in first.items())]
    references += [first] * (len(vary) > 1)  # all of them at once
    tested = [paired_tests(chosen, each, [k for k in by if k not in each]) for each in references]
    write_csv(tests, with_holm(pd.concat(tested)))

    authors = read_authors(
        paper, ("prior", "num_examples", "accuracy"), list(vary), dataset=dataset
    )
    authors = authors.assign(dataset=domain)
    variant = [name for name in by if name not in ("domain", "prior", "n", "metric")]
    compared = []
    accuracy = summarised[summarised["metric"] == "ensemble_accuracy"]
    for values, rows in accuracy.groupby(variant, observed=True):
        run = dict(zip(variant, values, strict=True))
        compared.append(compare_with_paper(rows, authors_at(authors, run)).assign(**run))
    write_csv(comparison, pd.concat(compared))
    write_readable(pd.concat(compared), comparison)

    wide = summarised[summarised["metric"].isin(_REPORTED)].pivot(
        index=["n", *variant, "prior", *tune], columns="metric", values=["mean", "interval"]
    )
    wide = wide.reindex(columns=[(part, m) for m in _REPORTED for part in ("mean", "interval")])
    wide.columns = [m if part == "mean" else f"+- ({m})" for part, m in wide.columns]
    write_readable(wide.reset_index(), table)


if __name__ == "__main__":
    main()
