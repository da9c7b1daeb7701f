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

import re
from pathlib import Path

from dwp.errors import UserError
from dwp.evaluation.paper import read_authors
from dwp.evaluation.tables import read_runs
from dwp.plots.curves import against_steps
from dwp.plots.fewshot import fewshot
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
    domain: str | None = None,
    dataset: str = "none",
    outputs: list[Path],
) -> None:
    summarised = read_runs(summary, {**vary, **tune}, ["mean", "interval"])
    if tune:
        summarised = summarised[summarised["chosen_by"] == "validation"]
    columns = "prior", "num_examples", "accuracy"
    authors = read_authors(paper, columns, list(vary), dataset=dataset) if paper else None
    histories = read_runs(history, {**vary, **tune}) if history else None
    for name in dict.fromkeys(path.stem for path in outputs):
        if found := re.fullmatch("fewshot_(.+)", name):
            theirs = None if authors is None else authors.assign(dataset=domain)
            figure = fewshot(summarised, f"ensemble_{found[1]}", theirs, list(vary))
        elif (found := re.fullmatch("steps_(.+)_n([0-9]+)", name)) and histories is not None:
            run = ["domain", "prior", "init", *vary, "n", *tune]
            chosen = histories[histories["n"] == int(found[2])]
            chosen = chosen.merge(summarised[run].drop_duplicates())
            figure = against_steps(chosen, f"validation_{found[1]}", list(vary))
        else:
            raise UserError(f"{name}: expected fewshot_METRIC, or steps_METRIC_nN with a history")
        save(figure, [path for path in outputs if path.stem == name])


if __name__ == "__main__":
    main()
