"""Variants of a run: their names and settings, and the tables and figures of a small study."""

from pathlib import Path

import jsonschema
import pandas as pd
import pytest
import yaml

from dwp.errors import UserError
from dwp.evaluation.statistics import choose
from dwp.priors import KINDS
from dwp.study.settings import check_settings, ignored_settings
from dwp.variants import as_text, combinations, variant_name, variants

ROOT = Path(__file__).parent.parent
PAPER = ROOT / "workflow" / "resources"
SECTION = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())["domains"]["demo"][
    "classification"
]
SECTION = {key: value for key, value in SECTION.items() if key not in ("vary", "tune", "tune_by")}
RATE, EPOCHS = SECTION["learning_rate"], SECTION["epochs"]


def test_without_lists_there_is_one_variant():
    assert combinations(SECTION) == [{}]
    (settings,) = variants(SECTION).values()
    assert list(variants(SECTION)) == ["base"]
    assert settings["epochs"] == EPOCHS
    assert not {"priors", "splits", "runs_per_job"} & set(settings)


def test_a_variant_has_its_own_values_and_none_of_the_others():
    vary, tune = {"filters": [[16, 16], [32, 128]]}, {"learning_rate": [RATE, 0.5]}
    found = variants({**SECTION, "vary": vary, "tune": tune})
    assert list(found) == [
        *("base", "learning_rate-0.5", "filters-32x128", "filters-32x128,learning_rate-0.5")
    ]
    assert found["filters-32x128,learning_rate-0.5"]["filters"] == [32, 128]
    assert found["filters-32x128,learning_rate-0.5"]["learning_rate"] == 0.5
    # another value, or the other list, changes nothing for the runs that were there
    more = variants({**SECTION, "tune": {**vary, "learning_rate": [0.1, 0.5, RATE]}})
    assert {name: more[name] for name in found} == found


def test_names_tell_all_kinds_of_values():
    listed = {"kernels_per_step": None, "bayesian_layers": ["conv1"], "log_variance": -8.5}
    section = {**SECTION, "kernels_per_step": 4}
    assert variant_name(section, listed | {"precision": "bfloat16", "epochs": EPOCHS}) == (
        "bayesian_layers-conv1,kernels_per_step-none,log_variance--8.5,precision-bfloat16"
    )


def test_deterministic_nets_share_runs_that_differ_in_what_they_do_not_have():
    section = {**SECTION, "vary": {"log_variance": [-10.0, -5.0], "epochs": [EPOCHS, 9]}}
    ignored = ignored_settings("deterministic")
    assert list(variants(section, ignored)) == ["base", "epochs-9"]
    assert "log_variance" not in variants(section, ignored)["base"]
    assert len(variants(section)) == 4


def test_nets_share_runs_that_differ_in_what_their_prior_has_no_use_for():
    vary = {"kl_estimator": ["exact", "monte-carlo"], "latent_samples": [1, 4]}
    section = {**SECTION, "vary": vary}
    found = {kind: list(variants(section, ignored_settings(kind))) for kind in KINDS}
    assert found["vae"] == ["base", "latent_samples-4"]
    assert found["standard-normal"] == ["base", "kl_estimator-monte-carlo"]
    assert found["log-uniform"] == found["flow"] == ["base"]
    assert not {"kl_bound", "latent_samples"} & set(
        variants(section, ignored_settings("standard-normal"))["base"]
    )


def test_a_default_that_is_written_out_changes_nothing():
    written = {**SECTION, "posterior": "weights", "shift": 0.0, "warp": 0}
    assert variants(written) == variants(SECTION)
    assert list(variants({**SECTION, "vary": {"shift": [0, 1]}})) == ["base", "shift-1"]
    assert variants(SECTION)["base"]["kernels_per_step"] is None


def test_the_stopping_point_is_chosen_for_every_prior_alike():
    config = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())
    domain = config["domains"]["demo"]
    section = domain["classification"]
    section["tune"] = {"epochs": [50, EPOCHS], "kl_temperature": [0.1, 1.0]}
    section["priors"] = [p for p in domain["priors"] if domain["priors"][p]["kind"] != "empirical"]
    schema = yaml.safe_load((ROOT / "workflow" / "schemas" / "config.schema.yaml").read_text())
    jsonschema.validate(config, schema)
    check_settings(config)
    found = variants(section)
    assert [(run["epochs"], run["kl_temperature"]) for run in found.values()] == [
        *((50, 0.1), (50, 1.0), (EPOCHS, 0.1), (EPOCHS, 1.0))
    ]
    plain = variants(section, ignored_settings("deterministic"))
    assert [run["epochs"] for run in plain.values()] == [50, EPOCHS]
    assert list(plain) == ["epochs-50", "base"]

    # validation NLL by epochs and temperature: each prior has its best elsewhere
    rows = []
    for number, prior in enumerate(section["priors"]):
        for place, values in enumerate(combinations(section)):
            listed = {name: as_text(value) for name, value in values.items()}
            nll = 1.0 + (place != number % 4)
            row = {"prior": prior, "split": 0, "seed": 0, "metric": "validation_nll", "value": nll}
            rows.append({**row, **listed})
    chosen = choose(pd.DataFrame(rows), ["prior"], list(section["tune"]), "validation_nll")
    expected = [combinations(section)[number % 4] for number in range(len(section["priors"]))]
    found = chosen.set_index("prior").loc[section["priors"]].to_dict("records")
    assert found == [{k: as_text(v) for k, v in values.items()} for values in expected]

    section["evaluate_every"] = 100  # after the end of the shorter training
    with pytest.raises(UserError, match=r"evaluate_every: expected at most epochs \(50\)"):
        check_settings(config)
