"""Draw the validation metrics and the bound of few-shot nets against steps.

Args:
    summary: CSV of the summarised runs
    history: CSV of the histories
    comparison: what the runs are compared by
    n: number of training images
    accuracy: files of the figure of accuracies
    nll: files of the figure of NLLs
    variety: files of the figure of the share of kernels that differ, by layer
    bound: files of the figure of the negative ELBO of Bayesian nets; where no net is, of the loss
"""

from pathlib import Path

from dwp.evaluation.comparison import Comparison
from dwp.evaluation.tables import read_runs
from dwp.plots.curves import curves
from dwp.plots.style import save
from dwp.study.program import program


@program
def main(
    *,
    summary: Path,
    history: Path,
    comparison: Comparison,
    n: int,
    accuracy: list[Path],
    nll: list[Path],
    variety: list[Path],
    bound: list[Path],
) -> None:
    summarised = read_runs(summary, comparison.listed, ["mean"])
    if comparison.tune:
        summarised = summarised[summarised["chosen_by"] == "validation"]
    run = ["domain", "prior", "init", *comparison.vary, "n", *comparison.tune]
    runs = read_runs(history, comparison.listed)
    runs = runs[runs["n"] == n].merge(summarised[run].drop_duplicates())
    shown = {"by": "prior", "over": "split", "panels": [*comparison.vary, "init"]}
    layers = sorted({name for name in runs["metric"] if name.startswith("variety_")})
    bayesian = runs["prior"].isin(runs.loc[runs["metric"].str.startswith("kl_"), "prior"])
    loss = "negative_elbo" if bayesian.any() else "loss"  # of other nets it is no bound
    runs.loc[bayesian & (runs["metric"] == "loss"), "metric"] = loss
    figures = {"validation_accuracy": accuracy, "validation_nll": nll, loss: bound}
    for names, paths in [*(([k], v) for k, v in figures.items()), (layers, variety)]:
        save(curves(runs, names, "step", **shown), paths)


if __name__ == "__main__":
    main()
