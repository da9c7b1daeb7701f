"""Initialisation crossed with prior: what each of the two is worth."""

from collections.abc import Mapping, Sequence

import pandas as pd

from dwp.errors import UserError
from dwp.evaluation.statistics import paired_tests, split_means, summarise, with_holm

METRICS = ("ensemble_accuracy", "ensemble_nll", "ensemble_ece")
"""What is told of every cell."""

EFFECTS = ("both", "init", "prior", "interaction")
"""The parts of a difference, in the order of tables; see `effects`."""


def factorial(
    runs: pd.DataFrame, reference: Mapping[str, str], by: Sequence[str] = ("domain", "n", "metric")
) -> pd.DataFrame:
    """Mean of every cell, tested against the reference's prior and init.

    Args:
        runs: a tidy table of runs (see `dwp.evaluation.statistics`), with several inits and priors.
        reference: a `prior` and an `init`, both by name.
        by: columns that tell tables apart that are compared each by itself.

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
    tests = with_holm(
        pd.concat(
            paired_tests(runs, {which: name}, [column for column in cell if column != which])
            for which, name in reference.items()
        )
    )
    numbers = ["difference", "interval", "p", "p_holm"]
    for which in reference:
        own = tests.loc[tests["compared"] == which, [*cell, *numbers]]
        own = own.rename(columns={name: f"{which}_{name}" for name in numbers})
        table = table.merge(own.astype(table.dtypes[cell]), "left", cell)  # categories keep order
    return table


def effects(
    runs: pd.DataFrame,
    full: Mapping[str, str],
    reference: Mapping[str, str],
    by: Sequence[str] = ("domain", "n", "metric"),
) -> pd.DataFrame:
    """Split the difference between two cells that differ in prior and init into parts.

    "both" is the whole difference, full minus reference. "init" is what changing the init alone
    gives, the mean of its two values: with the reference's prior and with the full cell's. "prior"
    is the same of the prior. These two add up to "both". "interaction" is how much more
    either gives beside the other's change than without it.

    Args:
        runs: see `factorial`.
        full: a `prior` and an `init`.
        reference: another `prior` and another `init`.
        by: see `factorial`.

    Returns:
        A row per combination of `by` and `effect`: the columns of `summarise`, over splits.

    Raises:
        UserError: one of the four cells has no runs.
    """
    cell = ["prior", "init"]
    means = split_means(runs, [*by, *cell])
    of = {}
    for prior in (full["prior"], reference["prior"]):
        for init in (full["init"], reference["init"]):
            chosen = means[(means["prior"] == prior) & (means["init"] == init)]
            if chosen.empty:
                raise UserError(f"no run has the prior '{prior}' and the init '{init}'")
            of[prior, init] = chosen.set_index([*by, "split"])["value"]
    both = of[full["prior"], full["init"]]
    neither = of[reference["prior"], reference["init"]]
    of_init, of_prior = of[reference["prior"], full["init"]], of[full["prior"], reference["init"]]
    parts = {
        "both": both - neither,
        "init": ((of_init - neither) + (both - of_prior)) / 2,
        "prior": ((of_prior - neither) + (both - of_init)) / 2,
        "interaction": both - of_init - of_prior + neither,
    }
    table = pd.concat([part.reset_index().assign(effect=name) for name, part in parts.items()])
    table["effect"] = pd.Categorical(table["effect"], EFFECTS, ordered=True)
    return summarise(table, [*by, "effect"])
