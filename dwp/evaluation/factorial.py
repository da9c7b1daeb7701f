"""Initialisation crossed with prior: how much each of the two contributes."""

from collections.abc import Mapping, Sequence

import pandas as pd

from dwp.evaluation.statistics import paired_tests, summarise, unit_means, with_holm

METRICS = ("ensemble_accuracy", "ensemble_nll", "ensemble_ece")
"""The metrics that are compared."""


def factorial(
    runs: pd.DataFrame, reference: Mapping[str, str], by: Sequence[str] = ("domain", "n", "metric")
) -> pd.DataFrame:
    """Return the mean of every cell, tested against the reference's prior and init.

    Args:
        runs: a tidy table of runs (see `dwp.evaluation.tables`), with several inits and priors.
        reference: a `prior` and an `init`, both by name.
        by: columns whose combinations are compared separately.

    Returns:
        A row per combination of `by`, prior and init: the columns of `summarise`, and of two paired
        t-tests over splits `<which>_difference` (of the means, this minus reference),
        `<which>_interval` (half width, 95 %), `<which>_p` and `<which>_p_holm` (see `with_holm`).
        Of "prior" the reference is the reference's prior with the init of the row; of "init" the
        reference's init with the prior of the row. NaN where a row is its own reference.

    Raises:
        UserError: no run has the reference's prior, or none its init.
    """
    cell = [*by, "prior", "init"]
    table = summarise(runs, cell)
    tests = [
        paired_tests(runs, {which: name}, [column for column in cell if column != which])
        for which, name in reference.items()
    ]
    for which, own in with_holm(pd.concat(tests)).groupby("compared"):
        own = own.set_index(cell)[["difference", "interval", "p", "p_holm"]]
        table = table.join(own.add_prefix(f"{which}_"), on=cell)
    return table


def effects(
    runs: pd.DataFrame,
    full: Mapping[str, str],
    reference: Mapping[str, str],
    by: Sequence[str] = ("domain", "n", "metric"),
) -> pd.DataFrame:
    """Split the difference between two cells that differ in prior and init into parts.

    "both" is the whole difference, full minus reference. "init" is the gain from changing only the
    init, the mean of its two values: with the reference's prior and with the full cell's. "prior"
    is the same for the prior. These two add up to "both". "interaction" is how much more
    either gives together with the other's change than without it.

    Args:
        runs: see `factorial`.
        full: a `prior` and an `init`.
        reference: another `prior` and another `init`.
        by: see `factorial`.

    Returns:
        A row per combination of `by` and `effect`: the columns of `summarise`, over splits.

    Raises:
        KeyError: one of the four cells has no runs.
    """
    means = unit_means(runs, [*by, "prior", "init"])
    cells = means.pivot(index=[*by, "split"], columns=["prior", "init"], values="value")

    def cell(prior: str, init: str) -> pd.Series:
        return cells[prior, init].rename("value")

    both, neither = cell(**full), cell(**reference)
    of_init = cell(reference["prior"], full["init"])
    of_prior = cell(full["prior"], reference["init"])
    parts = {
        "both": both - neither,
        "init": ((of_init - neither) + (both - of_prior)) / 2,
        "prior": ((of_prior - neither) + (both - of_init)) / 2,
        "interaction": both - of_init - of_prior + neither,
    }
    table = pd.concat([part.reset_index().assign(effect=name) for name, part in parts.items()])
    table["effect"] = pd.Categorical(table["effect"], list(parts), ordered=True)
    return summarise(table, [*by, "effect"])
