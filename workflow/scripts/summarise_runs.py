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
from dwp.evaluation.statistics import keep_chosen, paired_tests, summarise, with_holm
from dwp.evaluation.tables import read_runs, with_interval, write_readable
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
    chosen = keep_chosen(read_runs(runs, {**vary, **tune}), list(tune), tune_by)
    by = ["domain", "prior", "init", *vary, "n", *["chosen_by"] * bool(tune), "metric"]
    summarised = summarise(chosen, [*by[:-1], *tune, "metric"])
    write_csv(summary, summarised)

    first = {name: values[0] for name, values in vary.items()}
    references = [{"prior": reference}, *({name: value} for name, value in first.items())]
    references += [first] * (len(vary) > 1)  # all of them at once
    tested = [paired_tests(chosen, each, [k for k in by if k not in each]) for each in references]
    write_csv(tests, with_holm(pd.concat(tested)))

    columns = "prior", "num_examples", "accuracy"
    authors = read_authors(paper, columns, list(vary), dataset=dataset).assign(dataset=domain)
    variant = [name for name in by if name not in ("domain", "prior", "n", "metric")]
    accuracy = summarised[summarised["metric"] == "ensemble_accuracy"]
    compared = pd.concat(
        compare_with_paper(rows, authors_at(authors, rows.iloc[0])).assign(**rows.iloc[0][variant])
        for _, rows in accuracy.groupby(variant, observed=True)
    )
    write_csv(comparison, compared)
    write_readable(compared, comparison)

    shown = summarised[summarised["metric"].isin(_REPORTED)]
    shown = shown.assign(cell=with_interval(shown))
    wide = shown.pivot(index=["n", *variant, "prior", *tune], columns="metric", values="cell")
    write_readable(wide.reindex(columns=_REPORTED).reset_index(), table)


if __name__ == "__main__":
    main()
