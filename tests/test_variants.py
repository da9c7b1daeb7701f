"""Variants of a run: their names and their settings."""

import pytest
import yaml
from helpers import ROOT

from dwp.study.settings import Classification, PriorSettings
from dwp.study.study import Study
from dwp.variants import combinations, variant_name, variants

DEMO = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())
SECTION = DEMO["domains"]["demo"]["classification"]
RATE, EPOCHS = SECTION["learning_rate"], SECTION["epochs"]


def section(**changes):
    return Classification(**{**SECTION, **changes})


def test_a_variant_has_its_own_values_and_none_of_the_others():
    assert combinations(section()) == [{}]
    ((name, settings),) = variants(section()).items()
    assert (name, settings.epochs) == ("base", EPOCHS)
    vary, tune = {"filters": [[16, 16], [32, 128]]}, {"learning_rate": [RATE, "5e-1"]}
    found = variants(section(vary=vary, tune=tune))
    assert list(found) == [
        *("base", "learning_rate-0.5", "filters-32x128", "filters-32x128,learning_rate-0.5")
    ]
    assert found["filters-32x128,learning_rate-0.5"].filters == [32, 128]
    assert found["filters-32x128,learning_rate-0.5"].learning_rate == 0.5
    # another value, or the other list, changes nothing for the runs that were there
    more = variants(section(tune={**vary, "learning_rate": [0.1, 0.5, RATE]}))
    assert {name: more[name] for name in found} == found
    assert variants({**SECTION, "vary": vary, "tune": tune}) == found  # of a mapping the same


def test_names_have_all_kinds_of_values():
    listed = {"kernels_per_step": None, "bayesian_layers": ["conv1"], "log_variance": -8.5}
    own = section(kernels_per_step=4)
    assert variant_name(own, listed | {"precision": "bfloat16", "epochs": EPOCHS}) == (
        "bayesian_layers-conv1,kernels_per_step-none,log_variance--8.5,precision-bfloat16"
    )


def test_long_names_are_bounded_and_differ():
    layers = [f"encoder.stage{n}.convolution" for n in range(40)]
    names = [
        variant_name(section(), {"bayesian_layers": layers[:n]}) for n in range(20, len(layers))
    ]
    assert max(map(len, names)) <= 120
    assert len(set(names)) == len(names)
    assert all(name.startswith("bayesian_layers-encoder") for name in names)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("vae", ["base", "latent_samples-4"]),
        ("standard-normal", ["base", "kl_estimator-monte-carlo"]),
        ("log-uniform", ["base"]),
        ("flow", ["base"]),
        ("deterministic", ["base"]),
    ],
)
def test_nets_share_runs_that_differ_in_what_their_prior_does_not_read(kind, names):
    study = Study(DEMO, root=ROOT)
    study.domains["demo"].priors["it"] = PriorSettings(kind=kind)
    ignored = study.ignored("demo", "it")
    vary = {"kl_estimator": ["exact", "monte-carlo"], "latent_samples": [1, 4]}
    assert list(variants(section(vary=vary), ignored)) == names
    net = {"log_variance": [-10.0, -5.0], "epochs": [EPOCHS, 50]}
    names = [name for name in variants(section(vary=net), ignored) if "log_variance" in name]
    assert len(names) == (0 if kind == "deterministic" else 2)
