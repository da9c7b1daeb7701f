"""Draw the few-shot nets: metrics against the number of examples, and against steps.

Args:
    summary: CSV of the summarised runs
    history: CSV of the histories, for figures against steps
    vary: values of the varied settings
    tune: values of the tuned settings
    paper: CSV files of the authors' numbers
    dataset: the authors' name of our data set, or none
    outputs: figures, named fewshot_METRIC or steps_METRIC_nN
"""

from pathlib import Path

from dwp.evaluation.paper import read_authors
from dwp.evaluation.tables import read_runs
from dwp.plots.curves import curves, fewshot
from dwp.plots.style import save
from dwp.study.program import program


@program
def main(
    *,
    summary: Path,
    history: Path | None = None,
    vary: dict[str, list[str]],
    tune: dict[str, list[str]],
    paper: list[Path] | None = None,
    dataset: str = "none",
    outputs: list[Path],
) -> None:
    summarised = read_runs(summary, {**vary, **tune}, ["mean", "interval"])
    if tune:
        summarised = summarised[summarised["chosen_by"] == "validation"]
    columns = "prior", "num_examples", "accuracy"
    authors = read_authors(paper, columns, list(vary), dataset=dataset) if paper else None
    for name in dict.fromkeys(path.stem for path in outputs):
        kind, metric = name.split("_", 1)
        if kind == "fewshot":
            figure = fewshot(summarised, f"ensemble_{metric}", authors, list(vary))
        else:
            metric, n = metric.rsplit("_n", 1)
            runs = read_runs(history, {**vary, **tune})
            run = ["domain", "prior", "init", *vary, "n", *tune]
            runs = runs[runs["n"] == int(n)].merge(summarised[run].drop_duplicates())
            shown = {"by": "prior", "over": "split", "panels": [*vary, "init"]}
            figure = curves(runs, [f"validation_{metric}"], "step", **shown)
        save(figure, [path for path in outputs if path.stem == name])


if __name__ == "__main__":
    main()
