"""The settings of a study: what is taken, what is refused, and in which words."""

import copy

import pytest
import yaml
from helpers import ROOT, refusal

from dwp.study.settings import load_settings, read_config

CONFIGS = sorted((ROOT / "config").glob("*.yaml"))
DEMO = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())
EPOCHS = DEMO["domains"]["demo"]["classification"]["epochs"]
REMOVED = object()


def full(path):
    """The path of a setting of the demo's domain; with a dot in front of any setting."""
    return path[1:] if path.startswith(".") else f"domains.demo.{path}"


def changed(changes):
    """A copy of the demo's config, with values at some paths set or removed."""
    config = copy.deepcopy(DEMO)
    for path, value in changes.items():
        *parents, last = full(path).split(".")
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
    "evaluation at the end alone": {f"{C}.evaluate_every": EPOCHS},
    "scales as numbers": {"features.scales": [0.25, 1, 2.5]},
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
    "a varied number": (f"{C}.vary", {"learning_rate": ["1e-3"]}, {"learning_rate": [1e-3]}),
    "a fraction": ("features.scales", ["1/4"], [0.25]),
    "true as text": (".tensorboard", "true", True),
    "a part of a section": (".data", {"download": "yes"}, None),
}


@pytest.mark.parametrize(("path", "written", "meant"), VALUES.values(), ids=VALUES)
def test_values_are_read_as_they_are_meant(path, written, meant):
    found = load_settings(changed({path: written}))
    for name in full(path).split("."):
        found = found[name] if isinstance(found, dict) else getattr(found, name)
    assert found == meant or found.download is True


# A setting, a wrong value, and the line that refuses it, "..." being any text.
REFUSED = [
    (".colour", "red", "unknown setting; expected one of ...; found 'colour'"),
    (".data.cache", True, "unknown setting; expected one of download, folder"),
    (f"{C}.epoch", 3, "...did you mean epochs?"),
    (f"{C}.filters", REMOVED, "expected a value, found none"),
    (".device", "gpu", "expected 'auto', 'cpu' or 'cuda'; found 'gpu'"),
    (".name", "a/b", "expected ...; found 'a/b'"),
    (".domains", {}, "expected ..."),
    (".only", ["dem"], "expected one of demo; found 'dem'; did you mean demo?"),
    (f"{C}.samples", "many", "expected a valid integer...'many'"),
    (f"{C}.samples", True, "expected a number, found True"),
    (f"{C}.learning_rate", 0, "expected greater than 0; found 0"),
    ("source_nets.learning_rate", float("nan"), "expected ..."),
    (f"{C}.splits", [], "expected ..."),
    (f"{C}.seeds", [1, 1], "expected different values, found [1, 1]"),
    ("features.scales", ["1/2", 0.5], "expected different values"),
    ("network", "resnet", "...mnist, cifar...'resnet'"),
    ("data.source", "emnist", "...glyphs...'emnist'"),
    ("data.source", "cifar10", "...1x28x28...3x32x32"),
    ("source_nets.filters", [16], "expected one number for each of conv1, conv2; found [16]"),
    ("features.filters", [16], "expected one number for each"),
    ("convergence.image-vae.filters", [4, 8, 8], "...encoder1, encoder2...[4, 8, 8]"),
    ("kernels.layers.conv1", {"quantile": 0.1, "threshold": 1}, "expected one of ..."),
    ("priors.xavier", {"kind": "standard-normal"}, "'xavier' names an init"),
    ("priors.dwp.kind", "vea", "...did you mean vae?"),
    ("priors.gaussian-diagonal.released", {"conv1": "a"}, "not of kind 'gaussian-diagonal'"),
    ("priors.student-t.layers", {"conv1": {"seed": 0}}, "not of kind 'student-t'"),
    ("priors.gaussian-diagonal.reconstructed_by", "dwp", "not of kind"),
    ("priors.dwp.training", REMOVED, "expected conv1 as well"),
    ("priors.dwp.layers.conv1.depth", 3, "...hidden, latent, variance; found 'depth'"),
    ("priors.dwp.layers.conv1.hidden", REMOVED, "expected a value"),
    ("priors.dwp.layers.conv1.hidden", 2.5, "expected a valid integer; found 2.5"),
    ("priors.deterministic-l2.l2", REMOVED, "missing"),
    ("priors.deterministic-l2.penalty", "source-kernels", "...found 'source-kernels'"),
    ("priors.source-kernels.reconstructed_by", "flow", "expected one of dwp; found 'flow'"),
    (f"{C}.priors", ["dwp", "horseshoe"], "...'horseshoe'"),
    (f"{C}.priors", ["source-kernels"], "...'source-kernels'"),
    (f"{C}.inits", ["kaiming"], "expected one of xavier...'kaiming'"),
    (f"{C}.inits", ["log-uniform"], "...'log-uniform'"),
    (f"{C}.inits", ["deterministic-l2"], "...'deterministic-l2'"),
    ("features.inits", ["log-uniform"], "...'log-uniform'"),
    (f"{C}.bayesian_layers", ["conv3"], "...'conv3'"),
    (f"{C}.posterior", "codes", "codes are of priors of kind vae"),
    (f"{C}.evaluate_every", EPOCHS + 1, "expected at most"),
    ("convergence.image-vae.latent", REMOVED, "missing"),
    ("convergence.classifier.sample_steps", [0], "only an image-vae has it"),
    ("convergence.image-vae.sample_steps", [0, 15], "expected multiples of evaluate_every"),
]
# The same where the line names another setting.
BOTH = {"vary": {"epochs": [EPOCHS]}, "tune": {"epochs": [2 * EPOCHS]}}
SHARED = {"dataset": "digits", "train": [0, 9], "test": [9, 18]}
GLYPHS = {"dataset": "glyphs"}
PRETRAINED, CLASSIFIER = "priors.gaussian-diagonal.pretrained", "convergence.classifier"
REFUSED_ELSEWHERE = [
    (f"{C}.vary", {"sample": [1]}, f"{C}.sample: ...did you mean samples?"),
    (C, DEMO["domains"]["demo"][C] | BOTH, f"{C}: expected epochs in one of vary and tune"),
    (f"{C}.vary", {"filters": [[1, 2], [1]]}, f"{C}.filters: expected one number for each"),
    (f"{C}.log_variance", [-7], f"{C}.log_variance: expected one number for each"),
    (f"{C}.vary", {"epochs": [EPOCHS, 5]}, f"{C}.evaluate_every: expected at most"),
    (f"{C}.splits", list(range(50_000)), f"{C}: expected at most 100000 runs"),
    ("data.source", "digits", "data: source and target share images of 'digits'"),
    ("data.source", SHARED, "data: source and target share images"),
    ("data.source", GLYPHS | {"classes": [0, 10]}, "data.source.classes: ...0 to 9; found 10"),
    ("data.source", GLYPHS | {"train": [5, 5]}, "data.source.train: ..."),
    ("data.source", GLYPHS | {"test": [0, 10]}, "data.source.test: ..."),
    ("kernels.layers.conv1", REMOVED, "kernels.layers: expected conv1 as well"),
    (
        "kernels.layers.conv2",
        {},
        "priors.dwp: fitted to kernels, and kernels.layers.conv2 has none",
    ),
    ("kernels.layers.conv3", {}, "kernels.layers: expected one of conv1, conv2"),
    ("source_nets", REMOVED, "kernels.layers.conv1: ...source_nets"),
    ("priors.dwp.layers", REMOVED, "priors.dwp.layers.conv1.hidden: expected a value"),
    ("priors.dwp.layers.conv3", {"hidden": 1}, "priors.dwp.layers: ...'conv3'"),
    ("priors.dwp.released", {"conv1": "vae7x7"}, "priors.dwp.layers: ...'conv1'"),
    (PRETRAINED, {"conv1": "cats-7x7"}, f"{PRETRAINED}.conv1: ...'cats-7x7'"),
    (PRETRAINED, {"conv1": "mnist-7x7"}, f"{PRETRAINED}.conv1: ...of kind vae over 7 x 7"),
    (f"{CLASSIFIER}.steps", 4, f"{CLASSIFIER}.evaluate_every: expected at most steps (4), found 5"),
]


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [*((path, value, f"{path}: {line}") for path, value, line in REFUSED), *REFUSED_ELSEWHERE],
)
def test_a_wrong_setting_is_refused_in_one_line(path, value, line):
    message = refusal(load_settings, changed({path: value}))
    first, *parts = full(line).split("...")
    assert message.startswith(first)
    for part in parts:
        assert part in message


def test_every_domain_is_checked():
    config = changed({})
    config["domains"]["second"] = {**config["domains"]["demo"], "network": "resnet"}
    assert refusal(load_settings, config).startswith("domains.second.network: ")
    load_settings(config | {"only": "demo"})


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: 2\na: 3\n", "expected every setting once, found a again in line 3"),
        ("a: {b: 1, c: 2, b: 3}\n", "expected every setting once, found b again"),
        ("a: [\n", "expected YAML; found"),
        ("- 1\n", "expected settings by name, found list"),
        (None, "no such file"),
    ],
)
def test_a_file_that_is_no_config(tmp_path, text, line):
    path = tmp_path / "config.yaml"
    if text is not None:
        path.write_text(text)
    assert refusal(read_config, path).startswith(f"{path}: {line}")
