"""Every kind of training, interrupted anywhere, ends in the same bytes."""

import os
import random
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import CLASSIFICATION, ROOT, run_program, script, some_kernels

from dwp.data.tensors import ImageTensors
from dwp.files import load_tensors, save_tensors
from dwp.priors import prior_class
from dwp.seeds import generator
from dwp.study.runs import KEPT
from dwp.training import loop

STEPS = 14  # of every training here
FILTERS = {"mnist": [2, 3], "cifar-batchnorm": [2, 2, 2, 3]}
SHAPES = {"mnist": (1, 28, 28), "cifar-batchnorm": (3, 32, 32)}
OWN = ROOT / "tests" / "own_nets.py"

BY_EPOCH = {"epochs": 7, "batch_size": 20, "learning_rate": 0.01}  # 2 steps, the second of 10
CLASSIFIER = CLASSIFICATION | {"epochs": 7, "batch_size": 7, "validation": 9}
CONVERGENCE = {"steps": STEPS, "batch_size": 11, "learning_rate": 0.01, "evaluate_every": 2}
SIZES = {"vae": {"hidden": 2, "latent": 2}, "flow": {"transforms": 2, "hidden": 3}}
SOME_KERNELS = {"kernels_per_step": 3, "kl_bound": "importance-weighted", "latent_samples": 2}
SAMPLED = {"kl_estimator": "monte-carlo"}
OWN_NET = {"network": f"{OWN}:WithDropout"}

DRAWN = {"kind": "image-vae", "latent": 2, "sample_steps": [0, 4, 14]}
NORMED = {"network": "cifar-batchnorm"}

# A kind of training: its program, its settings, the kinds of its priors, and how many runs.
KINDS = {
    "source net in half precision": ("train_source", {"precision": "bfloat16"}),
    "source net with batch norm": ("train_source", NORMED),
    "source nets, stacked": ("train_source", {}, {"runs": 3}),
    "VAE": ("fit_prior", {"kind": "vae"}),
    "flow": ("fit_prior", {"kind": "flow"}),
    "vae prior, some kernels": ("train_classifiers", SOME_KERNELS, {"priors": "vae"}),
    "vae prior, codes": ("train_classifiers", {"posterior": "codes"}, {"priors": "vae"}),
    "flow prior": ("train_classifiers", {}, {"priors": "flow"}),
    "mixture prior": ("train_classifiers", {}, {"priors": "gaussian-mixture"}),
    "log-uniform prior": ("train_classifiers", {}, {"priors": "log-uniform"}),
    "normal, stacked": ("train_classifiers", SAMPLED, {"priors": "standard-normal", "runs": 3}),
    "vae prior, stacked": ("train_classifiers", {}, {"priors": "vae", "runs": 2}),
    "dropout": ("train_classifiers", {"dropout": 0.5}),
    "ensemble": ("train_classifiers", {"members": 3, "dropout": 0.5}),
    "net of one's own": ("train_classifiers", OWN_NET, {"priors": "standard-normal"}),
    "ensemble of nets of one's own": ("train_classifiers", OWN_NET | {"members": 2}),
    "vae penalty": ("train_classifiers", {}, {"penalty": "vae"}),
    "features with batch norm": ("train_features", NORMED),
    "features with dropout": ("train_features", OWN_NET),
    "whole net with batch norm": ("train_convergence", {"kind": "classifier"} | NORMED),
    "image VAE": ("train_convergence", DRAWN),
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A folder of image data sets, kernels, and priors of some kinds over 7 x 7 and 5 x 5."""
    folder = tmp_path_factory.mktemp("inputs")
    for network, shape in SHAPES.items():
        images = [torch.randint(0, 256, (n, *shape), generator=generator(n)) for n in (30, 12)]
        train, test = (part.to(torch.uint8) for part in images)
        data = ImageTensors(train, torch.arange(30) % 3, test, torch.arange(12) % 3)
        data.save(folder / f"{network}.safetensors", {})
    for size in (7, 5):
        kernels = some_kernels(size, 28)
        tensors = {"train": kernels, "test": kernels[:3].clone()}
        save_tensors(folder / f"kernels{size}.safetensors", tensors, kind="kernels", settings={})
        priors = {kind: prior_class(kind)(size) for kind in ("standard-normal", "log-uniform")}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            priors |= {kind: prior_class(kind)(size, **SIZES[kind]) for kind in SIZES}
        mixture = prior_class("gaussian-mixture")
        priors["gaussian-mixture"] = mixture.fit(kernels, components=2, seed=0)
        for kind, prior in priors.items():
            prior.save(folder / kind / f"conv{1 + (size == 5)}.safetensors")
    return folder


def options_of(kind, inputs, folder, minutes):
    """Return what the workflow would give the program of a training."""
    name, settings, others = (*KINDS[kind], {})[:3]
    options = {"code": "abc", "checkpoint_minutes": minutes}
    if name == "fit_prior":
        training = {"epochs": 7, "batch_size": 14, "learning_rate": 0.01, "seed": 0}
        settings |= {"kernel_size": 5, "training": training}
        settings |= {"hyperparameters": SIZES[settings["kind"]]}
        options |= {"kernels": [inputs / "kernels5.safetensors"], "settings": settings}
        options["history"] = folder / "history.csv"
        return name, options | {"prior": folder / "prior.safetensors"}
    network = settings.get("network", "mnist")
    data = inputs / f"{network if network in SHAPES else 'mnist'}.safetensors"
    runs = range(others.get("runs", 1))
    options |= {"data": data, "columns": {"domain": "demo", "n": 9, "scale": 1.0}}
    options |= {"weights": folder / "weights.safetensors", "metrics": folder / "metrics.csv"}
    options["runs"] = [{"seed": run} for run in runs]
    base = {"train_classifiers": CLASSIFIER, "train_convergence": CONVERGENCE}.get(name, BY_EPOCH)
    base = {"network": "mnist", **base, "filters": FILTERS.get(network, [2, 3])}
    if name == "train_classifiers":
        options["runs"] = [{"split": run, "seed": 1 - run} for run in runs]
        options["source"] = data
        for role in {"priors", "penalty"} & set(others):
            options[role] = sorted((inputs / others[role]).iterdir())
    if settings.get("kind") == "image-vae":
        del base["network"]
    return name, options | {"settings": base | settings}


def content(folder):
    """The bytes of every file in a folder, by its path there."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


class Interruption(Exception):
    pass


@pytest.fixture
def train(inputs, monkeypatch):
    """Run a kind of training in this process, stopping in a step; return the steps taken.

    A minute passes between two readings of the clock, so that a checkpoint comes every third step.
    """
    minutes = iter(range(0, 10**6, 60))
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(minutes)))

    def run(kind, folder, stop=None):
        steps = []

        class Adam(torch.optim.Adam):
            def step(self):
                if len(steps) + 1 == stop:  # noise is drawn, gradients are there, weights are old
                    raise Interruption
                steps.append(None)
                super().step()

        name, options = options_of(kind, inputs, folder, 2.5)
        program = script(name)
        with monkeypatch.context() as patch:
            patch.setattr(loop.torch.optim, "Adam", Adam)
            if "stacked" in kind:  # as on a GPU
                together = program.Batch.train
                stacked = lambda self, *a, **k: together(self, *a, **k | {"together": None})  # noqa: E731
                patch.setattr(program.Batch, "train", stacked)
            try:
                run_program(program.main, **options)
            except Interruption:
                assert stop is not None
            else:
                assert stop is None
        return len(steps)

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_training_ends_in_the_same_bytes(tmp_path, train, kind):
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    assert train(kind, whole) == STEPS
    torch.manual_seed(1)  # the global generators have no say
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    train(kind, torn, stop=2)  # before the first checkpoint: from the beginning
    train(kind, torn, stop=5)  # the fourth step, after the checkpoint of the third, is lost
    (checkpoint,) = torn.rglob("*.checkpoint")
    assert load_tensors(checkpoint, kind="checkpoint")[1]["done"] == 3
    train(kind, torn, stop=4)  # in the step after a checkpoint, the second
    train(kind, torn, stop=1)  # at once
    assert train(kind, torn) == STEPS - 6
    assert content(torn) == content(whole)  # and no checkpoint is left
    if kind not in ("VAE", "flow"):  # of which the workflow keeps the result alone
        assert train(kind, torn) == 0


@pytest.mark.parametrize(
    "kind",
    [k for k, (name, *_) in KINDS.items() if name != "train_classifiers"]
    + ["vae prior, some kernels", "flow prior", "mixture prior", "ensemble of nets of one's own"],
)
def test_the_callers_defaults_change_nothing(tmp_path, train, kind):
    train(kind, tmp_path / "own")
    given = "prior" in kind  # read from files, where the caller has them
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad(), torch.device("cpu" if given else "meta"):
            train(kind, tmp_path / "other")
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert content(tmp_path / "other") == content(tmp_path / "own")


def test_a_killed_process_ends_in_the_same_bytes(tmp_path, inputs, train):
    kind, whole, torn = "vae prior, some kernels", tmp_path / "whole", tmp_path / "torn"
    train(kind, whole)
    name, options = options_of(kind, inputs, torn, 0)  # a checkpoint at every step
    line = []
    run_program(line.extend, **options)
    process = subprocess.Popen(
        [sys.executable, f"{ROOT}/workflow/scripts/{name}.py", *line],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and not list(torn.rglob("s*.checkpoint")):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not list((torn / KEPT).glob("*.safetensors"))
    assert train(kind, torn) < STEPS
    assert content(whole).items() <= content(torn).items()  # a kill may leave a temporary file
