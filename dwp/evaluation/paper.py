"""The authors' numbers, and ours compared with them."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dwp.evaluation.tables import read_table

_NOT_SETTINGS = ("dataset", "prior", "num_examples", "accuracy", "std", "seeds", "read")


def read_authors(
    paths: Iterable[str | os.PathLike],
    columns: Sequence[str],
    settings: Sequence[str] = (),
    **only: str,
) -> pd.DataFrame:
    """Read the authors' numbers.

    Args:
        paths: CSV files.
        columns: required columns; others are kept.
        settings: columns that are values of settings, as text, where a file has them.
        **only: the values of columns that rows must have to be kept, such as
            `dataset="mnist"`; of a data set that the authors do not have no row is left.

    Raises:
        UserError: a file is missing, is not CSV, or lacks a column.
    """
    tables = [read_table(path, [*only, *columns], texts=settings) for path in paths]
    paper = pd.concat(tables, ignore_index=True)
    return paper[(paper[list(only)] == pd.Series(only, dtype=object)).all(axis=1)]


def authors_at(paper: pd.DataFrame, run: Mapping[str, Any]) -> pd.DataFrame:
    """Return the authors' numbers that hold for an initialisation and values of settings.

    Args:
        paper: as `read_authors` returns it. A row holds for its `init` and for its value of each
            setting that it has a column of, and for all where it has none (NaN).
        run: the init and the values of settings, as text. A row with a value of a setting that is
            not among them is left out: it is unknown whether it is ours.
    """
    holds = pd.Series(True, paper.index)
    for name in paper.columns.difference(_NOT_SETTINGS):
        holds &= paper[name].isna() | (paper[name] == str(run.get(name)))
    return paper[holds]


def compare_with_paper(summary: pd.DataFrame, paper: pd.DataFrame) -> pd.DataFrame:
    """Compare our accuracies with the authors'.

    Args:
        summary: as `dwp.evaluation.statistics.summarise` returns it, of one metric and one `init`:
            the columns `domain`, `prior`, `n`, `mean`, `interval`.
        paper: from `read_authors` or `authors_at`; its `dataset` is our `domain`, its
            `num_examples` our `n`, its `std`, if any, the standard deviation over the authors'
            seeds or splits.

    Returns:
        One row per setting that both have, in the authors' order: `dataset`, `prior`,
        `num_examples`, `authors`, `authors_std` (if `paper` has a `std`), `ours`, `low` and `high`
        (our 95 % interval), `difference` (ours minus authors) and `agree`: "yes" where the
        authors' number lies inside our interval, "no", or "unknown" without an interval (one
        split). The authors' own uncertainty is not counted.

    Raises:
        ValueError: `summary` has several rows for one setting.
    """
    keys = ["dataset", "prior", "num_examples"]
    ours = summary.rename(columns={"domain": "dataset", "n": "num_examples", "mean": "ours"})
    theirs = paper.rename(columns={"accuracy": "authors", "std": "authors_std"})
    theirs = theirs.filter([*keys, "authors", "authors_std"])
    table = theirs.merge(ours[[*keys, "ours", "interval"]], on=keys, validate="many_to_one")
    table["low"] = table["ours"] - table["interval"]
    table["high"] = table["ours"] + table["interval"]
    table["difference"] = table["ours"] - table["authors"]
    inside = table["authors"].between(table["low"], table["high"])
    table["agree"] = np.select([table["interval"].isna(), inside], ["unknown", "yes"], "no")
    return table.drop(columns="interval")
