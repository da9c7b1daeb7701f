"""The training loop: batches, step sizes, randomness, and resuming; source nets train."""

import itertools
import math
import random
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import same_state, striped_images
from torch import nn

from dwp.errors import OutOfTime, UserError
from dwp.nn.networks import initialise_xavier
from dwp.nn.networks.mnist import MnistNet
from dwp.seeds import generator
from dwp.training import loop, source
from dwp.training.loop import batches, optimise
from dwp.training.source import l2_penalty, train_source_nets
from dwp.training.watch import Watched

# Batches


def test_every_epoch_is_a_permutation():
    steps = list(batches(10, 4, 12, "seed"))
    assert [len(step) for step in steps] == [4, 4, 2] * 4
    epochs = [torch.cat(steps[i : i + 3]).tolist() for i in range(0, 12, 3)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4  # a fresh one each
    assert [sorted(step.tolist()) for step in batches(3, 10, 2, "seed")] == [[0, 1, 2]] * 2
    for start in (0, 1, 3, 7, 12):  # resumed at any step
        rest = batches(10, 4, 12, "seed", start=start)
        assert all(torch.equal(*pair) for pair in zip(steps[start:], rest, strict=True))
    assert not torch.equal(next(batches(10, 4, 12, "other")), steps[0])


# Optimising


class Interruption(Exception):
    pass


STEPS = 14


def run(path=None, *, calls=None, every=0.0, **options):
    """Train a small net with all kinds of noise; `calls`: interrupt in that call of the objective.

    Batch norm has buffers, one parameter is frozen, and dropout draws from a global generator.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.3), nn.Linear(4, 1)
    net = nn.Sequential(*layers)
    net[3].bias.requires_grad_(False)
    inputs, targets = torch.randn(2, 20, 3, generator=generator("data"))
    noise, seen = generator("noise"), []

    def objective(batch):
        seen.append(batch)
        (chosen,) = batch
        draws = torch.randn(len(chosen), 1, generator=noise)
        draws = draws + 0.1 * random.random() + 0.1 * np.random.rand()  # noqa: NPY002
        if len(seen) == calls:
            raise Interruption
        loss = (net(inputs[chosen]) + draws - targets[chosen, :1]).square().mean()
        return loss, {"loss": loss.detach(), "noise": draws.mean()}

    def evaluate(done):
        torch.rand(1)  # has no influence on the training
        return [{"norm": net[0].weight.norm().item(), "done": done}]

    (records,) = optimise(
        net,
        objective,
        n=20,
        batch_size=8,
        noise=[noise],
        evaluate=evaluate,
        checkpoint=path,
        checkpoint_seconds=every,
        **{"record_every": 3, "seeds": [("test",)], "steps": STEPS, "learning_rate": 0.05}
        | options,
    )
    return SimpleNamespace(
        state=net.state_dict(), noise=noise.get_state(), records=records, calls=len(seen)
    )


def assert_same(first, second):
    assert [[*r.items()] for r in first.records] == [[*r.items()] for r in second.records]
    assert torch.equal(first.noise, second.noise)
    assert same_state(first.state, second.state)


@pytest.fixture(scope="module")
def whole():
    return run()


def test_a_parameter_may_have_a_rate_of_its_own(tmp_path, whole):
    frozen = run(rates={"bias": 0.0})
    start = run(steps=1, learning_rate=0.0)
    assert torch.equal(frozen.state["0.bias"], start.state["0.bias"])
    assert not torch.equal(frozen.state["0.weight"], start.state["0.weight"])
    assert_same(run(rates={"bias": 1.0}), whole)
    with pytest.raises(Interruption):
        run(tmp_path / "checkpoint", calls=9, rates={"bias": 3.0})
    assert_same(run(tmp_path / "checkpoint", rates={"bias": 3.0}), run(rates={"bias": 3.0}))


def test_records(whole):
    assert [record["step"] for record in whole.records] == [3, 6, 9, 12, 14]  # the last always
    for record in whole.records:
        assert list(record) == ["step", "loss", "noise", "norm", "done"]
        assert record["done"] == record["step"]
        assert all(type(value) in (int, float) for value in record.values())


def test_global_generators_are_the_runs_own_and_the_callers_go_on(whole):
    def states():
        numpy = np.random.get_state()[1].tolist()  # noqa: NPY002
        return torch.get_rng_state().tolist(), random.getstate(), numpy

    torch.manual_seed(7)
    random.seed(7)
    before = states()
    again = run()
    assert states() == before
    assert_same(again, whole)
    assert same_state(run(record_every=1).state, whole.state)  # evaluations draw
    assert not torch.equal(run(seeds=[("other",)]).state["0.weight"], whole.state["0.weight"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content: content[: len(content) // 2], "delete it and make it again"),
        (lambda content: content.replace(b"checkpoint", b"checkpaint"), "damaged"),
        ({"seed": 1, "code": "new"}, "other settings, code, inputs, torch or device"),
        (None, "other settings"),
    ],
)
def test_a_checkpoint_that_is_not_used(tmp_path, whole, caplog, change, reason):
    path, identity = tmp_path / "checkpoint", {"seed": 1, "code": "old"}
    with pytest.raises(Interruption):
        run(path, calls=7, identity=identity)
    content = path.read_bytes()
    if callable(change):
        path.write_bytes(change(content))
    started = run(path, every=3600.0, identity=identity if callable(change) else change, label="x")
    assert started.calls == STEPS
    assert_same(started, whole)
    (line,) = caplog.messages
    assert line.startswith("x: starts from the beginning; ")
    assert reason in line
    path.write_bytes(content)
    resumed = run(path, identity=dict(reversed(identity.items())))
    assert resumed.calls == STEPS - 6
    assert_same(resumed, whole)


def test_step_size_falls_linearly_to_zero():
    # Under a constant gradient each step of Adam moves by the step size itself.
    net = nn.Linear(1, 1, bias=False).double()
    positions = []

    def objective(batch):
        positions.append(net.weight.item())
        return net.weight.sum(), {}

    options = {"n": 1, "batch_size": 1, "steps": 10, "learning_rate": 0.2, "seeds": [()]}
    assert optimise(net, objective, **options) == [[]]
    positions.append(net.weight.item())
    moves = [before - after for before, after in itertools.pairwise(positions)]
    assert moves == pytest.approx([0.2 * (1 - step / 10) for step in range(10)], rel=1e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_loss_that_is_not_finite_stops(value):
    net, calls = nn.Linear(1, 1), []

    def objective(batch):
        calls.append(batch)
        loss = (value if len(calls) >= 5 else 1.0) * net.weight.sum()
        return loss, {"kl": loss.detach(), "nll": torch.zeros(1)}

    options = {"n": 1, "batch_size": 1, "steps": 100, "learning_rate": 0.1, "seeds": [()]}
    cause = rf"the loss is -?{value} at step 5 \(loss -?{value}, kl -?{value}\)"
    with pytest.raises(UserError, match=f"^prior 7: {cause}; lower learning_rate$"):
        optimise(net, objective, **options, record_every=3, label="prior 7")
    assert len(calls) == 5


def test_the_deadline(monkeypatch):
    ticks = itertools.count()  # a tick a reading of the clock
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    with pytest.raises(OutOfTime, match=r"^a run: stopped at its deadline after 4 of 14 steps$"):
        run(deadline=3.5, label="a run")


# Progress


def test_progress_is_plain_lines(capsys, whole):
    run(label="counting")
    shown = capsys.readouterr()
    assert shown.out == ""
    first, last = shown.err.splitlines()
    assert first.startswith(f"counting: step 0 of {STEPS}, ")
    assert last.startswith(f"counting: step {STEPS} of {STEPS}, ")
    assert "steps/s, 00:00 left, " in last
    newest = {k: v for k, v in whole.records[-1].items() if k != "step"}
    assert all(f"{name}={value:.3g}" in last for name, value in newest.items())
    assert "\r" not in shown.err
    assert shown.err.isascii()


def events(folder):
    """The numbers by step of every folder of event files, by tag."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = {}
    for own in {path.parent for path in folder.rglob("events.out.*")}:
        read = accumulator.EventAccumulator(str(own)).Reload()
        found[str(own.relative_to(folder))] = {
            tag: {event.step: event.value for event in read.Scalars(tag)}
            for tag in read.Tags()["scalars"]
        }
    return found


def test_event_files_hold_the_records_and_change_nothing(tmp_path, monkeypatch, whole):
    pytest.importorskip("tensorboard")
    monkeypatch.setenv("DWP_TENSORBOARD", str(tmp_path / "events"))
    path = tmp_path / "run.checkpoint"
    with pytest.raises(Interruption):
        run(path, calls=9, label="a run")
    assert_same(run(path, label="a run"), whole)
    expected = {
        name: {record["step"]: pytest.approx(record[name]) for record in whole.records}
        for name in ("loss", "noise", "norm", "done")
    }
    assert events(tmp_path / "events") == {"a run": expected}


def test_event_files_of_runs_that_train_together(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    monkeypatch.setenv("DWP_TENSORBOARD", str(tmp_path))
    steps = Watched(range(1), "both", 0, 1, ["split 0", "split 1", "split 1"])
    for _ in steps:
        steps.record(1, [{"loss": loss} for loss in (0.5, 1.5, 7.5)])
    assert events(tmp_path) == {f"both/split {run}": {"loss": {1: 0.5 + run}} for run in range(2)}


def test_event_files_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setenv("DWP_TENSORBOARD", str(tmp_path))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ModuleNotFoundError, match="tensorboard"):
        run()


# Source nets

SETTINGS = {
    "network": "mnist",
    "filters": [4, 8],
    "epochs": 8,
    "batch_size": 20,
    "learning_rate": 0.01,
    "l2": 1e-3,
}


def test_xavier():
    net = MnistNet([64, 32])
    initialise_xavier(net, generator("xavier"))
    layers = (net.conv1, 49 * (1 + 64)), (net.conv2, 25 * (64 + 32)), (net.classifier, 32 * 9 + 10)
    for layer, fans in layers:
        n, variance = layer.weight.numel(), 2 / fans
        assert abs(layer.weight.mean()) < 4 * math.sqrt(variance / n)
        assert abs(layer.weight.var() / variance - 1) < 4 * math.sqrt(2 / n)
        assert (layer.bias == 0).all()


def test_a_source_net_is_trained_on_its_loss_and_both_accuracies_are_reported(monkeypatch):
    def watched(net, objective, **options):
        loss, terms = objective(torch.arange(20)[None])
        classifier = sum(p.square().sum() for p in net.classifier.parameters())
        penalty = 0.3 * l2_penalty(net) + 0.001 * classifier
        torch.testing.assert_close(loss, terms["cross_entropy"] + penalty)
        return optimise(net, objective, **options)

    monkeypatch.setattr(source, "optimise", watched)
    stripes = striped_images()
    others = replace(stripes, test_targets=(stripes.test_targets + 1) % 3)
    settings = {**SETTINGS, "l2": 0.3, "l2_classifier": 0.001}
    ((_, _, found),) = train_source_nets(others, settings, [2])
    assert found["train_accuracy"] > 0.9
    assert found["test_accuracy"] < 0.1
