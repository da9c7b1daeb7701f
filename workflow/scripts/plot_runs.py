"""Draw one metric of the few-shot nets: against the number of examples, or against steps."""

import argparse

from dwp.errors import one_line_errors
from dwp.evaluation.statistics import read_papers, read_runs
from dwp.plots.fewshot import fewshot
from dwp.plots.history import against_steps
from dwp.plots.style import save
from dwp.records import json_option


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--summary", required=True)
    parser.add_argument("--history", help="draw this against steps, not the summary against n")
    parser.add_argument("--vary", type=json_option("--vary"), default={}, help="values to compare")
    parser.add_argument(
        "--tune", type=json_option("--tune"), default={}, help="values chosen among"
    )
    parser.add_argument("--paper", nargs="*", help="the authors' numbers")
    parser.add_argument("--domain")
    parser.add_argument("--dataset", help="the authors' that is ours, or none")
    parser.add_argument("--n", type=int, help="training examples of the histories to draw")
    parser.add_argument("--metric", required=True)
    parser.add_argument("--outputs", nargs="+", required=True)
    arguments = parser.parse_args()
    vary, tune = arguments.vary, arguments.tune
    summary = read_runs(arguments.summary, {**vary, **tune}, ["mean", "interval"])
    if "chosen_by" in summary:
        summary = summary[summary["chosen_by"] == "validation"]
    if arguments.history:
        history = read_runs(arguments.history, {**vary, **tune})
        runs = ["domain", "prior", "init", *vary, "n", *tune]
        chosen = history[history["n"] == arguments.n].merge(summary[runs].drop_duplicates())
        figure = against_steps(chosen, arguments.metric, list(vary))
    else:
        paper = None
        if arguments.paper:
            ours = arguments.dataset, arguments.domain
            paper = read_papers(arguments.paper, *ours, list(vary))
        figure = fewshot(summary, arguments.metric, paper, list(vary))
    save(figure, arguments.outputs)


if __name__ == "__main__":
    main()
