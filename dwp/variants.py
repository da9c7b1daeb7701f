"""Variants of a run: the combinations of the values that a config lists for some settings.

The section `classification` of a config may list values of its own settings under `vary`, to
compare them, and under `tune`, to choose among them. A combination takes one value of each list;
it is a run of its own for every prior, init, n, split and seed.
"""

import itertools
import json
from collections.abc import Collection, Mapping
from typing import Any

GRID = {
    "prior": "priors",
    "init": "inits",
    "n": "train_sizes",
    "split": "splits",
    "seed": "seeds",
}
"""What a run is told by beside its settings, and the setting that lists it."""

BAYESIAN_SETTINGS = (
    "kernels_per_step",
    "kl_temperature",
    "kl_estimator",
    "kl_bound",
    "latent_samples",
    "log_variance",
    "samples",
    "bayesian_layers",
    "posterior",
)
"""Settings without a meaning for nets without a prior."""

DEFAULTS = {"posterior": "weights", "shift": 0, "warp": 0}
"""What settings are where a config leaves them out; written out they are the same run."""

NOT_OF_A_RUN = (*GRID.values(), "runs_per_job", "vary", "tune", "tune_by")
"""Settings of the classification that are not those of a single run."""


def listed(section: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the listed values of every varied and of every tuned setting."""
    return {**section.get("vary", {}), **section.get("tune", {})}


def combinations(section: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every combination of listed values; the last setting changes fastest."""
    values = listed(section)
    chosen = itertools.product(*values.values())
    return [dict(zip(values, each, strict=True)) for each in chosen]


def variant_name(
    section: Mapping[str, Any], combination: Mapping[str, Any], ignored: Collection[str] = ()
) -> str:
    """Return the name of a combination's runs, such as "filters-32x128,learning_rate-0.01".

    It tells the values that differ from the section's own ("base": none does), so that runs keep
    their name when a setting is varied for the first time.

    Args:
        section: `classification`.
        combination: a value of each varied and tuned setting.
        ignored: settings without a meaning for the run (see `dwp.study.settings.ignored_settings`);
            combinations that differ in nothing else share their runs.
    """
    parts = [
        f"{name}-{as_text(value)}"
        for name, value in sorted(combination.items())
        if name not in ignored and value != section.get(name, DEFAULTS.get(name))
    ]
    return ",".join(parts) or "base"


def variants(section: Mapping[str, Any], ignored: Collection[str] = ()) -> dict[str, dict]:
    """Return the settings of the runs of every variant, by its name.

    Args:
        section: `classification`.
        ignored: as for `variant_name`.
    """
    found = {}
    for combination in combinations(section):
        settings = {**section, **combination}
        found[variant_name(section, combination, ignored)] = {
            key: value
            for key, value in settings.items()
            if not (key in NOT_OF_A_RUN or key in ignored or (key, value) in DEFAULTS.items())
        }
    return found


def as_text(value: Any) -> str:
    """Return a setting's value as text for names and tables: "0.01", "32x128", "none" for null."""
    if value is None:
        return "none"  # pandas would read "null" as a missing number
    if isinstance(value, list):
        return "x".join(map(as_text, value))
    return value if isinstance(value, str) else json.dumps(value)
