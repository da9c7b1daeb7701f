"""Statistics over data splits or seeds: intervals, choices of tuned settings, tests.

Tables are tidy tables of runs (`dwp.evaluation.tables`). Where splits are the unit of replication,
the seeds of one split share its data, so they are averaged first.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

from dwp.errors import UserError

_ROUNDING = 1e-12
_GROUPS = {"dropna": False, "observed": True}
_NOT_SETTINGS = ("split", "seed", "step", "metric", "value")


def unit_means(runs: pd.DataFrame, by: Sequence[str], over: str = "split") -> pd.DataFrame:
    """Return the mean `value` of each unit of replication: the columns `by`, `over`, `value`."""
    groups = runs.groupby([*by, over], **_GROUPS)["value"]
    return groups.mean(skipna=False).reset_index()


def summarise(runs: pd.DataFrame, by: Sequence[str], over: str = "split") -> pd.DataFrame:
    """Return mean and spread over data splits, or over seeds.

    Args:
        runs: a tidy table with the columns `by`, `over` and `value`; NaN (a failed run) makes its
            group's numbers NaN.
        by: columns whose combinations make the groups.
        over: the unit of replication, "split" or "seed".

    Returns:
        One row per group, in order of `by`: the columns `by`, `mean`, `splits` or `seeds` (how
        many), `std` (sample standard deviation) and `interval` (half width of the 95 % Student-t
        interval of the mean); the latter two are NaN for one.
    """
    groups = unit_means(runs, by, over).groupby(list(by), **_GROUPS)["value"]
    units, std = groups.size(), groups.std(skipna=False)
    interval = stdtrit(units - 1, 0.975) * std / np.sqrt(units)
    numbers = {"mean": groups.mean(skipna=False), f"{over}s": units, "std": std}
    return pd.DataFrame({**numbers, "interval": interval}).reset_index()


def keep_chosen(runs: pd.DataFrame, tuned: Sequence[str], metric: str) -> pd.DataFrame:
    """Keep the runs whose values of tuned settings have the best mean over splits of a metric.

    The best is the largest accuracy, the smallest of anything else; of equal ones the first in
    order of the values; one with a failed run (NaN) only where all have one. Each prior, init, n
    and value of a varied setting has its own choice, and the choice is made in two ways.

    Args:
        runs: a tidy table of runs.
        tuned: columns of the settings to choose; without any all runs are kept.
        metric: `validation_accuracy` or `validation_nll`.

    Returns:
        The kept runs, with the column `chosen_by` if any setting is tuned: "validation", chosen by
        `metric`; "test", chosen by the same metric of the ensemble on the test images that the runs
        are then reported on, as the authors did: too good by as much as choosing gains.
    """
    if not tuned:
        return runs
    by = [name for name in runs if name not in (*tuned, *_NOT_SETTINGS)]
    kept = []
    for way, which in ("validation", metric), ("test", metric.replace("validation", "ensemble")):
        table = summarise(runs[runs["metric"] == which], [*by, *tuned])
        table = table.sort_values("mean", ascending=not which.endswith("accuracy"), kind="stable")
        best = table.drop_duplicates(by)[[*by, *tuned]]
        kept.append(runs.merge(best, on=[*by, *tuned]).assign(chosen_by=way))
    order = pd.CategoricalDtype(["validation", "test"], ordered=True)
    return pd.concat(kept, ignore_index=True).astype({"chosen_by": order})


def paired_tests(
    runs: pd.DataFrame, reference: Mapping[str, str], match: Sequence[str]
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
    method = [*match, *reference]
    names, values = ", ".join(reference), ", ".join(reference.values())
    means = unit_means(runs, method)
    is_reference = (means[list(reference)] == pd.Series(reference)).all(axis=1)
    if not is_reference.any():
        raise UserError(f"no run has the {names} '{values}'")
    theirs = means[is_reference].drop(columns=list(reference))
    pairs = means[~is_reference].merge(theirs, on=[*match, "split"], suffixes=("", "_reference"))
    size = pairs.assign(value=pairs["value"].abs()).groupby(method, **_GROUPS)["value"].max()
    table = summarise(pairs.assign(value=pairs["value"] - pairs["value_reference"]), method)
    # equal differences, but for rounding, have no spread to hold their mean against
    std = table["std"].where(table["std"] > _ROUNDING * size.to_numpy())
    t = -abs(table["mean"]) / std * np.sqrt(table["splits"])
    table = table.assign(p=2 * stdtr(table["splits"] - 1, t), compared=names, reference=values)
    table["interval"] = table["interval"].where(std.notna())
    table = table.rename(columns={"mean": "difference"})
    return table[[*method, "compared", "reference", "splits", "difference", "interval", "p"]]


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
