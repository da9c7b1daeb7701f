"""The config: what the schema refuses, what the checks of names refuse, and in which words."""

import copy
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from dwp.data import DATASETS
from dwp.errors import UserError
from dwp.nn.networks import NETWORKS
from dwp.priors import KINDS
from dwp.study.settings import check_settings, describe_refusal, read_config, settings_of_prior
from dwp.variants import NOT_OF_A_RUN

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "config").glob("*.yaml"))
SCHEMA = yaml.safe_load((ROOT / "workflow" / "schemas" / "config.schema.yaml").read_text())
DEMO = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())
RELEASED = yaml.safe_load((ROOT / "config" / "mnist-released.yaml").read_text())
EPOCHS = DEMO["domains"]["demo"]["classification"]["epochs"]
REMOVED = object()


def schema_error(config):
    """What the workflow is told of a config: the most relevant error, or None."""
    return best_match(Draft202012Validator(SCHEMA).iter_errors(config))


def changed(config, changes):
    """A copy of a config, with values at dotted places set or removed."""
    config = copy.deepcopy(config)
    for place, value in changes.items():
        *parents, last = place.split(".")
        section = config
        for name in parents:
            section = section[name]
        if value is REMOVED:
            del section[last]
        else:
            section[last] = value
    return config


def inside(changes):
    """The same changes, in the demo's domain."""
    return {f"domains.demo.{place}": value for place, value in changes.items()}


# Configs that hold


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configs_of_the_project_hold(path):
    config = read_config(path)
    assert config == yaml.safe_load(path.read_text())
    assert schema_error(config) is None
    before = copy.deepcopy(config)
    check_settings(config)
    assert config == before


def test_the_configs_have_names_of_their_own():
    names = [yaml.safe_load(path.read_text())["name"] for path in CONFIGS]
    assert {"config", "demo", "mnist", "mnist-released", "cifar5"} <= {
        path.stem for path in CONFIGS
    }
    assert len(set(names)) == len(names)  # or their results would share a folder


def test_the_schema_is_one():
    Draft202012Validator.check_schema(SCHEMA)


def test_every_setting_of_a_run_may_be_varied():
    settings = SCHEMA["$defs"]["classification"]["properties"]
    assert set(SCHEMA["$defs"]["listed"]["properties"]) == set(settings) - set(NOT_OF_A_RUN)


NEED_KERNELS = [
    f"priors.{name}"
    for name in ("gaussian-diagonal", "gaussian-mixture", "student-t", "flow", "source-kernels")
]
WITHOUT_EXPERIMENTS = {"features": REMOVED, "convergence": REMOVED}
ALLOWED = {
    "a prior as an init": {"classification.inits": ["xavier", "standard-normal", "dwp"]},
    "kernels as an init": {
        "priors.source-kernels": {"kind": "empirical"},
        "classification.inits": ["source-kernels"],
    },
    "one Bayesian layer": {"classification.bayesian_layers": ["conv2"]},
    "values to compare and to choose among": {
        "classification.vary": {
            "filters": [[16, 16], [32, 128]],
            "kernels_per_step": [None, 4],
            "precision": ["float32", "bfloat16"],
        },
        "classification.tune": {"learning_rate": [0.01, 0.001], "epochs": [EPOCHS, 2 * EPOCHS]},
        "classification.tune_by": "validation_accuracy",
    },
    "a look at the end of each": {
        "classification.vary": {"epochs": [10 * EPOCHS], "evaluate_every": [10 * EPOCHS]},
    },
    "a fixed variance of the kernels": {"priors.dwp.layers.conv1.variance": 0.01},
    "a floor of the variances": {"priors.gaussian-mixture.layers.conv1.floor": 0.01},
    "dropout": {"priors.deterministic-l2.dropout": 0.5},
    "reconstructed kernels as an init": {
        "priors.reconstructed": {"kind": "empirical", "reconstructed_by": "dwp"},
        "classification.inits": ["reconstructed"],
    },
    "a posterior over codes": {
        "classification.priors": ["dwp", "deterministic-l2"],
        "classification.vary": {"posterior": ["weights", "codes"]},
    },
    "a prior as a penalty": {"priors.deterministic-l2.penalty": "dwp"},
    "an ensemble": {"priors.deterministic-l2.members": 5},
    "another estimate of the KL": {
        "classification.kl_temperature": 0.1,
        "classification.kl_estimator": "monte-carlo",
        "classification.kl_bound": "importance-weighted",
        "classification.latent_samples": 5,
    },
    "a look at the end alone": {"classification.evaluate_every": EPOCHS},
    "scales as numbers": {"features.scales": [0.25, 1, 2.5]},
    "neither random features nor convergence": WITHOUT_EXPERIMENTS,
    "another data set": {"data.source": "notmnist", "data.target": "mnist"},
    "other classes of one data set": {
        "data.source": {"dataset": "digits", "classes": [0, 1, 2, 3, 4]},
        "data.target": {"dataset": "digits", "classes": [9, 8]},
    },
    "other images of one data set": {
        "data.source": {"dataset": "digits", "train": [0, 300], "test": [300, 400]},
        "data.target": {"dataset": "digits", "train": [400, 1297]},
    },
    "another network": {
        **WITHOUT_EXPERIMENTS,
        "data": {"source": "cifar100", "target": "cifar10"},
        "network": "cifar",
        "source_nets.filters": [1, 2, 3],
        "kernels.layers.conv3": {"quantile": 0.5},
        "priors": {"normal": {"kind": "standard-normal"}},
        "classification.filters": [1, 2, 3],
        "classification.priors": ["normal"],
        "classification.inits": ["xavier"],
        "classification.bayesian_layers": ["conv1", "conv3"],
    },
    "no kernels for a prior that fits none": {
        **WITHOUT_EXPERIMENTS,
        "kernels.layers.conv1": {},
        "priors": {"standard-normal": {"kind": "standard-normal"}},
        "classification.priors": ["standard-normal"],
        "classification.inits": ["xavier"],
    },
    "a layer fitted and a layer released": {
        "kernels.layers.conv1": {},
        "priors.dwp.released": {"conv1": "vae7x7"},
        "priors.dwp.layers.conv1": REMOVED,
        "priors.dwp.training.conv1": REMOVED,
        **dict.fromkeys(NEED_KERNELS, REMOVED),
        "classification.priors": ["dwp"],
        **WITHOUT_EXPERIMENTS,
    },
}


@pytest.mark.parametrize("changes", ALLOWED.values(), ids=ALLOWED)
def test_variants_that_hold(changes):
    config = changed(DEMO, inside(changes))
    assert schema_error(config) is None
    check_settings(config)


# What the names' checks refuse

VAE = DEMO["domains"]["demo"]["priors"]["dwp"]

# What changes in the demo's domain; the setting the message names; what else it says.
BROKEN = {
    "an init of random features that is none": (
        {"features.inits": ["xavier", "log-uniform"]},
        "features.inits",
        ["xavier", "dwp", "'log-uniform'"],
    ),
    "one scale twice": ({"features.scales": ["1/2", 0.5]}, "features.scales", ["different"]),
    "an init of convergence that is none": (
        {"convergence.classifier.inits": ["he"]},
        "convergence.classifier.inits",
        ["xavier", "'he'"],
    ),
    "a look after the last step": (
        {"convergence.classifier.steps": 4},
        "convergence.classifier.evaluate_every",
        ["at most steps (4)", "found 5"],
    ),
    "an image VAE without codes": (
        {"convergence.image-vae.latent": REMOVED},
        "convergence.image-vae.latent",
        ["expected as well"],
    ),
    "a classifier that draws": (
        {"convergence.classifier.sample_steps": [0]},
        "convergence.classifier.sample_steps",
        ["only an image-vae"],
    ),
    "images between two looks": (
        {"convergence.image-vae.sample_steps": [0, 15]},
        "convergence.image-vae.sample_steps",
        ["multiples of evaluate_every (10)", "15"],
    ),
    "unknown kind of prior": ({"priors.dwp.kind": "vea"}, "priors.dwp.kind", [*KINDS, "'vea'"]),
    "unknown source": ({"data.source": "emnist"}, "data.source", [*DATASETS, "'emnist'"]),
    "unknown target": ({"data.target": "emnist"}, "data.target", [*DATASETS, "'emnist'"]),
    "source equal to target": (
        {"data.source": "digits"},
        "data",
        ["digits", "another data set", "other images"],
    ),
    "whole source beside a part": (
        {"data.source": {"dataset": "digits", "train": [0, 9], "test": [9, 18]}},
        "data",
        ["share images of 'digits'", "classes, train, test"],
    ),
    "a test part in common": (
        {
            "data.source": {"dataset": "digits", "train": [0, 300]},
            "data.target": {"dataset": "digits", "train": [300, 600]},
        },
        "data",
        ["share images of 'digits'"],
    ),
    "a class in common": (
        {
            "data.source": {"dataset": "digits", "classes": [0, 1]},
            "data.target": {"dataset": "digits", "classes": [1, 2]},
        },
        "data",
        ["share images of 'digits'"],
    ),
    "unknown set in a choice": (
        {"data.source": {"dataset": "emnist", "classes": [0, 1]}},
        "data.source",
        [*DATASETS, "'emnist'"],
    ),
    "a class that there is not": (
        {"data.source": {"dataset": "glyphs", "classes": [0, 10]}},
        "data.source.classes",
        ["classes of 'glyphs', 0 to 9", "found 10"],
    ),
    "a range of no images": (
        {"data.source": {"dataset": "glyphs", "train": [5, 5]}},
        "data.source.train",
        ["[5, 5]"],
    ),
    "a test part that is trained on": (
        {"data.source": {"dataset": "glyphs", "train": [0, 10], "test": [9, 20]}},
        "data.source.test",
        ["images of train"],
    ),
    "a test part of all training images": (
        {"data.source": {"dataset": "glyphs", "test": [0, 10]}},
        "data.source.test",
        ["set both"],
    ),
    "images of another size": (
        {"data.source": "cifar10"},
        "data.source",
        ["network 'mnist' takes images of 1x28x28", "'cifar10' are 3x32x32"],
    ),
    "too few filters": (
        {"source_nets.filters": [16]},
        "source_nets.filters",
        ["2 numbers", "conv1, conv2", "[16]"],
    ),
    "too many filters": (
        {"classification.filters": [16, 16, 16]},
        "classification.filters",
        ["2 numbers", "conv1, conv2", "[16, 16, 16]"],
    ),
    "too few filters of random features": (
        {"features.filters": [16]},
        "features.filters",
        ["2 numbers", "conv1, conv2", "[16]"],
    ),
    "too few filters among those tried": (
        {"classification.vary": {"filters": [[16, 16], [16]]}},
        "classification.filters",
        ["2 numbers", "conv1, conv2", "[16]"],
    ),
    "too many filters of an image VAE": (
        {"convergence.image-vae.filters": [4, 8, 8]},
        "convergence.image-vae.filters",
        ["2 numbers", "encoder1, encoder2", "[4, 8, 8]"],
    ),
    "one scale written in two ways": (
        {"features.scales": ["1/10", 0.1]},
        "features.scales",
        ["different numbers"],
    ),
    "a prior called as an init is": (
        {"priors.xavier": {"kind": "standard-normal"}},
        "priors.xavier",
        ["names an init"],
    ),
    "a released Gaussian": (
        {"priors.gaussian-diagonal": {"kind": "gaussian-diagonal", "released": {"conv1": "a"}}},
        "priors.gaussian-diagonal",
        ["found kind, released"],
    ),
    "a whole number with a point": (
        {"classification.epochs": 300.0},
        "classification.epochs",
        ["an integer"],
    ),
    "not a number": (
        {"source_nets.learning_rate": float("nan")},
        "source_nets.learning_rate",
        ["finite"],
    ),
    "a width that is no integer": (
        {"priors.dwp.layers.conv1.hidden": 2.5},
        "priors.dwp.layers.conv1.hidden",
        ["an integer", "2.5"],
    ),
    "unknown network": ({"network": "resnet"}, "network", [*NETWORKS, "'resnet'"]),
    "undefined prior": (
        {"classification.priors": ["dwp", "horseshoe"]},
        "classification.priors",
        ["dwp", "log-uniform", "deterministic-l2", "'horseshoe'"],
    ),
    "prior without a density": (
        {
            "priors.source-kernels": {"kind": "empirical"},
            "classification.priors": ["source-kernels"],
        },
        "classification.priors",
        ["dwp", "'source-kernels'"],
    ),
    "undefined init": (
        {"classification.inits": ["kaiming"]},
        "classification.inits",
        ["xavier", "dwp", "'kaiming'"],
    ),
    "improper init": (
        {"classification.inits": ["dwp", "log-uniform"]},
        "classification.inits",
        ["xavier", "dwp", "found 'log-uniform'"],
    ),
    "point estimate as an init": (
        {"classification.inits": ["deterministic-l2"]},
        "classification.inits",
        ["xavier", "dwp", "found 'deterministic-l2'"],
    ),
    "unknown Bayesian layer": (
        {"classification.bayesian_layers": ["conv1", "conv3"]},
        "classification.bayesian_layers",
        ["conv1", "conv2", "'conv3'"],
    ),
    "evaluation after the end": (
        {"classification.evaluate_every": EPOCHS + 1},
        "classification.evaluate_every",
        [f"at most epochs ({EPOCHS})", f"found {EPOCHS + 1}"],
    ),
    "evaluation after the end of some": (
        {"classification.vary": {"epochs": [EPOCHS, 10]}},
        "classification.evaluate_every",
        ["at most epochs (10)"],
    ),
    "evaluation after the end of one combination": (
        {
            "classification.vary": {"epochs": [EPOCHS, 10 * EPOCHS]},
            "classification.tune": {"evaluate_every": [EPOCHS, 10 * EPOCHS]},
        },
        "classification.evaluate_every",
        [f"at most epochs ({EPOCHS})", f"found {10 * EPOCHS}"],
    ),
    "both varied and tuned": (
        {"classification.vary": {"epochs": [100]}, "classification.tune": {"epochs": [200]}},
        "classification",
        ["epochs in both vary and tune"],
    ),
    "a varied whole number with a point": (
        {"classification.vary": {"epochs": [EPOCHS, 300.0]}},
        "classification.vary.epochs.1",
        ["an integer"],
    ),
    "an unknown layer among varied ones": (
        {"classification.vary": {"bayesian_layers": [["conv1"], ["conv3"]]}},
        "classification.bayesian_layers",
        ["conv1", "conv2", "'conv3'"],
    ),
    "vae without training": (
        {"priors.dwp.training": REMOVED},
        "priors.dwp",
        ["expected kind, layers, training, optionally members; found kind, layers"],
    ),
    "vae without widths": (
        {"priors.dwp.layers": REMOVED},
        "priors.dwp",
        ["expected kind, layers, training, optionally members; found kind, training"],
    ),
    "vae with an unknown argument": (
        {"priors.dwp.layers.conv1": {"hidden": 16, "latent": 2, "depth": 3}},
        "priors.dwp.layers.conv1",
        ["expected hidden, latent, optionally variance; found depth, hidden, latent"],
    ),
    "vae with too few arguments": (
        {"priors.dwp.layers.conv2": {}},
        "priors.dwp.layers.conv2",
        ["expected hidden, latent, optionally variance; found nothing"],
    ),
    "mixture without components": (
        {"priors.gaussian-mixture.layers.conv1": {"seed": 0}},
        "priors.gaussian-mixture.layers.conv1",
        ["expected components, seed, optionally floor; found seed"],
    ),
    "mixture without a layer": (
        {"priors.gaussian-mixture.layers.conv2": REMOVED},
        "priors.gaussian-mixture.layers",
        ["expected conv2 as well"],
    ),
    "mixture of nothing": (
        {"priors.gaussian-mixture.layers.conv1.components": 0},
        "priors.gaussian-mixture.layers.conv1.components",
        ["above 0"],
    ),
    "arguments of a kind that takes none": (
        {"priors.student-t.layers": {"conv1": {"seed": 0}, "conv2": {"seed": 0}}},
        "priors.student-t",
        ["expected kind, optionally members; found kind, layers"],
    ),
    "variance of 0": (
        {"priors.dwp.layers.conv1.variance": 0},
        "priors.dwp.layers.conv1.variance",
        ["above 0"],
    ),
    "vae without a layer": (
        {"priors.dwp.layers.conv2": REMOVED},
        "priors.dwp.layers",
        ["expected conv2 as well"],
    ),
    "vae with another layer": (
        {"priors.dwp.layers.conv3": {"hidden": 16, "latent": 2}},
        "priors.dwp.layers",
        ["conv1", "conv2", "'conv3'"],
    ),
    "vae both fitted and released": (
        {"priors.dwp.released": {"conv1": "vae7x7", "conv2": "vae5x5"}},
        "priors.dwp",
        ["expected kind, released, optionally members; found kind, layers, released, training"],
    ),
    "released for one layer": (
        {"priors.dwp": {"kind": "vae", "released": {"conv1": "vae7x7"}}},
        "priors.dwp",
        ["expected kind, layers, released, training, optionally members; found kind, released"],
    ),
    "a layer both fitted and released": (
        {"priors.dwp.released": {"conv1": "vae7x7"}},
        "priors.dwp.layers",
        ["expected one of conv2; found 'conv1'"],
    ),
    "a layer both fitted and pretrained": (
        {"priors.dwp.pretrained": {"conv1": "mnist-7x7"}},
        "priors.dwp.layers",
        ["expected one of conv2; found 'conv1'"],
    ),
    "a layer both released and pretrained": (
        {
            "priors.dwp": {
                "kind": "vae",
                "released": {"conv1": "vae7x7", "conv2": "vae5x5"},
                "pretrained": {"conv1": "mnist-7x7"},
            }
        },
        "priors.dwp.pretrained",
        ["expected one of ; found 'conv1'"],
    ),
    "an unknown pretrained prior": (
        {"priors.gaussian-full": {"kind": "gaussian-full", "pretrained": {"conv1": "cats-7x7"}}},
        "priors.gaussian-full.pretrained.conv1",
        ["found 'cats-7x7'"],
    ),
    "a pretrained point estimate": (
        {"priors.plain": {"kind": "deterministic", "l2": 0.0, "pretrained": {"conv1": "a"}}},
        "priors.plain",
        ["found kind, l2, pretrained"],
    ),
    "training of what is not trained": (
        {"priors.gaussian-diagonal.training": VAE["training"]},
        "priors.gaussian-diagonal",
        ["expected kind, optionally members; found kind, training"],
    ),
    "point estimate without l2": (
        {"priors.deterministic-l2.l2": REMOVED},
        "priors.deterministic-l2",
        ["expected kind, l2, optionally dropout, members, penalty; found kind"],
    ),
    "reconstructions by what is no VAE": (
        {"priors.source-kernels.reconstructed_by": "flow"},
        "priors.source-kernels.reconstructed_by",
        ["expected one of dwp; found 'flow'"],
    ),
    "reconstructions as a Gaussian": (
        {"priors.gaussian-diagonal.reconstructed_by": "dwp"},
        "priors.gaussian-diagonal",
        ["expected kind, optionally members; found kind, reconstructed_by"],
    ),
    "codes of what is no VAE": (
        {"classification.posterior": "codes"},
        "classification.posterior",
        ["vae", "log-uniform"],
    ),
    "a penalty that is no prior": (
        {"priors.deterministic-l2.penalty": "deterministic-l2"},
        "priors.deterministic-l2.penalty",
        ["dwp", "standard-normal", "found 'deterministic-l2'"],
    ),
    "a penalty without a density": (
        {"priors.deterministic-l2.penalty": "source-kernels"},
        "priors.deterministic-l2.penalty",
        ["dwp", "standard-normal", "found 'source-kernels'"],
    ),
    "an improper penalty": (
        {"priors.deterministic-l2.penalty": "log-uniform"},
        "priors.deterministic-l2.penalty",
        ["dwp", "standard-normal", "found 'log-uniform'"],
    ),
    "an ensemble of what is for initialisation": (
        {"priors.source-kernels.members": 5},
        "priors.source-kernels",
        ["expected kind, optionally reconstructed_by; found kind, members"],
    ),
    "missing layer": (
        {"kernels.layers.conv1": REMOVED},
        "kernels.layers",
        ["expected conv1 as well"],
    ),
    "unknown layer": (
        {"kernels.layers.conv3": {"quantile": 0.5}},
        "kernels.layers.conv3",
        ["conv1", "conv2", "'conv3'"],
    ),
    "no source nets": (
        {"source_nets": REMOVED},
        "kernels.layers.conv1",
        ["source_nets", "kernels.test_fraction"],
    ),
    "no test kernels": (
        {"kernels.test_fraction": REMOVED},
        "kernels.layers.conv1",
        ["source_nets", "kernels.test_fraction"],
    ),
    "no kernels to fit a vae to": (
        {"kernels.layers.conv2": {}},
        "priors.dwp",
        ["kernels.layers.conv2", "threshold, quantile or released"],
    ),
    "no kernels to fit a Gaussian to": (
        {
            "kernels.layers.conv1": {},
            "priors.dwp": {"kind": "gaussian-full"},
            **dict.fromkeys(NEED_KERNELS, REMOVED),
            "classification.priors": ["dwp"],
        },
        "priors.dwp",
        ["kernels.layers.conv1", "threshold, quantile or released"],
    ),
}


@pytest.mark.parametrize(("changes", "setting", "words"), BROKEN.values(), ids=BROKEN)
def test_names_that_stand_for_nothing_are_refused(changes, setting, words):
    config = changed(DEMO, inside(changes))
    # The schema lets it through: the check is needed.
    assert schema_error(config) is None
    with pytest.raises(UserError) as caught:
        check_settings(config)
    message = str(caught.value)
    assert message.startswith(f"domains.demo.{setting}: ")
    assert "\n" not in message
    for word in words:
        assert word in message


def test_every_domain_is_checked():
    config = copy.deepcopy(DEMO)
    config["domains"]["second"] = changed(config["domains"]["demo"], {"network": "resnet"})
    with pytest.raises(UserError, match=r"^domains\.second\.network: "):
        check_settings(config)


def test_event_files_need_their_package(monkeypatch):
    monkeypatch.setattr("dwp.study.settings.find_spec", lambda name: None)
    config = {**copy.deepcopy(DEMO), "tensorboard": False}
    check_settings(config)
    config["tensorboard"] = True
    assert schema_error(config) is None
    with pytest.raises(UserError, match=r"^tensorboard: .*pip install tensorboard"):
        check_settings(config)


def test_a_fitted_prior_needs_kernels_that_the_release_lacks():
    # The release has 7 x 7 kernels only.
    config = changed(RELEASED, {"domains.mnist.priors.gaussian": {"kind": "gaussian-diagonal"}})
    with pytest.raises(UserError, match=r"^domains\.mnist\.priors\.gaussian: .*layers\.conv2"):
        check_settings(config)


# What the schema refuses

# What changes in the demo; the place the message names; what else it says.
REFUSED = {
    "unknown key": ({"colour": "red"}, "the config", ["unknown colour", "domains"]),
    "unknown key of a section": ({"data.cache": True}, "data", ["unknown cache", "download"]),
    "unknown key of a domain": (
        inside({"nets": 3}),
        "domains.demo",
        ["unknown nets", "source_nets"],
    ),
    "unknown key in a domain": (
        inside({"classification.epoch": 3}),
        "domains.demo.classification",
        ["unknown epoch", "epochs"],
    ),
    "unknown key in a prior": (
        inside({"priors.dwp.training.conv1.epoch": 3}),
        "domains.demo.priors.dwp.training.conv1",
        ["unknown epoch", "epochs"],
    ),
    "unknown key of a layer": (
        inside({"kernels.layers.conv1": {"fraction": 0.3}}),
        "domains.demo.kernels.layers.conv1",
        ["unknown fraction", "quantile"],
    ),
    "missing key": ({"device": REMOVED}, "the config", ["missing device"]),
    "missing key in a domain": (
        inside({"classification.validation": REMOVED}),
        "domains.demo.classification",
        ["missing validation"],
    ),
    "prior without a kind": (
        inside({"priors.dwp.kind": REMOVED}),
        "domains.demo.priors.dwp",
        ["missing kind"],
    ),
    "text for a number": (
        inside({"classification.epochs": "300"}),
        "domains.demo.classification.epochs",
        ["integer", "'300'"],
    ),
    "fraction for a count": (
        inside({"source_nets.count": 1.5}),
        "domains.demo.source_nets.count",
        ["integer", "1.5"],
    ),
    "truth for a count": (
        inside({"classification.samples": True}),
        "domains.demo.classification.samples",
        ["integer", "True"],
    ),
    "number for a list": (
        inside({"classification.splits": 3}),
        "domains.demo.classification.splits",
        ["array", "3"],
    ),
    "text for a truth": ({"data.download": "no"}, "data.download", ["boolean", "'no'"]),
    "list for a section": (
        inside({"priors": ["dwp"]}),
        "domains.demo.priors",
        ["object", "['dwp']"],
    ),
    "unknown device": ({"device": "tpu"}, "device", ["['auto', 'cpu', 'cuda']", "'tpu'"]),
    "unknown precision": (
        inside({"source_nets.precision": "float16"}),
        "domains.demo.source_nets.precision",
        ["float32", "bfloat16", "'float16'"],
    ),
    "negative count": (
        inside({"source_nets.count": -1}),
        "domains.demo.source_nets.count",
        ["minimum 1", "-1"],
    ),
    "count of 0": (
        inside({"classification.evaluate_every": 0}),
        "domains.demo.classification.evaluate_every",
        ["minimum 1", "0"],
    ),
    "training set of 0": (
        inside({"classification.train_sizes": [10, 0]}),
        "domains.demo.classification.train_sizes.1",
        ["minimum 1", "0"],
    ),
    "negative split": (
        inside({"classification.splits": [0, -1]}),
        "domains.demo.classification.splits.1",
        ["minimum 0", "-1"],
    ),
    "no kernels a step": (
        inside({"classification.kernels_per_step": 0}),
        "domains.demo.classification.kernels_per_step",
        ["minimum 1", "0"],
    ),
    "temperature of 0": (
        inside({"classification.kl_temperature": 0}),
        "domains.demo.classification.kl_temperature",
        ["exclusiveMinimum 0", "0"],
    ),
    "unknown bound": (
        inside({"classification.kl_bound": "iwae"}),
        "domains.demo.classification.kl_bound",
        ["elbo", "importance-weighted", "'iwae'"],
    ),
    "step size of 0": (
        inside({"classification.learning_rate": 0}),
        "domains.demo.classification.learning_rate",
        ["exclusiveMinimum 0", "0"],
    ),
    "all features dropped": (
        inside({"priors.deterministic-l2.dropout": 1.0}),
        "domains.demo.priors.deterministic-l2.dropout",
        ["exclusiveMaximum 1", "1.0"],
    ),
    "an ensemble of none": (
        inside({"priors.deterministic-l2.members": 0}),
        "domains.demo.priors.deterministic-l2.members",
        ["minimum 1", "0"],
    ),
    "negative penalty": (
        inside({"priors.deterministic-l2.l2": -0.1}),
        "domains.demo.priors.deterministic-l2.l2",
        ["minimum 0", "-0.1"],
    ),
    "all kernels dropped": (
        inside({"kernels.layers.conv1.quantile": 1}),
        "domains.demo.kernels.layers.conv1.quantile",
        ["exclusiveMaximum 1", "1"],
    ),
    "two ways to prune": (
        inside({"kernels.layers.conv1.threshold": 0.1}),
        "domains.demo.kernels.layers.conv1",
        ["maxProperties 1"],
    ),
    "all kernels for the test": (
        inside({"kernels.test_fraction": 1.0}),
        "domains.demo.kernels.test_fraction",
        ["exclusiveMaximum 1", "1.0"],
    ),
    "duplicate splits": (
        inside({"classification.splits": [0, 1, 0]}),
        "domains.demo.classification.splits",
        ["uniqueItems", "[0, 1, 0]"],
    ),
    "duplicate priors": (
        inside({"classification.priors": ["dwp", "dwp"]}),
        "domains.demo.classification.priors",
        ["uniqueItems", "['dwp', 'dwp']"],
    ),
    "an unknown setting to vary": (
        inside({"classification.vary": {"learning_rat": [0.1]}}),
        "domains.demo.classification.vary",
        ["unknown learning_rat", "learning_rate"],
    ),
    "a list of the grid to vary": (
        inside({"classification.vary": {"splits": [[0], [1]]}}),
        "domains.demo.classification.vary",
        ["unknown splits"],
    ),
    "a value that does not fit its setting": (
        inside({"classification.tune": {"learning_rate": [0.1, 0]}}),
        "domains.demo.classification.tune.learning_rate.1",
        ["exclusiveMinimum 0", "0"],
    ),
    "a list that does not fit its setting": (
        inside({"classification.vary": {"filters": [[16, 16], 16]}}),
        "domains.demo.classification.vary.filters.1",
        ["array", "16"],
    ),
    "one value to vary, and no list": (
        inside({"classification.vary": {"epochs": 200}}),
        "domains.demo.classification.vary.epochs",
        ["array", "200"],
    ),
    "a value twice": (
        inside({"classification.vary": {"epochs": [200, 200]}}),
        "domains.demo.classification.vary.epochs",
        ["uniqueItems"],
    ),
    "nothing to tune": (
        inside({"classification.tune": {}}),
        "domains.demo.classification.tune",
        ["{}"],
    ),
    "a choice by test data": (
        inside({"classification.tune_by": "ensemble_nll"}),
        "domains.demo.classification.tune_by",
        ["validation_nll", "validation_accuracy"],
    ),
    "no seeds": (
        inside({"classification.seeds": []}),
        "domains.demo.classification.seeds",
        ["[]"],
    ),
    "no width": (
        inside({"classification.filters": []}),
        "domains.demo.classification.filters",
        ["[]"],
    ),
    "number for a data set": (inside({"data.source": 3}), "domains.demo.data.source", ["string"]),
    "choice without a data set": (
        inside({"data.source": {"classes": [0, 1]}}),
        "domains.demo.data.source",
        ["missing dataset"],
    ),
    "unknown key of a choice": (
        inside({"data.source": {"dataset": "glyphs", "images": [0, 1]}}),
        "domains.demo.data.source",
        ["unknown images", "classes"],
    ),
    "one class": (
        inside({"data.source": {"dataset": "glyphs", "classes": [0]}}),
        "domains.demo.data.source.classes",
        ["minItems 2", "[0]"],
    ),
    "a class twice": (
        inside({"data.source": {"dataset": "glyphs", "classes": [0, 1, 0]}}),
        "domains.demo.data.source.classes",
        ["uniqueItems", "[0, 1, 0]"],
    ),
    "a range of three": (
        inside({"data.source": {"dataset": "glyphs", "train": [0, 1, 2]}}),
        "domains.demo.data.source.train",
        ["maxItems 2", "[0, 1, 2]"],
    ),
    "no domain": ({"domains": {}}, "domains", ["{}"]),
    "folder as a name": ({"name": "../demo"}, "name", ["'../demo'"]),
    "folder as a domain": ({"domains": {"a/b": {}}}, "domains", ["'a/b'"]),
}


@pytest.mark.parametrize(("changes", "place", "words"), REFUSED.values(), ids=REFUSED)
def test_values_that_fit_no_setting_are_refused(changes, place, words):
    error = schema_error(changed(DEMO, changes))
    assert error is not None
    message = describe_refusal(error)
    assert message.startswith(f"{place}: ")
    assert "\n" not in message
    for word in words:
        assert word in message


def test_members_are_of_every_kind_of_prior_and_the_rest_of_plain_nets():
    priors = {
        "ensemble": {"kind": "vae", "members": 3, "layers": {}, "training": {}},
        "plain": {"kind": "deterministic", "l2": 0.1, "members": 2, "dropout": 0.5},
        "normal": {"kind": "standard-normal"},
    }
    found = {name: settings_of_prior({"priors": priors}, name) for name in priors}
    plain = {"l2": 0.1, "members": 2, "dropout": 0.5}
    assert found == {"ensemble": {"members": 3}, "plain": plain, "normal": {}}
