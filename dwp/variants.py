"""Variants of a run: the combinations of the values that a config lists for some settings.

The section `classification` of a config may list values of its own settings under `vary`, to
compare them, and under `tune`, to choose among them. A combination takes one value of each list;
it is a run of its own for every prior, init, n, split and seed.
"""

import hashlib
import itertools
import json
from collections.abc import Collection, Mapping
from typing import Any

from dwp.study.settings import Classification, NetSettings, validated

BAYESIAN_SETTINGS = (
    "kernels_per_step",
    "kl_temperature",
    "kl_estimator",
    "kl_bound",
    "latent_samples",
    "log_variance",
    "log_variance_rate",
    "samples",
    "bayesian_layers",
    "posterior",
)
"""Settings without a meaning for nets without a prior."""

_LONGEST = 120  # characters of a name, which becomes a folder's


def combinations(section: Classification) -> list[dict[str, Any]]:
    """Return every combination of listed values; the last setting changes fastest."""
    values = section.listed
    chosen = itertools.product(*values.values())
    return [dict(zip(values, each, strict=True)) for each in chosen]


def variant_name(
    section: Classification, combination: Mapping[str, Any], ignored: Collection[str] = ()
) -> str:
    """Return the name of a combination's runs, such as "filters-32x128,learning_rate-0.01".

    It has the values that differ from the section's own ("base" if none does), so that runs keep
    their name when a setting is varied for the first time. A long name is shortened and ends in
    a digest of the whole.

    Args:
        section: `classification`.
        combination: a value of each varied and tuned setting.
        ignored: settings without a meaning for the run; combinations that differ in nothing else
            share their runs.
    """
    parts = [
        f"{name}-{as_text(value)}"
        for name, value in sorted(combination.items())
        if name not in ignored and value != getattr(section, name)
    ]
    name = ",".join(parts) or "base"
    if len(name) > _LONGEST:
        name = f"{name[: _LONGEST - 17]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return name


def variants(
    section: Classification | Mapping[str, Any], ignored: Collection[str] = ()
) -> dict[str, NetSettings]:
    """Return the settings of the runs of every variant, by its name.

    Args:
        section: `classification`.
        ignored: as for `variant_name`; these settings have their defaults.
    """
    section, found = validated(Classification, section), {}
    for combination in combinations(section):
        settings = {k: v for k, v in {**section.own, **combination}.items() if k not in ignored}
        found[variant_name(section, combination, ignored)] = NetSettings(**settings)
    return found


def as_text(value: Any) -> str:
    """Return a setting's value as text for names and tables: "0.01", "32x128", "none" for null."""
    if value is None:
        return "none"  # pandas would read "null" as a missing number
    if isinstance(value, list):
        return "x".join(map(as_text, value))
    return value if isinstance(value, str) else json.dumps(value)
