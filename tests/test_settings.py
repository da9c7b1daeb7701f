"""The settings of a study: what is taken, what is refused, and in which words."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dwp.errors import UserError
from dwp.study.settings import RunSettings, load_settings, read_config, validated

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "config").glob("*.yaml"))
DEMO = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())
EPOCHS = DEMO["domains"]["demo"]["classification"]["epochs"]
REMOVED = object()


def changed(changes, config=DEMO, prefix="domains.demo."):
    """A copy of a config, with values at dotted paths in the demo's domain set or removed."""
    config = copy.deepcopy(config)
    for path, value in changes.items():
        path = path[1:] if path.startswith(".") else prefix + path
        *parents, last = path.split(".")
        section = config
        for name in parents:
            section = section[name]
        if value is REMOVED:
            del section[last]
        else:
            section[last] = value
    return config


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configs_of_the_project_hold(path):
    config = read_config(path)
    before = copy.deepcopy(config)
    load_settings(config, path)
    assert config == before


def test_the_configs_have_names_of_their_own():
    names = [read_config(path)["name"] for path in CONFIGS]
    assert len(set(names)) == len(names)  # or their results would share a folder


def test_schema_and_tables_are_made_from_the_settings():
    program = [sys.executable, ROOT / "docs" / "build_settings.py", "--check"]
    subprocess.run(program, check=True)


NEED_KERNELS = {
    f"priors.{name}": REMOVED
    for name in ("gaussian-diagonal", "gaussian-mixture", "student-t", "flow", "source-kernels")
}
WITHOUT_EXPERIMENTS = {"features": REMOVED, "convergence": REMOVED}
C = "classification"
ALLOWED = {
    "a prior as an init": {f"{C}.inits": ["xavier", "standard-normal", "dwp"]},
    "one Bayesian layer": {f"{C}.bayesian_layers": ["conv2"]},
    "values to compare and to choose among": {
        f"{C}.vary": {"filters": [[16, 16], [32, 128]], "kernels_per_step": [None, 4]},
        f"{C}.tune": {"learning_rate": [0.01, 0.001], "epochs": [EPOCHS, 2 * EPOCHS]},
        f"{C}.tune_by": "validation_accuracy",
    },
    "a fixed variance of the kernels": {"priors.dwp.layers.conv1.variance": 0.01},
    "reconstructed kernels as an init": {
        "priors.reconstructed": {"kind": "empirical", "reconstructed_by": "dwp"},
        f"{C}.inits": ["reconstructed"],
    },
    "a posterior over codes": {
        f"{C}.priors": ["dwp", "deterministic-l2"],
        f"{C}.vary": {"posterior": ["weights", "codes"]},
    },
    "a penalty, dropout and members": {
        "priors.deterministic-l2.penalty": "dwp",
        "priors.deterministic-l2.dropout": 0.5,
        "priors.deterministic-l2.members": 5,
    },
    "evaluation at the end alone": {f"{C}.evaluate_every": EPOCHS},
    "scales as numbers": {"features.scales": [0.25, 1, 2.5]},
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
        f"{C}.filters": [1, 2, 3],
        f"{C}.priors": ["normal"],
        f"{C}.inits": ["xavier"],
        f"{C}.bayesian_layers": ["conv1", "conv3"],
    },
    "no kernels for a prior that fits none": {
        **WITHOUT_EXPERIMENTS,
        "kernels.layers.conv1": {},
        "priors": {"standard-normal": {"kind": "standard-normal"}},
        f"{C}.priors": ["standard-normal"],
        f"{C}.inits": ["xavier"],
    },
    "a layer fitted and a layer released": {
        "kernels.layers.conv1": {},
        "priors.dwp.released": {"conv1": "vae7x7"},
        "priors.dwp.layers.conv1": REMOVED,
        "priors.dwp.training.conv1": REMOVED,
        **NEED_KERNELS,
        f"{C}.priors": ["dwp"],
        **WITHOUT_EXPERIMENTS,
    },
}


@pytest.mark.parametrize("changes", ALLOWED.values(), ids=ALLOWED)
def test_studies_that_hold(changes):
    load_settings(changed(changes))


# Written and meant: as YAML and Snakemake's --config pass values on.
VALUES = {
    "1e-3 without a point": (f"{C}.learning_rate", "1e-3", 0.001),
    "a whole number with a point": (f"{C}.epochs", 300.0, 300),
    "a number as text": (f"{C}.samples", "3", 3),
    "null as text": (f"{C}.kernels_per_step", "null", None),
    "numbers as texts": (f"{C}.splits", ["0", "1"], [0, 1]),
    "a varied number as text": (
        f"{C}.vary",
        {"learning_rate": ["1e-3"]},
        {"learning_rate": [1e-3]},
    ),
    "a fraction": ("features.scales", ["1/4"], [0.25]),
    "true as text": (".tensorboard", "true", True),
    "a part of a section": (".data", {"download": "yes"}, None),
}


@pytest.mark.parametrize(("path", "written", "meant"), VALUES.values(), ids=VALUES)
def test_values_are_read_as_they_are_meant(path, written, meant):
    found = load_settings(changed({path: written}))
    if path.startswith("."):
        found, path = found, path[1:]
    else:
        found = found.domains["demo"]
    for name in path.split("."):
        found = getattr(found, name)
    assert found == meant or found.download is True


def priors(**section):
    return {"priors.dwp": {"kind": "vae", **section}}


# What changes in the demo's domain, and the line that refuses it, "..." being any text.
REFUSED = [
    ({".colour": "red"}, "colour: unknown setting 'colour'; expected one of ..."),
    (
        {".data.cache": True},
        "data.cache: unknown setting 'cache'; expected one of download, folder",
    ),
    ({f"{C}.epoch": 3}, f"domains.demo.{C}.epoch: ...did you mean epochs?"),
    ({"priors.dwp.training.conv1.epoch": 3}, "domains.demo.priors.dwp.training.conv1.epoch: unkn"),
    ({f"{C}.filters": REMOVED}, f"domains.demo.{C}.filters: expected a value, found none"),
    ({".device": "gpu"}, "device: expected 'auto', 'cpu' or 'cuda'; found 'gpu'"),
    ({".name": "a/b"}, "name: expected ...; found 'a/b'"),
    ({".domains": {}}, "domains: expected ..."),
    ({".only": ["dem"]}, "only: expected one of demo; found 'dem'; did you mean demo?"),
    ({f"{C}.samples": "many"}, f"domains.demo.{C}.samples: expected a valid integer...'many'"),
    ({f"{C}.samples": True}, f"domains.demo.{C}.samples: expected a number, found True"),
    ({f"{C}.samples": 2.5}, f"domains.demo.{C}.samples: expected a valid integer...2.5"),
    (
        {f"{C}.learning_rate": 0},
        f"domains.demo.{C}.learning_rate: expected greater than 0; found 0",
    ),
    ({"source_nets.learning_rate": float("nan")}, "domains.demo.source_nets.learning_rate: exp"),
    ({f"{C}.splits": []}, f"domains.demo.{C}.splits: expected ..."),
    ({f"{C}.seeds": [1, 1]}, f"domains.demo.{C}.seeds: expected different values, found [1, 1]"),
    ({"features.scales": ["1/2", 0.5]}, "domains.demo.features.scales: expected different values"),
    ({f"{C}.vary": {"sample": [1]}}, f"domains.demo.{C}: ...did you mean samples?"),
    ({f"{C}.vary": {"samples": ["x"]}}, f"domains.demo.{C}...expected a valid integer"),
    (
        {f"{C}.vary": {"epochs": [100]}, f"{C}.tune": {"epochs": [200]}},
        f"domains.demo.{C}: expected epochs in one of vary and tune, found both",
    ),
    ({"network": "resnet"}, "domains.demo.network: ...mnist, cifar...'resnet'"),
    ({"data.source": "emnist"}, "domains.demo.data.source: ...glyphs...'emnist'"),
    ({"data.source": "digits"}, "domains.demo.data: source and target share images of 'digits'"),
    (
        {"data.source": {"dataset": "digits", "train": [0, 9], "test": [9, 18]}},
        "domains.demo.data: source and target share images",
    ),
    (
        {"data.source": {"dataset": "glyphs", "classes": [0, 10]}},
        "domains.demo.data.source.classes: expected classes of 'glyphs', 0 to 9; found 10",
    ),
    (
        {"data.source": {"dataset": "glyphs", "train": [5, 5]}},
        "domains.demo.data.source.train: ...",
    ),
    ({"data.source": {"dataset": "glyphs", "test": [0, 10]}}, "domains.demo.data.source.test: ..."),
    ({"data.source": "cifar10"}, "domains.demo.data.source: ...1x28x28...3x32x32"),
    ({"source_nets.filters": [16]}, "domains.demo.source_nets.filters: expected 2 numbers"),
    ({f"{C}.vary": {"filters": [[1, 2], [1]]}}, f"domains.demo.{C}.filters: expected 2 numbers"),
    ({"features.filters": [16]}, "domains.demo.features.filters: expected 2 numbers"),
    (
        {"convergence.image-vae.filters": [4, 8, 8]},
        "domains.demo.convergence.image-vae.filters: ...encoder1, encoder2...[4, 8, 8]",
    ),
    ({"kernels.layers.conv1": REMOVED}, "domains.demo.kernels.layers: expected conv1 as well"),
    (
        {"kernels.layers.conv3": {}},
        "domains.demo.kernels.layers.conv3: expected one of conv1, conv2",
    ),
    (
        {"kernels.layers.conv1": {"quantile": 0.1, "threshold": 1}},
        "domains.demo.kernels.layers.conv1: expected one of threshold, quantile and released",
    ),
    ({"source_nets": REMOVED}, "domains.demo.kernels.layers.conv1: ...source_nets"),
    (
        {"priors.xavier": {"kind": "standard-normal"}},
        "domains.demo.priors.xavier: 'xavier' names an",
    ),
    ({"priors.dwp.kind": "vea"}, "domains.demo.priors.dwp.kind: ...did you mean vae?"),
    (
        {"priors.gaussian-diagonal.released": {"conv1": "a"}},
        "domains.demo.priors.gaussian-diagonal.released: not of kind 'gaussian-diagonal'",
    ),
    (
        {"priors.student-t.layers": {"conv1": {"seed": 0}}},
        "domains.demo.priors.student-t.layers: not of kind 'student-t'",
    ),
    (
        {"priors.gaussian-diagonal.reconstructed_by": "dwp"},
        "domains.demo.priors.gaussian-diagonal.reconstructed_by: not of kind",
    ),
    ({"priors.dwp.training": REMOVED}, "domains.demo.priors.dwp.training: expected conv1 as well"),
    ({"priors.dwp.layers": REMOVED}, "domains.demo.priors.dwp.layers.conv1: missing hidden"),
    ({"priors.dwp.layers.conv1.depth": 3}, "domains.demo.priors.dwp.layers.conv1: ...'depth'"),
    ({"priors.dwp.layers.conv1.hidden": 2.5}, "domains.demo.priors.dwp.layers.conv1.hidden: exp"),
    ({"priors.dwp.layers.conv1.variance": 0}, "domains.demo.priors.dwp.layers.conv1.variance: exp"),
    ({"priors.dwp.layers.conv3": {"hidden": 1}}, "domains.demo.priors.dwp.layers: ...'conv3'"),
    ({"priors.dwp.released": {"conv1": "vae7x7"}}, "domains.demo.priors.dwp.layers: ...'conv1'"),
    (
        {"priors.gaussian-diagonal.pretrained": {"conv1": "cats-7x7"}},
        "domains.demo.priors.gaussian-diagonal.pretrained.conv1: ...'cats-7x7'",
    ),
    (
        {"priors.gaussian-diagonal.pretrained": {"conv1": "mnist-7x7"}},
        "domains.demo.priors.gaussian-diagonal.pretrained.conv1: ...of kind vae over 7 x 7",
    ),
    ({"priors.deterministic-l2.l2": REMOVED}, "domains.demo.priors.deterministic-l2.l2: missing"),
    (
        {"priors.deterministic-l2.penalty": "source-kernels"},
        "domains.demo.priors.deterministic-l2.penalty: ...found 'source-kernels'",
    ),
    (
        {"priors.source-kernels.reconstructed_by": "flow"},
        "domains.demo.priors.source-kernels.reconstructed_by: expected one of dwp; found 'flow'",
    ),
    (
        {"kernels.layers.conv2": {}},
        "domains.demo.priors.dwp: fitted to kernels, and kernels.layers",
    ),
    ({f"{C}.priors": ["dwp", "horseshoe"]}, f"domains.demo.{C}.priors: ...'horseshoe'"),
    ({f"{C}.priors": ["source-kernels"]}, f"domains.demo.{C}.priors: ...'source-kernels'"),
    ({f"{C}.inits": ["kaiming"]}, f"domains.demo.{C}.inits: expected one of xavier...'kaiming'"),
    ({f"{C}.inits": ["log-uniform"]}, f"domains.demo.{C}.inits: ...'log-uniform'"),
    ({f"{C}.inits": ["deterministic-l2"]}, f"domains.demo.{C}.inits: ...'deterministic-l2'"),
    ({"features.inits": ["log-uniform"]}, "domains.demo.features.inits: ...'log-uniform'"),
    ({f"{C}.bayesian_layers": ["conv3"]}, f"domains.demo.{C}.bayesian_layers: ...'conv3'"),
    ({f"{C}.posterior": "codes"}, f"domains.demo.{C}.posterior: codes are of priors of kind vae"),
    ({f"{C}.evaluate_every": EPOCHS + 1}, f"domains.demo.{C}.evaluate_every: expected at most"),
    ({f"{C}.vary": {"epochs": [EPOCHS, 5]}}, f"domains.demo.{C}.evaluate_every: expected at most"),
    ({f"{C}.splits": list(range(50_000))}, f"domains.demo.{C}: expected at most 100000 runs"),
    (
        {"convergence.classifier.steps": 4},
        "domains.demo.convergence.classifier.evaluate_every: expected at most steps (4), found 5",
    ),
    (
        {"convergence.image-vae.latent": REMOVED},
        "domains.demo.convergence.image-vae.latent: missing",
    ),
    (
        {"convergence.classifier.sample_steps": [0]},
        "domains.demo.convergence.classifier.sample_steps: only an image-vae has it",
    ),
    (
        {"convergence.image-vae.sample_steps": [0, 15]},
        "domains.demo.convergence.image-vae.sample_steps: expected multiples of evaluate_every",
    ),
]


@pytest.mark.parametrize(("changes", "line"), REFUSED, ids=[line[:60] for _, line in REFUSED])
def test_a_wrong_setting_is_refused_in_one_line(changes, line):
    with pytest.raises(UserError) as caught:
        load_settings(changed(changes))
    message = str(caught.value)
    first, *parts = line.split("...")
    assert message.startswith(first)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_every_domain_is_checked():
    config = changed({})
    config["domains"]["second"] = {**config["domains"]["demo"], "network": "resnet"}
    with pytest.raises(UserError, match=r"^domains\.second\.network: "):
        load_settings(config)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: 2\na: 3\n", "expected every setting once, found a again in line 3"),
        ("a: {b: 1, c: 2, b: 3}\n", "found b again"),
        ("a: [\n", "expected YAML, found"),
        ("- 1\n", "expected settings by name, found list"),
        (None, "no such file"),
    ],
)
def test_a_file_that_is_no_config(tmp_path, text, line):
    path = tmp_path / "config.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_config(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert line in str(caught.value)


def test_settings_are_passed_on_as_text():
    settings = RunSettings(network="mnist", filters=[1, 2], learning_rate=0.5, epochs=10_000)
    assert settings.text() == '{"filters": [1, 2], "learning_rate": 0.5, "network": "mnist"}'
    assert validated(RunSettings, settings.text()) == settings
