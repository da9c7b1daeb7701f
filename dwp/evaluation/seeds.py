"""Statistics over seeds, for experiments that see all data; and steps to a level."""

import os
from collections.abc import Sequence

import numpy as np
import pandas as pd

from dwp.evaluation.statistics import read_paper, summarise


def over_seeds(runs: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Mean and spread over seeds.

    Args:
        runs: a tidy table with the columns `by`, `seed` and `value`.
        by: columns whose combinations make the groups.

    Returns:
        As `dwp.evaluation.statistics.summarise`, with seeds as the unit of replication: the columns
        `by`, `mean`, `seeds` (how many), `std` and `interval` (half width of the 95 % interval).
    """
    table = summarise(runs.assign(split=runs["seed"]), by)
    return table.rename(columns={"splits": "seeds"})


def read_authors(
    path: str | os.PathLike, dataset: str, x: str, experiment: str | None = None
) -> pd.DataFrame:
    """Read the authors' curves of a data set: the columns `init`, `x` and `value`, perhaps no row.

    Args:
        path: a CSV file with the columns `dataset`, `init`, `value` and `x`.
        dataset: theirs; of another name there is none.
        x: "scale" or "step".
        experiment: their `experiment`, where the file has several.

    Raises:
        UserError: the file is missing, is not CSV, or lacks a column.
    """
    columns = ["init", x, "value"]
    paper = read_paper(path, ["dataset", *columns, *["experiment"] * (experiment is not None)])
    paper = paper[paper["dataset"] == dataset]
    if experiment is not None:
        paper = paper[paper["experiment"] == experiment]
    return paper[columns]


def steps_to_levels(history: pd.DataFrame, levels: Sequence[float]) -> pd.DataFrame:
    """Find the first look at which each curve is at or above each level.

    Args:
        history: the columns `init`, `seed`, `step`, `value`, of one metric that is better when
            greater.
        levels: values of the metric.

    Returns:
        One row per init and level: `init`, `level`, `seeds`, `reached` (how many of them reached
        the level) and `steps` (mean over those; NaN if none).
    """
    rows = []
    for init, runs in history.groupby("init"):
        for level in levels:
            firsts = runs[runs["value"] >= level].groupby("seed")["step"].min()
            steps = firsts.mean() if len(firsts) else np.nan
            rows.append((init, level, runs["seed"].nunique(), len(firsts), steps))
    return pd.DataFrame(rows, columns=["init", "level", "seeds", "reached", "steps"])
