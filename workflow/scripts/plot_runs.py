"""Draw one metric of the few-shot nets: against the number of examples, or against steps."""

import argparse

import pandas as pd

from dwp.errors import one_line_errors
from dwp.evaluation.statistics import read_paper
from dwp.plots.fewshot import fewshot
from dwp.plots.history import against_steps
from dwp.plots.style import save


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--summary", help="draw against the number of examples")
    source.add_argument("--history", help="draw against steps")
    parser.add_argument("--paper", help="the authors' numbers")
    parser.add_argument("--n", type=int, help="training examples of the histories to draw")
    parser.add_argument("--metric", required=True)
    parser.add_argument("--outputs", nargs="+", required=True)
    arguments = parser.parse_args()
    if arguments.summary:
        paper = read_paper(arguments.paper) if arguments.paper else None
        figure = fewshot(pd.read_csv(arguments.summary), arguments.metric, paper)
    else:
        history = pd.read_csv(arguments.history)
        figure = against_steps(history[history["n"] == arguments.n], arguments.metric)
    save(figure, arguments.outputs)


if __name__ == "__main__":
    main()
