"""Every kind of training, interrupted anywhere, ends in the bytes of an undisturbed one."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers import CLASSIFICATION

from dwp.data.tensors import ImageTensors
from dwp.files import load_tensors, save_tensors
from dwp.priors import prior_class
from dwp.seeds import generator
from dwp.study.runs import CHECKPOINT
from dwp.study.settings import as_json
from dwp.training import loop

SCRIPTS = Path(__file__).parent.parent / "workflow" / "scripts"
STEPS = 14  # of every training here
FILTERS = {"mnist": [2, 3], "cifar-batchnorm": [2, 2, 2, 3]}
SHAPES = {"mnist": (1, 28, 28), "cifar-batchnorm": (3, 32, 32)}

SOURCE = {
    "network": "mnist",
    "epochs": 7,
    "batch_size": 20,  # 2 steps an epoch, the second of 10 images
    "learning_rate": 0.01,
    "l2": 1e-3,
    "precision": "float32",
}
CLASSIFIER = CLASSIFICATION | {"epochs": 7, "batch_size": 7, "validation": 9}
FEATURES = {"network": "mnist", "epochs": 7, "batch_size": 20, "learning_rate": 0.01}
CONVERGENCE = {"steps": STEPS, "batch_size": 11, "learning_rate": 0.01, "evaluate_every": 2}
ANSATZ = {"vae": {"hidden": 2, "latent": 2}, "flow": {"transforms": 2, "hidden": 3}}

# A kind of training: its program, its settings, and the kinds of the priors it is given.
KINDS = {
    "source net": ("train_source", SOURCE),
    "source net in half precision": ("train_source", SOURCE | {"precision": "bfloat16"}),
    "source net with batch norm": ("train_source", SOURCE | {"network": "cifar-batchnorm"}),
    "source nets, stacked": ("train_source", SOURCE, {"runs": 3}),
    "VAE": ("fit_prior", {"kind": "vae"}),
    "flow": ("fit_prior", {"kind": "flow"}),
    "vae prior": ("train_classifier", {}, {"priors": "vae"}),
    "vae prior, some kernels": (
        "train_classifier",
        {"kernels_per_step": 3, "kl_bound": "importance-weighted", "latent_samples": 2},
        {"priors": "vae"},
    ),
    "vae prior, codes": ("train_classifier", {"posterior": "codes"}, {"priors": "vae"}),
    "flow prior": ("train_classifier", {}, {"priors": "flow"}),
    "mixture prior": ("train_classifier", {}, {"priors": "gaussian-mixture"}),
    "log-uniform prior": ("train_classifier", {}, {"priors": "log-uniform"}),
    "normal prior, stacked": (
        "train_classifier",
        {"kl_estimator": "monte-carlo"},
        {"priors": "standard-normal", "runs": 3},
    ),
    "vae prior, stacked": ("train_classifier", {}, {"priors": "vae", "runs": 2}),
    "deterministic": ("train_classifier", {}),
    "dropout": ("train_classifier", {"dropout": 0.5}),
    "ensemble": ("train_classifier", {"members": 3, "dropout": 0.5}),
    "vae penalty": ("train_classifier", {}, {"penalty": "vae"}),
    "features": ("train_features", FEATURES),
    "features with batch norm": ("train_features", FEATURES | {"network": "cifar-batchnorm"}),
    "whole classifier": ("train_convergence", {"kind": "classifier", "network": "mnist"}),
    "whole net with batch norm": (
        "train_convergence",
        {"kind": "classifier", "network": "cifar-batchnorm"},
    ),
    "image VAE": (
        "train_convergence",
        {"kind": "image-vae", "latent": 2, "sample_steps": [0, 4, STEPS]},
    ),
}


def load_script(name):
    specification = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


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
        kernels = 0.2 * torch.randn((28, size, size), generator=generator(size))
        tensors = {"train": kernels, "test": kernels[:3].clone()}
        save_tensors(folder / f"kernels{size}.safetensors", tensors, kind="kernels", settings={})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            priors = {kind: prior_class(kind)(size, **ANSATZ[kind]) for kind in ANSATZ}
        for kind in ("standard-normal", "log-uniform"):
            priors[kind] = prior_class(kind)(size)
        mixture = prior_class("gaussian-mixture")
        priors["gaussian-mixture"] = mixture.fit(kernels, components=2, seed=0)
        for kind, prior in priors.items():
            prior.save(folder / f"{kind}{size}.safetensors")
    return folder


def command(kind, inputs, folder, minutes):
    """Return the command line of a training: what the workflow would give its program."""
    script, settings, others = (*KINDS[kind], {})[:3]
    line = {"--code": "abc", "--checkpoint-minutes": str(minutes)}
    if script == "fit_prior":
        training = {"epochs": 7, "batch_size": 14, "learning_rate": 0.01, "seed": 0}
        settings = {"arguments": ANSATZ[settings["kind"]], "training": training} | settings
        line |= {"--kernels": inputs / "kernels5.safetensors", "--kernel-size": "5"}
        line |= {"--prior": folder / "prior.safetensors", "--history": folder / "history.csv"}
    else:
        network = settings.get("network", "mnist")
        line["--data"] = inputs / f"{network}.safetensors"
        runs = range(others.get("runs", 1))
    if script == "train_source":
        settings = settings | {"filters": FILTERS[network]}
        line |= {"--folder": folder / "{seed}", "--runs": as_json([{"seed": run} for run in runs])}
    elif script == "train_classifier":
        settings = CLASSIFIER | settings
        line |= {"--folder": folder / "n{n}/split{split}/seed{seed}"}
        line["--runs"] = as_json([{"n": 9, "split": run, "seed": 1 - run} for run in runs])
        for role in ("priors", "penalty"):
            if role in others:
                files = [inputs / f"{others[role]}{size}.safetensors" for size in (7, 5)]
                line[f"--{role}"] = [f"conv{n}={file}" for n, file in enumerate(files, 1)]
    elif script == "train_features":
        settings = settings | {"filters": FILTERS[network]}
        line |= {"--folder": folder / "{scale}/{seed}"}
        line["--runs"] = as_json([{"scale": 1.0, "seed": 0}])
    elif script == "train_convergence":
        settings = CONVERGENCE | settings | {"filters": FILTERS[network]}
        line |= {"--folder": folder / "{seed}", "--runs": as_json([{"seed": 0}])}
    line["--settings"] = as_json(settings)
    parts = ([key, *map(str, v if isinstance(v, list) else [v])] for key, v in line.items())
    return [str(SCRIPTS / f"{script}.py"), *(part for option in parts for part in option)]


def content(folder):
    """The bytes of every file in a folder, by its path there."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


class Interruption(Exception):
    pass


@pytest.fixture
def train(inputs, monkeypatch):
    """Run a kind of training in this process, stopping within a step; return the steps taken.

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

        program, *arguments = command(kind, inputs, folder, 2.5)
        script = load_script(Path(program).stem)
        with monkeypatch.context() as patch:
            patch.setattr(loop.torch.optim, "Adam", Adam)
            patch.setattr(sys, "argv", [program, *arguments])
            if "stacked" in kind:  # as on a GPU
                patch.setattr(script, "nets_together", lambda *_: 3, raising=False)
                patch.setattr(script, "_groups", lambda runs, _: [runs], raising=False)
            try:
                script.main()
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
    train(kind, torn, stop=2)  # before the first checkpoint: from the beginning
    train(kind, torn, stop=5)  # the fourth step, after the checkpoint of the third, is lost
    (checkpoint,) = torn.rglob("*.checkpoint")
    assert load_tensors(checkpoint, kind="checkpoint")[1]["done"] == 3
    train(kind, torn, stop=4)  # within the step after a checkpoint, the second
    train(kind, torn, stop=1)  # at once
    assert train(kind, torn) == STEPS - 6
    assert content(torn) == content(whole)  # and no checkpoint is left


@pytest.mark.parametrize("kind", ["image VAE", "vae prior"])
def test_a_killed_process_ends_in_the_same_bytes(tmp_path, inputs, train, kind):
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    train(kind, whole)
    line = [sys.executable, *command(kind, inputs, torn, 0)]  # a checkpoint at every step
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(line, env=environment, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(torn.rglob(CHECKPOINT)):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not list(torn.glob("**/.kept/identity.json"))
    assert train(kind, torn) < STEPS
    assert content(whole).items() <= content(torn).items()  # a kill may leave a temporary file


def cut_short(checkpoint, monkeypatch):
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])


def other_torch(checkpoint, monkeypatch):
    monkeypatch.setattr(torch, "__version__", "0.1.0")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (cut_short, "its checkpoint is damaged"),
        (other_torch, "other settings, code, inputs, torch or device"),
    ],
)
def test_a_checkpoint_that_cannot_be_taken_up(tmp_path, train, monkeypatch, caplog, change, reason):
    train("VAE", tmp_path / "whole")
    train("VAE", tmp_path / "torn", stop=5)
    (checkpoint,) = (tmp_path / "torn").rglob("*.checkpoint")
    change(checkpoint, monkeypatch)
    assert train("VAE", tmp_path / "torn") == STEPS
    (line,) = caplog.messages
    for part in ("prior: starts from the beginning", reason, str(checkpoint)):
        assert part in line
    assert "\n" not in line
    assert content(tmp_path / "torn") == content(tmp_path / "whole")
