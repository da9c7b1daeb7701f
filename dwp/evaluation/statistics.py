"""Statistics over data splits or seeds: intervals, choices of tuned settings, tests.

Tables are tidy tables of runs (`dwp.evaluation.tables`). Where splits are the unit of replication,
the seeds of one split share its data, so they are averaged first.
"""

import os
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from dwp.errors import UserError
from dwp.evaluation.tables import read_runs

_CONFIDENCE = 0.95
_ROUNDING = 1e-12
_GROUPS = {"dropna": False, "observed": True}


def unit_means(runs: pd.DataFrame, by: Sequence[str], over: str = "split") -> pd.DataFrame:
    """Return the mean `value` of each unit of replication: the columns `by`, `over`, `value`."""
    groups = runs.groupby([*by, over], **_GROUPS)["value"]
    return groups.mean(skipna=False).reset_index()


def spread(runs: pd.DataFrame, by: Sequence[str], over: str = "split") -> pd.DataFrame:
    """Return mean and standard deviation over data splits, or over seeds.

    Args:
        runs: a tidy table with the columns `by`, `over` and `value`; NaN (a failed run) makes its
            group's numbers NaN.
        by: columns whose combinations make the groups.
        over: the unit of replication, "split" or "seed".

    Returns:
        One row per group, in order of `by`: the columns `by`, `mean`, `splits` or `seeds` (how
        many) and `std` (sample standard deviation; NaN for one).
    """
    groups = unit_means(runs, by, over).groupby(list(by), **_GROUPS)["value"]
    numbers = {
        "mean": groups.mean(skipna=False),
        f"{over}s": groups.size(),
        "std": groups.std(skipna=False),
    }
    return pd.DataFrame(numbers).reset_index()


def summarise(runs: pd.DataFrame, by: Sequence[str], over: str = "split") -> pd.DataFrame:
    """Return mean and spread over data splits, or over seeds.

    Args:
        runs: see `spread`.
        by: see `spread`.
        over: see `spread`.

    Returns:
        The table of `spread` with the column `interval`: half width of the 95 % Student-t
        interval of the mean, NaN for one split.
    """
    from scipy.special import stdtrit  # figures need no interval and start sooner without scipy

    table = spread(runs, by, over)
    units = table[f"{over}s"]
    quantile = stdtrit(units - 1, (1 + _CONFIDENCE) / 2)
    return table.assign(interval=quantile * table["std"] / np.sqrt(units))


def choose(
    runs: pd.DataFrame, by: Sequence[str], tuned: Sequence[str], metric: str
) -> pd.DataFrame:
    """Choose the values of tuned settings whose runs have the best mean over splits of a metric.

    The best is the largest accuracy, the smallest of anything else; of equal ones the first in
    order of the values; one with a failed run (NaN) only where all have one.

    Args:
        runs: a tidy table of runs.
        by: columns; each combination of them gets its own choice.
        tuned: columns of the settings to choose.
        metric: its name in the column `metric`.

    Returns:
        One row per combination of `by`: the columns `by` and `tuned`.
    """
    table = spread(runs[runs["metric"] == metric], [*by, *tuned])
    ranked = table.sort_values("mean", ascending=not metric.endswith("accuracy"), kind="stable")
    return ranked.drop_duplicates(list(by))[[*by, *tuned]].sort_index().reset_index(drop=True)


def keep_chosen(
    runs: pd.DataFrame, by: Sequence[str], tuned: Sequence[str], metric: str
) -> pd.DataFrame:
    """Keep the runs with the chosen values of tuned settings, once for each way to choose.

    Args:
        runs: a tidy table of runs.
        by: see `choose`.
        tuned: see `choose`.
        metric: `validation_accuracy` or `validation_nll`.

    Returns:
        The kept runs, with the column `chosen_by`: "validation", chosen by `metric`; "test",
        chosen by the same metric of the ensemble on the test images that the runs are then
        reported on, as the authors did: too good by as much as choosing gains.
    """
    ways = {"validation": metric, "test": metric.replace("validation", "ensemble")}
    kept = pd.concat(
        [
            runs.merge(choose(runs, by, tuned, which), on=[*by, *tuned]).assign(chosen_by=way)
            for way, which in ways.items()
        ],
        ignore_index=True,
    )
    return kept.astype({"chosen_by": pd.CategoricalDtype(list(ways), ordered=True)})


def read_chosen(
    path: str | os.PathLike,
    vary: Mapping[str, Sequence[str]],
    tune: Mapping[str, Sequence[str]],
    metric: str,
) -> pd.DataFrame:
    """Read a table of runs; keep the values of tuned settings that each prior, init, n chose.

    Args:
        path: the CSV file.
        vary: values of the varied settings, as text; each combination has its own choice.
        tune: values of the tuned settings; without any all runs are kept, without `chosen_by`.
        metric: see `keep_chosen`.
    """
    runs = read_runs(path, {**vary, **tune})
    if not tune:
        return runs
    return keep_chosen(runs, ["domain", "prior", "init", *vary, "n"], list(tune), metric)


def paired_tests(
    runs: pd.DataFrame,
    reference: Mapping[str, str],
    match: Sequence[str] = ("domain", "init", "n", "metric"),
) -> pd.DataFrame:
    """Test each method against the reference, over the splits that both have (paired t-test).

    Args:
        runs: a tidy table of runs.
        reference: the columns that distinguish methods, with the reference's values: the prior
            in `{"prior": "dwp"}`.
        match: columns that must agree for two runs to be compared.

    Returns:
        One row per method and combination of `match` that shares a split with the reference:
        the columns `match`, those of `reference`, `compared` (their names), `reference` (its
        values), `splits` (matched ones), `difference` (mean of method minus reference),
        `interval` (half width of its 95 % interval) and `p` (two-sided, not corrected for
        multiple tests: see `with_holm`). `interval` and `p` are NaN for one split, and where
        the difference is the same in all.

    Raises:
        UserError: no run has the reference method.
    """
    from scipy.special import stdtr

    method = [*match, *reference]
    names, values = ", ".join(reference), ", ".join(reference.values())
    means = unit_means(runs, method)
    is_reference = (means[list(reference)] == pd.Series(reference)).all(axis=1)
    if not is_reference.any():
        raise UserError(f"no run has the {names} '{values}'")
    pairs = means[~is_reference].merge(
        means[is_reference].drop(columns=list(reference)),
        on=[*match, "split"],
        suffixes=("", "_reference"),
    )
    size = pairs["value"].abs().groupby([pairs[name] for name in method], **_GROUPS).max()
    table = summarise(pairs.assign(value=pairs["value"] - pairs["value_reference"]), method)
    # equal differences, but for rounding, have no spread to hold their mean against
    table["interval"] = table["interval"].where(table["std"] > _ROUNDING * size.to_numpy())
    error = (table["std"] / np.sqrt(table["splits"])).where(table["interval"].notna())
    table["p"] = 2 * stdtr(table["splits"] - 1, -abs(table["mean"] / error))
    table = table.assign(compared=names, reference=values).rename(columns={"mean": "difference"})
    numbers = ["splits", "difference", "interval", "p"]
    return table[[*method, "compared", "reference", *numbers]]


def with_holm(tests: pd.DataFrame) -> pd.DataFrame:
    """Add the column `p_holm` to paired tests: p corrected for multiple tests.

    The tests that are corrected together are those of one metric, of one comparison and, after
    tuning, of one way to choose.
    """
    tests = tests.reset_index(drop=True)
    family = ["metric", "compared", *(["chosen_by"] if "chosen_by" in tests else [])]
    return tests.assign(p_holm=tests.groupby(family, observed=True)["p"].transform(holm))


def holm(p: pd.Series) -> pd.Series:
    """Correct p-values by Holm's step-down method (1979); NaN stays and does not count.

    The chance of one false rejection or more among all tests is then at most the level, whatever
    their dependence. (`scipy.stats.false_discovery_control` bounds the share of false ones
    instead.)

    Args:
        p: p-values with distinct index labels.
    """
    ordered = p.dropna().sort_values()
    corrected = ordered * np.arange(len(ordered), 0, -1)
    return corrected.cummax().clip(upper=1.0).reindex(p.index)


def steps_to_levels(history: pd.DataFrame, levels: Sequence[float]) -> pd.DataFrame:
    """Return the first evaluation step at which each curve is at or above each level.

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
            rows.append((init, level, runs["seed"].nunique(), len(firsts), firsts.mean()))
    return pd.DataFrame(rows, columns=["init", "level", "seeds", "reached", "steps"])
