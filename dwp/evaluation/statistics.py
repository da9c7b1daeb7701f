"""Statistics over data splits, and the comparison with the authors' numbers.

A tidy table of runs has one row per measured number: `domain`, `prior` (the method's name),
`init`, `n` (training examples), `split`, `seed`, `metric` (its name) and `value`. Splits are the
unit of replication: seeds of one split share its data, so they are averaged first.
"""

import os
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from dwp.errors import UserError

CONFIDENCE = 0.95
_PAPER_COLUMNS = ("dataset", "prior", "num_examples", "accuracy")


def summarise(runs: pd.DataFrame, by: Sequence[str], value: str = "value") -> pd.DataFrame:
    """Mean and spread over data splits.

    Args:
        runs: a tidy table with the columns `by`, `split` and `value`.
        by: columns whose combinations make the groups.
        value: column to summarise. NaN (a failed run) makes its group's numbers NaN.

    Returns:
        One row per group, in order of `by`: the columns `by`, `mean`, `splits` (how many), `std`
        (sample standard deviation over splits) and `interval` (half width of the 95 % Student-t
        interval of the mean). `std` and `interval` are NaN for one split.
    """
    by = list(by)
    groups = _split_means(runs, by, value).groupby(by, dropna=False)[value]
    table = pd.DataFrame(
        {
            "mean": groups.mean(skipna=False),
            "splits": groups.size(),
            "std": groups.std(skipna=False),
        }
    )
    splits = table["splits"].to_numpy()
    quantile = np.full(len(splits), np.nan)
    several = splits > 1
    quantile[several] = stats.t.ppf((1 + CONFIDENCE) / 2, splits[several] - 1)
    table["interval"] = quantile * table["std"] / np.sqrt(splits)
    return table.reset_index()


def paired_tests(
    runs: pd.DataFrame,
    reference_method: str = "dwp",
    match: Sequence[str] = ("domain", "init", "n", "metric"),
    value: str = "value",
) -> pd.DataFrame:
    """Paired t-test of each method against the reference, over the splits that both have.

    Args:
        runs: a tidy table of runs.
        reference_method: name in the column `prior` that the others are compared with.
        match: columns that must agree for two runs to be compared.
        value: column to compare.

    Returns:
        One row per method and combination of `match` that shares a split with the reference:
        the columns `match`, `prior`, `reference`, `splits` (matched ones), `difference` (mean of
        method minus reference), `interval` (half width of its 95 % interval) and `p` (two-sided,
        not corrected for multiple tests). `interval` and `p` are NaN for one split.

    Raises:
        ValueError: no run has the reference method.
    """
    match = list(match)
    means = _split_means(runs, [*match, "prior"], value)
    is_reference = means["prior"] == reference_method
    if not is_reference.any():
        raise ValueError(f"no run has the prior '{reference_method}'")
    pairs = means[~is_reference].merge(
        means[is_reference].drop(columns="prior"),
        on=[*match, "split"],
        suffixes=("", "_reference"),
    )
    rows = []
    for key, group in pairs.groupby([*match, "prior"], dropna=False):
        ours, reference = group[value], group[f"{value}_reference"]
        interval = p = np.nan
        if len(group) > 1:
            test = stats.ttest_rel(ours, reference)
            limits = test.confidence_interval(CONFIDENCE)
            interval, p = (limits.high - limits.low) / 2, test.pvalue
        difference = (ours - reference).mean(skipna=False)
        rows.append((*key, reference_method, len(group), difference, interval, p))
    return pd.DataFrame(
        rows, columns=[*match, "prior", "reference", "splits", "difference", "interval", "p"]
    )


def read_paper(path: str | os.PathLike, columns: Sequence[str] = _PAPER_COLUMNS) -> pd.DataFrame:
    """Read the authors' numbers.

    Args:
        path: a CSV file.
        columns: that it must have, others are kept; without them those of the classification:
            `dataset`, `prior`, `num_examples` and `accuracy` (a fraction).

    Raises:
        UserError: the file is missing, is not CSV, or lacks a column.
    """
    try:
        paper = pd.read_csv(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: expected CSV, found {error}") from None
    missing = [column for column in columns if column not in paper]
    if missing:
        raise UserError(
            f"{path}: expected the columns {', '.join(columns)}; "
            f"missing {', '.join(missing)}; add them"
        )
    return paper


def compare_with_paper(summary: pd.DataFrame, paper: pd.DataFrame) -> pd.DataFrame:
    """Set our accuracies beside the authors'.

    Args:
        summary: from `summarise`, one metric and one `init`: the columns `domain`, `prior`, `n`,
            `mean`, `interval`.
        paper: from `read_paper`; its `dataset` is our `domain`, its `num_examples` our `n`.

    Returns:
        One row per setting that both have, in the authors' order: `dataset`, `prior`,
        `num_examples`, `ours`, `low` and `high` (our 95 % interval), `authors`, `difference`
        (ours minus authors) and `agree`: "yes" where the authors' number lies inside our
        interval, "no", or "unknown" without an interval (one split). The authors' own
        uncertainty is not counted.

    Raises:
        ValueError: `summary` has several rows for one setting.
    """
    keys = ["dataset", "prior", "num_examples"]
    ours = summary.rename(columns={"domain": "dataset", "n": "num_examples"})
    if ours.duplicated(keys).any():
        raise ValueError("summary: expected one row per domain, prior and n; keep one metric, init")
    both = paper[[*keys, "accuracy"]].merge(ours[[*keys, "mean", "interval"]], on=keys)
    table = both[keys].copy()
    table["ours"] = both["mean"]
    table["low"] = both["mean"] - both["interval"]
    table["high"] = both["mean"] + both["interval"]
    table["authors"] = both["accuracy"]
    table["difference"] = both["mean"] - both["accuracy"]
    inside = both["accuracy"].between(table["low"], table["high"])
    table["agree"] = np.where(both["interval"].isna(), "unknown", np.where(inside, "yes", "no"))
    return table


def _split_means(runs: pd.DataFrame, by: list[str], value: str) -> pd.DataFrame:
    """Average the seeds of each split: the columns `by`, `split` and `value`."""
    return runs.groupby([*by, "split"], dropna=False)[value].mean(skipna=False).reset_index()
