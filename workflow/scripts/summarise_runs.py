"""Tabulate the runs of a domain, summarise them over splits, test them, and compare them.

Args:
    runs: CSV files with a row a run, step and metric
    comparison: what to compare
    paper: CSV files of the authors' numbers
    output: CSV of all runs to write; other tables have its name and `_history`, `_summary`,
        `_tests` and `_paper`; the main metrics stand in its .md and .html
    accuracy: files of the figure of accuracies against n
    nll: files of the figure of NLLs
"""

from pathlib import Path

import pandas as pd

from dwp.evaluation.comparison import Comparison
from dwp.evaluation.paper import authors_at, compare_with_paper, read_authors
from dwp.evaluation.statistics import keep_chosen, paired_tests, summarise, with_holm
from dwp.evaluation.tables import at_the_end, concatenate, read_runs, with_interval, write_readable
from dwp.files import write_csv
from dwp.plots.curves import fewshot
from dwp.plots.style import save
from dwp.study.program import program

_RESOURCES = Path(__file__).parents[1] / "resources"
_PAPER = [_RESOURCES / f"paper_{name}.csv" for name in ("classification", "shapes")]
_REPORTED = ("ensemble_accuracy", "ensemble_nll", "ensemble_ece", "ensemble_ood_auroc")


@program
def main(
    *,
    runs: list[Path],
    comparison: Comparison,
    paper: list[Path] = _PAPER,
    output: Path,
    accuracy: list[Path],
    nll: list[Path],
) -> None:
    vary, tune, chosen_by = comparison.vary, comparison.tune, comparison.chosen_by
    names = ("history", "summary", "tests", "paper")
    files = {name: output.with_stem(f"{output.stem}_{name}") for name in names}
    rows = concatenate(runs, comparison.variants)
    write_csv(output, at_the_end(rows))
    write_csv(files["history"], rows.dropna(subset="step"))

    chosen = keep_chosen(read_runs(output, comparison.listed), list(tune), comparison.tune_by)
    by = ["domain", "prior", "init", *vary, "n", *chosen_by, "metric"]
    summarised = summarise(chosen, [*by[:-1], *tune, "metric"])
    write_csv(files["summary"], summarised)

    first = {name: values[0] for name, values in vary.items()}
    references = [{"prior": comparison.prior}, *({k: v} for k, v in first.items())]
    references += [first] * (len(vary) > 1)  # all of them at once
    tested = [paired_tests(chosen, each, [k for k in by if k not in each]) for each in references]
    write_csv(files["tests"], with_holm(pd.concat(tested)))

    columns = "prior", "num_examples", "accuracy"
    authors = read_authors(paper, columns, list(vary), dataset=comparison.dataset)
    ours = authors.assign(dataset=comparison.domain)
    variant = ["init", *vary, *chosen_by]
    means = summarised[summarised["metric"] == "ensemble_accuracy"]
    compared = pd.concat(
        compare_with_paper(rows, authors_at(ours, rows.iloc[0])).assign(**rows.iloc[0][variant])
        for _, rows in means.groupby(variant, observed=True)
    )
    write_csv(files["paper"], compared)
    write_readable(compared, files["paper"])

    shown = summarised[summarised["metric"].isin(_REPORTED)]
    shown = shown.assign(cell=with_interval(shown))
    wide = shown.pivot(index=["n", *variant, "prior", *tune], columns="metric", values="cell")
    write_readable(wide.reindex(columns=_REPORTED).reset_index(), output)

    drawn = read_runs(files["summary"], comparison.listed, ["mean", "interval"])
    if tune:
        drawn = drawn[drawn["chosen_by"] == "validation"]
    for metric, paths in (("accuracy", accuracy), ("nll", nll)):
        save(fewshot(drawn, f"ensemble_{metric}", authors, list(vary)), paths)


if __name__ == "__main__":
    main()
