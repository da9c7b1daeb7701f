"""Statistics over data splits, and the comparison with the authors' numbers.

A tidy table of runs has one row per measured number: `domain`, `prior` (the method's name),
`init`, one column of each varied or tuned setting, `n` (training examples), `split`, `seed`,
`metric` (its name) and `value`. Splits are the unit of replication: seeds of one split share its
data, so they are averaged first.
"""

import os
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype
from scipy import stats

from dwp.errors import UserError
from dwp.files import read_csv

CONFIDENCE = 0.95
_ROUNDING = 1e-12
_PAPER_COLUMNS = ("dataset", "prior", "num_examples", "accuracy")
_NAMES = ("domain", "prior", "init", "metric", "dataset", "w")
_PAPER_NUMBERS = (*_PAPER_COLUMNS, "std", "seeds", "read")


def read_table(
    path: str | os.PathLike,
    columns: Sequence[str],
    numbers: Sequence[str] = (),
    texts: Sequence[str] = (),
) -> pd.DataFrame:
    """Read a table written by `dwp.files.write_csv`, or one like it.

    Args:
        path: the CSV file.
        columns: that it must have; others are kept.
        numbers: columns that must hold numbers (NaN: a failed run).
        texts: columns that, where there, are read as text, whatever they look like.

    Raises:
        UserError: the file is missing, is not CSV, or lacks a column.
    """
    text = dict.fromkeys([*_NAMES, *texts], str)  # "null" and "1" may name priors, too
    table = read_csv(path, dtype=text, keep_default_na=False, na_values=["", "nan", "NaN"])
    columns = list(dict.fromkeys([*columns, *numbers]))
    missing = [column for column in columns if column not in table]
    if missing:
        raise UserError(
            f"{path}: expected the columns {', '.join(columns)}; "
            f"missing {', '.join(missing)}; add them"
        )
    for column in numbers:
        if len(table) and not is_numeric_dtype(table[column]):
            wrong = table[column][pd.to_numeric(table[column], errors="coerce").isna()]
            raise UserError(
                f"{path}: expected numbers in the column {column}, found {wrong.iloc[0]}; mend it"
            )
    return table


def read_runs(
    path: str | os.PathLike,
    settings: Mapping[str, Sequence[str]],
    numbers: Sequence[str] = ("value",),
) -> pd.DataFrame:
    """Read a table of runs or a summary of one, written by `dwp.files.write_csv`.

    Args:
        path: the CSV file.
        settings: values of the varied and tuned settings, as text; the columns of that name
            become categories in this order, which tables and figures of them keep.
        numbers: the columns of what was measured: of a summary, `mean` and `interval`.

    Raises:
        UserError: the file is missing, is not CSV, or lacks a column.
    """
    columns = ("domain", "prior", "init", "n", "metric", *settings)
    table = read_table(path, columns, numbers, list(settings))
    for name, values in settings.items():
        table[name] = pd.Categorical(table[name], values, ordered=True)
    return table


def split_means(runs: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Average the seeds of each split: the columns `by`, `split` and `value`."""
    groups = runs.groupby([*by, "split"], dropna=False, observed=True)["value"]
    return groups.mean(skipna=False).reset_index()


def summarise(runs: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Mean and spread over data splits.

    Args:
        runs: a tidy table with the columns `by`, `split` and `value`; NaN (a failed run) makes
            its group's numbers NaN.
        by: columns whose combinations make the groups.

    Returns:
        One row per group, in order of `by`: the columns `by`, `mean`, `splits` (how many), `std`
        (sample standard deviation over splits) and `interval` (half width of the 95 % Student-t
        interval of the mean). `std` and `interval` are NaN for one split.
    """
    by = list(by)
    groups = split_means(runs, by).groupby(by, dropna=False, observed=True)["value"]
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


def choose(
    runs: pd.DataFrame, by: Sequence[str], tuned: Sequence[str], metric: str
) -> pd.DataFrame:
    """Choose the values of tuned settings whose runs have the best mean over splits of a metric.

    The best is the largest accuracy, the smallest of anything else; of equal ones the first in
    order of the values; one with a failed run (NaN) only where all have one.

    Args:
        runs: a tidy table of runs.
        by: columns whose combinations each get a choice of their own.
        tuned: columns of the settings to choose.
        metric: its name in the column `metric`.

    Returns:
        One row per combination of `by`: the columns `by` and `tuned`.
    """
    table = summarise(runs[runs["metric"] == metric], [*by, *tuned])
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
        chosen by the same metric of the ensemble on the very test images that the runs are then
        reported on, as the authors did: too good to be true by as much as choosing gains.
    """
    ways = {"validation": metric, "test": metric.replace("validation", "ensemble")}
    kept = pd.concat(
        [
            runs.merge(choose(runs, by, tuned, which), on=[*by, *tuned]).assign(chosen_by=way)
            for way, which in ways.items()
        ],
        ignore_index=True,
    )
    kept["chosen_by"] = pd.Categorical(kept["chosen_by"], list(ways), ordered=True)
    return kept


def read_chosen(
    path: str | os.PathLike,
    vary: Mapping[str, Sequence[str]],
    tune: Mapping[str, Sequence[str]],
    metric: str,
) -> pd.DataFrame:
    """Read a table of runs and keep, of tuned settings, what each prior, init and n chose.

    Args:
        path: the CSV file.
        vary: values of the varied settings, as text; each combination has a choice of its own.
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
    """Paired t-test of each method against the reference, over the splits that both have.

    Args:
        runs: a tidy table of runs.
        reference: the columns that tell methods apart, with the reference's values: the prior
            in `{"prior": "dwp"}`.
        match: columns that must agree for two runs to be compared.

    Returns:
        One row per method and combination of `match` that shares a split with the reference:
        the columns `match`, those that tell methods apart, `compared` (their names), `reference`
        (its values), `splits` (matched ones), `difference` (mean of method minus reference),
        `interval` (half width of its 95 % interval) and `p` (two-sided, not corrected for
        multiple tests: see `with_holm`). `interval` and `p` are NaN for one split, and where
        the difference is the same in all.

    Raises:
        UserError: no run has the reference method.
    """
    match, compared = list(match), list(reference)
    means = split_means(runs, [*match, *compared])
    is_reference = (means[compared] == pd.Series(reference)).all(axis=1)
    told = ", ".join(compared), ", ".join(reference.values())
    if not is_reference.any():
        raise UserError(f"no run has the {told[0]} '{told[1]}'")
    pairs = means[~is_reference].merge(
        means[is_reference].drop(columns=compared),
        on=[*match, "split"],
        suffixes=("", "_reference"),
    )
    rows = []
    for key, group in pairs.groupby([*match, *compared], dropna=False, observed=True):
        differences = group["value"] - group["value_reference"]
        interval = p = np.nan
        # equal differences, but for rounding, have no spread to hold their mean against
        if len(group) > 1 and np.ptp(differences) > _ROUNDING * group["value"].abs().max():
            test = stats.ttest_1samp(differences, 0.0)
            limits = test.confidence_interval(CONFIDENCE)
            interval, p = (limits.high - limits.low) / 2, test.pvalue
        rows.append((*key, *told, len(group), differences.mean(skipna=False), interval, p))
    columns = [*match, *compared, "compared", "reference"]
    return pd.DataFrame(rows, columns=[*columns, "splits", "difference", "interval", "p"])


def with_holm(tests: pd.DataFrame) -> pd.DataFrame:
    """Add the column `p_holm` to paired tests: p corrected for multiple tests.

    The tests that are corrected together are those of one metric, of what was compared and, after
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


def read_paper(
    path: str | os.PathLike,
    columns: Sequence[str] = _PAPER_COLUMNS,
    settings: Sequence[str] = (),
) -> pd.DataFrame:
    """Read the authors' numbers.

    Args:
        path: a CSV file.
        columns: that it must have, others are kept; without them those of the classification:
            `dataset`, `prior`, `num_examples` and `accuracy` (a fraction).
        settings: those of other columns, if it has them, that are values of settings, as text.

    Raises:
        UserError: the file is missing, is not CSV, or lacks a column.
    """
    numbers = [name for name in columns if name in ("num_examples", "accuracy", "step", "value")]
    return read_table(path, columns, numbers, list(settings))


def read_papers(
    paths: Iterable[str | os.PathLike], dataset: str, domain: str, settings: Sequence[str] = ()
) -> pd.DataFrame:
    """Read the authors' numbers of one data set from several files, for a domain of ours.

    Args:
        paths: see `read_paper`.
        dataset: theirs; of another name there is none.
        domain: what their `dataset` is to be called, to stand beside ours.
        settings: see `read_paper`.
    """
    paper = pd.concat([read_paper(path, settings=settings) for path in paths], ignore_index=True)
    return paper[paper["dataset"] == dataset].assign(dataset=domain)


def authors_at(paper: pd.DataFrame, place: Mapping[str, str]) -> pd.DataFrame:
    """The authors' numbers that hold for an initialisation and values of settings.

    Args:
        paper: from `read_paper`, of one or several files. A row is for its `init` and for its value
            of each setting that it has a column of; where it has none (NaN), for all.
        place: the init and the values of settings, as text. A row with a value of a setting that is
            not among them holds nowhere: nobody knows whether it is ours.
    """
    told = [name for name in paper if name not in _PAPER_NUMBERS]
    holds = [paper[name].isna() | (paper[name] == str(place.get(name))) for name in told]
    return paper[pd.concat(holds, axis=1).all(axis=1)] if holds else paper


def compare_with_paper(summary: pd.DataFrame, paper: pd.DataFrame) -> pd.DataFrame:
    """Set our accuracies beside the authors'.

    Args:
        summary: from `summarise`, one metric and one `init`: the columns `domain`, `prior`, `n`,
            `mean`, `interval`.
        paper: from `read_paper` or `authors_at`; its `dataset` is our `domain`, its `num_examples`
            our `n`, its `std`, if any, the standard deviation over the authors' seeds or splits.

    Returns:
        One row per setting that both have, in the authors' order: `dataset`, `prior`,
        `num_examples`, `ours`, `low` and `high` (our 95 % interval), `authors`, `authors_std` (if
        `paper` has a `std`), `difference` (ours minus authors) and `agree`: "yes" where the
        authors' number lies inside our interval, "no", or "unknown" without an interval (one
        split). The authors' own uncertainty is not counted.

    Raises:
        ValueError: `summary` has several rows for one setting.
    """
    keys = ["dataset", "prior", "num_examples"]
    ours = summary.rename(columns={"domain": "dataset", "n": "num_examples"})
    if ours.duplicated(keys).any():
        raise ValueError("summary: expected one row per domain, prior and n; keep one metric, init")
    theirs = paper.filter([*keys, "accuracy", "std"])
    both = theirs.merge(ours[[*keys, "mean", "interval"]], on=keys)
    table = both[keys].copy()
    table["ours"] = both["mean"]
    table["low"] = both["mean"] - both["interval"]
    table["high"] = both["mean"] + both["interval"]
    table["authors"] = both["accuracy"]
    if "std" in both:
        table["authors_std"] = both["std"]
    table["difference"] = both["mean"] - both["accuracy"]
    inside = both["accuracy"].between(table["low"], table["high"])
    table["agree"] = np.where(both["interval"].isna(), "unknown", np.where(inside, "yes", "no"))
    return table
