"""Recorded steps train as launched ones do; what a CUDA graph does is played on the CPU."""

import itertools
import math
from functools import partial
from importlib import import_module
from types import SimpleNamespace

import pytest
import torch
from helpers import CLASSIFICATION, assert_alike, make_prior, same_state, two_classes
from torch.utils._python_dispatch import TorchDispatchMode

from dwp.errors import OutOfTime
from dwp.fast import graphs
from dwp.files import load_tensors
from dwp.seeds import generator
from dwp.training import loop
from dwp.training.classification import train_classifiers
from dwp.training.prior import fit_prior
from dwp.training.source import train_source_nets

# Operations that wait for the device or bring numbers to it: no graph can hold them.
FORBIDDEN = {"_local_scalar_dense", "lift_fresh", "nonzero", "masked_select", "equal"}


class Recording(TorchDispatchMode):
    """The operations of a function: what they are done to, and where their results are."""

    def __init__(self, noise):
        super().__init__()
        self.noise, self.operations, self.written = noise, [], []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = function.__name__.partition(".")[0]
        assert name not in FORBIDDEN, f"{name} within a recorded step"
        for value in kwargs.values():
            if isinstance(value, torch.Generator):  # another object, of the same state
                known = any(torch.equal(value.get_state(), g.get_state()) for g in self.noise)
                assert known, f"{name} draws from a generator that is not registered"
        for argument, value in zip(function._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                self.written.append((value.detach(), value.detach().clone()))
        result = function(*args, **kwargs)
        self.operations.append((function, args, kwargs, result))
        return result


class Played(graphs.Replayed):
    """A stand-in for CUDA's: recording leaves every tensor and every generator as it was."""

    records = replays = 0

    def launch(self, batch):
        return self._step(batch)

    def record(self, batch):
        type(self).records += 1
        states = [source.get_state() for source in self._noise]
        recording = Recording(self._noise)
        with recording:
            result = self._step(batch)
        for tensor, before in reversed(recording.written):
            tensor.copy_(before)
        for source, state in zip(self._noise, states, strict=True):
            source.set_state(state)

        @torch.no_grad()
        def replay():
            type(self).replays += 1
            for operation, args, kwargs, old in recording.operations:
                new = operation(*args, **kwargs)
                fresh = [r.alias_info is None for r in operation._schema.returns]
                olds = old if isinstance(old, (tuple, list)) else [old]
                news = new if isinstance(new, (tuple, list)) else [new]
                for is_fresh, first, second in zip(itertools.cycle(fresh), olds, news):
                    if is_fresh and isinstance(first, torch.Tensor):
                        first.copy_(second)

        return replay, result


class Refused(Played):
    def record(self, batch):
        raise RuntimeError("operation not permitted\nwhile capturing")


@pytest.fixture
def recorded(monkeypatch):
    """Let steps be recorded on the CPU; count the replays."""
    monkeypatch.setattr(graphs, "supported", lambda device: True)
    monkeypatch.setattr(graphs, "Replayed", Played)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: None)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
    adam = import_module("torch.optim.adam")
    monkeypatch.setattr(adam, "_get_capturable_supported_devices", lambda **options: ["cpu"])
    Played.records = Played.replays = 0
    return monkeypatch


# The trainings of dwp: none waits for the device, none draws from a generator of its own


STEPS = 12  # of classifiers: an epoch is a batch of 8 and one of 4
DATA = two_classes()
COMMON = {"network": "mnist", "filters": [2, 3], "learning_rate": 0.003, "l2": 0.01}
FITTING = {"epochs": 6, "batch_size": 40, "learning_rate": 0.01, "seed": 0}
ARGUMENTS = {"vae": {"hidden": 2, "latent": 2}, "flow": {"transforms": 2, "hidden": 4}}
SIZES = {"conv1": 7, "conv2": 5}


def source_nets(seeds=(0, 1), device="cpu"):
    settings = {**COMMON, "epochs": 5, "batch_size": 40, "precision": "float32"}
    return [run[:2] for run in train_source_nets(DATA, settings, seeds, device=device)]


def prior(kind, device="cpu"):
    kernels = torch.randn(100, 5, 5, generator=generator(5))
    return [fit_prior(kind, 5, kernels, ARGUMENTS[kind], FITTING, device=device)]


def classifiers(kind, penalty=False, device="cpu", options=None, **more):
    priors = kind and {name: make_prior(kind, size) for name, size in SIZES.items()}
    settings = CLASSIFICATION | COMMON | {"epochs": 6, "batch_size": 8, "evaluate_every": 3, **more}
    options = {"priors": priors, "init": None, "device": device, **(options or {})}
    if penalty:
        options |= {"priors": None, "penalty": priors}
    return train_classifiers(DATA, settings, [(0, 0), (1, 0)], n=12, **options)


TRAININGS = {
    "source nets": source_nets,
    "a source net": partial(source_nets, seeds=[0]),
    **{f"prior, {kind}": partial(prior, kind=kind) for kind in ("vae", "flow")},
    **{
        f"classifiers, {kind}": partial(classifiers, kind=kind)
        for kind in (None, "vae", "log-uniform", "standard-normal", "gaussian-full", "flow")
    },
    "subsampled": partial(classifiers, kind="vae", kernels_per_step=2),
    "ensembles": partial(classifiers, kind="vae", penalty=True, members=2, dropout=0.5),
    "codes": partial(classifiers, kind="vae", posterior="codes"),
    "distorted": partial(classifiers, kind=None, shift=1.0, warp=0.1),
}


@pytest.mark.parametrize("name", TRAININGS)
def test_trainings_can_be_recorded(recorded, name):
    replayed = TRAININGS[name]()
    assert Played.replays > 4
    recorded.undo()
    assert_alike(replayed, TRAININGS[name]())


def same(first, second):
    pairs = zip(first, second, strict=True)
    return all(a[1] == b[1] and same_state(a[0], b[0]) for a, b in pairs)


def test_replayed_steps_are_the_launched_ones(recorded, caplog):
    replayed = TRAININGS["subsampled"]()
    assert Played.records == 2  # one for each size of batch
    assert Played.replays == STEPS - 2 * 3  # the others warm up
    recorded.setattr(graphs, "Replayed", Refused)
    assert same(replayed, TRAININGS["subsampled"](options={"label": "a run"}))
    (line,) = caplog.messages
    assert line == "a run: no CUDA graph (operation not permitted); its steps are launched"


@pytest.mark.parametrize("steps", [1, 5])
def test_resume_of_replayed_steps_is_bit_for_bit(recorded, tmp_path, steps):
    train, stops = TRAININGS["subsampled"], 0
    whole, options = train(), {"checkpoint": tmp_path / "checkpoint", "identity": {"run": 1}}
    # a clock that ticks with every reading
    recorded.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    while True:
        ticks = itertools.count()
        try:
            resumed = train(options=options | {"deadline": steps - 0.5})
            break
        except OutOfTime:
            stops += 1
    assert stops == math.ceil(STEPS / steps) - 1
    assert same(resumed, whole)
    tensors, _ = load_tensors(tmp_path / "checkpoint", kind="checkpoint")
    assert tensors["adam/0/step"] == steps * stops
