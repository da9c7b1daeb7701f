"""The training loop: batches, step sizes, and resuming bit for bit; source nets train."""

import itertools
import math
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from helpers import striped_images
from torch import nn

from dwp.data.tensors import to_unit
from dwp.errors import UserError
from dwp.files import load_tensors
from dwp.nn.networks import build_network, initialise_xavier
from dwp.nn.networks.mnist import MnistNet
from dwp.seeds import generator
from dwp.training import loop, source
from dwp.training.loop import batches, optimise
from dwp.training.source import accuracy, l2_penalty, train_source_nets
from dwp.training.watch import Watched

# Batches


def test_every_epoch_is_a_permutation():
    steps = list(batches(10, 4, 12, "seed"))
    assert [len(step) for step in steps] == [4, 4, 2] * 4
    epochs = [torch.cat(steps[i : i + 3]).tolist() for i in range(0, 12, 3)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(10))
    assert len({tuple(epoch) for epoch in epochs}) == 4  # a fresh one each


@pytest.mark.parametrize("start", [0, 1, 2, 3, 7, 11, 12])
def test_batches_resume_at_any_step(start):
    whole = list(batches(10, 4, 12, "seed", 1))
    rest = list(batches(10, 4, 12, "seed", 1, start=start))
    assert len(rest) == 12 - start
    for expected, found in zip(whole[start:], rest, strict=True):
        assert torch.equal(expected, found)


def test_batches_depend_on_the_seed():
    first, same, other = (next(batches(100, 100, 1, "seed", s)) for s in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_batches_larger_than_the_data():
    steps = list(batches(3, 10, 2, "seed"))
    assert [sorted(step.tolist()) for step in steps] == [[0, 1, 2]] * 2


def test_permutations_are_uniform():
    first = torch.stack([next(batches(5, 1, 1, i)) for i in range(2000)]).flatten()
    counts = first.bincount(minlength=5)
    assert ((counts - 400).abs() < 4 * math.sqrt(2000 * 0.2 * 0.8)).all()


# Optimising


class Interruption(Exception):
    pass


STEPS = 14


def run(path=None, *, calls=None, every=0.0, steps=STEPS, **options):
    """Train a small net with noise; `calls`: interrupt within that call of the objective."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        # Batch norm has buffers, and one parameter is frozen: both must survive.
        net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1))
    net[3].bias.requires_grad_(False)
    inputs, targets = torch.randn(2, 20, 3, generator=generator("data"))
    noise, seen = generator("noise"), []

    def objective(batch):
        seen.append(batch)
        (chosen,) = batch
        draws = torch.randn(len(chosen), 1, generator=noise)
        if len(seen) == calls:
            raise Interruption
        loss = (net(inputs[chosen]) + draws - targets[chosen, :1]).square().mean()
        return loss, {"loss": loss.detach(), "noise": draws.mean()}

    (records,) = optimise(
        net,
        objective,
        n=20,
        batch_size=8,
        steps=steps,
        learning_rate=0.05,
        seeds=[("test",)],
        noise=[noise],
        record_every=3,
        evaluate=lambda done: [{"norm": net[0].weight.norm().item(), "done": done}],
        evaluate_every=4,
        checkpoint=path,
        checkpoint_seconds=every,
        **options,
    )
    return SimpleNamespace(
        state=net.state_dict(), noise=noise.get_state(), records=records, calls=len(seen)
    )


def assert_same(first, second):
    assert [[*r.items()] for r in first.records] == [[*r.items()] for r in second.records]
    assert torch.equal(first.noise, second.noise)
    assert first.state.keys() == second.state.keys()
    for name, value in first.state.items():
        assert torch.equal(value, second.state[name]), name


@pytest.fixture(scope="module")
def whole():
    return run()


def test_records(whole):
    trained = [r for r in whole.records if "loss" in r]
    evaluated = [r for r in whole.records if "norm" in r]
    assert [r["step"] for r in trained] == [3, 6, 9, 12, 14]  # the last one always
    assert [r["step"] for r in evaluated] == [4, 8, 12, 14]  # likewise
    assert all(r["done"] == r["step"] for r in evaluated)
    assert all(type(v) in (int, float) for r in whole.records for v in r.values())
    steps = [r["step"] for r in whole.records]
    assert steps == sorted(steps)


@pytest.mark.parametrize("first", [2, 3, 4, 5, 9, 14])
def test_resume_is_bit_for_bit(tmp_path, whole, first):
    path = tmp_path / "checkpoint"
    with pytest.raises(Interruption):
        run(path, calls=first)
    resumed = run(path)
    assert resumed.calls == STEPS - (first - 1)  # from the step that was interrupted
    assert_same(resumed, whole)


def test_resume_after_many_interruptions(tmp_path, whole):
    path, interruptions = tmp_path / "checkpoint", 0
    while interruptions < 100:
        try:
            resumed = run(path, calls=4)
            break
        except Interruption:
            interruptions += 1
    assert interruptions == 4  # three steps each time, and two at last
    assert_same(resumed, whole)


def test_resume_from_an_older_checkpoint(tmp_path, whole, monkeypatch):
    # A clock that ticks once a reading: a checkpoint every third step, so that work is lost.
    path, ticks = tmp_path / "checkpoint", iter(range(10**6))
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    with pytest.raises(Interruption):
        run(path, calls=9, every=2.5)
    done = load_tensors(path, kind="checkpoint")[1]["done"]
    assert done in (6, 7)
    resumed = run(path)
    assert resumed.calls == STEPS - done
    assert_same(resumed, whole)


def test_no_checkpoint_before_its_time(tmp_path, whole):
    path = tmp_path / "checkpoint"
    assert_same(run(path, every=3600.0), whole)
    assert not path.exists()


def test_checkpoints_change_nothing(tmp_path, whole):
    assert_same(run(tmp_path / "checkpoint"), whole)
    # The last is of the step before the end: results are not in it.
    assert load_tensors(tmp_path / "checkpoint", kind="checkpoint")[1]["done"] == STEPS - 1


def test_checkpoint_of_other_settings_is_ignored(tmp_path, whole):
    path = tmp_path / "checkpoint"
    with pytest.raises(Interruption):
        run(path, calls=7, identity={"seed": 1, "code": "old"})
    for identity in ({"seed": 1, "code": "new"}, {"seed": 1}, None):
        started = run(path, every=3600.0, identity=identity)
        assert started.calls == STEPS
        assert_same(started, whole)
    resumed = run(path, every=3600.0, identity={"code": "old", "seed": 1})
    assert resumed.calls == STEPS - 6
    assert_same(resumed, whole)


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "other kind"])
def test_damaged_checkpoint_is_ignored(tmp_path, whole, damage):
    path = tmp_path / "checkpoint"
    with pytest.raises(Interruption):
        run(path, calls=7)
    content = path.read_bytes()
    damaged = {
        "truncated": content[: len(content) // 2],
        "empty": b"",
        "text": b"no checkpoint",
        "other kind": content.replace(b"checkpoint", b"checkpaint"),
    }[damage]
    assert damaged != content
    path.write_bytes(damaged)
    started = run(path)
    assert started.calls == STEPS
    assert_same(started, whole)


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
def test_loss_that_is_not_finite_stops(tmp_path, value):
    net = nn.Linear(1, 1)
    calls = []

    def objective(batch):
        calls.append(batch)
        factor = value if len(calls) >= 5 else 1.0
        loss = factor * net.weight.sum()
        return loss, {"kl": loss.detach(), "nll": torch.zeros(1)}

    cause = rf"the loss is -?{value} at step 5 \(kl -?{value}\)"
    with pytest.raises(UserError, match=f"^prior 7: {cause}; lower learning_rate$"):
        optimise(
            net,
            objective,
            n=1,
            batch_size=1,
            steps=100,
            learning_rate=0.1,
            seeds=[()],
            record_every=3,
            label="prior 7",
        )
    assert len(calls) == 5


def test_progress_is_plain_lines(capsys, whole):
    run(label="counting")
    shown = capsys.readouterr()
    assert shown.out == ""
    first, last = shown.err.splitlines()
    assert first.startswith(f"counting: step 0 of {STEPS}, ")
    assert last.startswith(f"counting: step {STEPS} of {STEPS}, ")
    assert "steps/s, 00:00 left, " in last
    newest = {k: v for record in whole.records for k, v in record.items() if k != "step"}
    for name, value in newest.items():
        assert f"{name}={value:.3g}" in last
    assert "\r" not in shown.err
    assert shown.err.isascii()


def test_lines_come_at_intervals(capsys, monkeypatch):
    now = itertools.count()  # an hour, of a second a look at the clock
    monkeypatch.setattr("tqdm.std.time", lambda: next(now))
    for _ in Watched(range(3600), "counting", 0, 3600):
        pass
    assert 10 <= len(capsys.readouterr().err.splitlines()) <= 2 + 2 * 3600 / 30


def events(folder):
    """The numbers by step of every folder of event files, by tag."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = {}
    for place in {path.parent for path in folder.rglob("events.out.*")}:
        read = accumulator.EventAccumulator(str(place)).Reload()
        found[str(place.relative_to(folder))] = {
            tag: {event.step: event.value for event in read.Scalars(tag)}
            for tag in read.Tags()["scalars"]
        }
    return found


def of_records(records):
    found = {}
    for record in records:
        for name, value in record.items():
            if name != "step":
                found.setdefault(name, {})[record["step"]] = pytest.approx(value)
    return found


def test_event_files_tell_the_records_and_change_nothing(tmp_path, monkeypatch, whole):
    pytest.importorskip("tensorboard")
    monkeypatch.setenv("DWP_TENSORBOARD", str(tmp_path / "events"))
    path = tmp_path / "run.checkpoint"
    with pytest.raises(Interruption):
        run(path, calls=9, label="a run")
    resumed = run(path, label="a run")
    assert_same(resumed, whole)
    assert events(tmp_path / "events") == {"a run": of_records(whole.records)}


def test_event_files_of_runs_that_train_together(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    monkeypatch.setenv("DWP_TENSORBOARD", str(tmp_path))
    steps = Watched(range(2), "both", 0, 2, ["split 0", "split 1", "split 1"])
    for step in steps:
        steps.record(step + 1, [{"loss": run + step} for run in (0.5, 1.5, 7.5)])
    assert events(tmp_path) == {
        "both/split 0": {"loss": {1: 0.5, 2: 1.5}},
        "both/split 1": {"loss": {1: 1.5, 2: 2.5}},
    }
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 2


def test_event_files_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setenv("DWP_TENSORBOARD", str(tmp_path))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"DWP_TENSORBOARD: .*pip install tensorboard"):
        run()


# Source nets

SETTINGS = {
    "network": "mnist",
    "filters": [4, 8],
    "epochs": 8,
    "batch_size": 20,
    "learning_rate": 0.01,
    "l2": 1e-3,
    "precision": "float32",
    "test_precision": "float32",
}


@pytest.fixture(scope="module")
def stripes():
    return striped_images()


@pytest.fixture(scope="module")
def trained(stripes):
    return train_source_nets(stripes, SETTINGS, [1])[0]


def test_source_net_learns(stripes, trained):
    net, records, metrics = trained
    assert net.classifier.out_features == 3
    assert metrics["test_accuracy"] > 0.9
    assert metrics["train_accuracy"] > 0.9
    assert metrics["test_accuracy"] == accuracy(
        net, to_unit(stripes.test_images), stripes.test_targets, batch_size=7
    )
    # One record an epoch, of 5 batches.
    assert [record["step"] for record in records] == list(range(5, 45, 5))
    assert records[-1]["cross_entropy"] < 0.3 < records[0]["cross_entropy"] < 2


def test_source_net_equals_itself(stripes, trained):
    net, records, metrics = train_source_nets(stripes, SETTINGS, [1])[0]
    assert records == trained[1]
    assert metrics == trained[2]
    for name, value in net.state_dict().items():
        assert torch.equal(value, trained[0].state_dict()[name])
    other = train_source_nets(stripes, {**SETTINGS, "epochs": 1}, [2])[0][0]
    first = train_source_nets(stripes, {**SETTINGS, "epochs": 1}, [1])[0][0]
    assert not torch.equal(other.conv1.weight, first.conv1.weight)


def test_source_net_in_bfloat16(stripes):
    net, _, metrics = train_source_nets(stripes, {**SETTINGS, "precision": "bfloat16"}, [1])[0]
    assert all(parameter.dtype == torch.float32 for parameter in net.parameters())
    assert metrics["test_accuracy"] > 0.9


def test_l2_shrinks_the_convolutions(stripes, trained):
    strong = train_source_nets(stripes, {**SETTINGS, "l2": 1.0}, [1])[0][0]
    assert l2_penalty(strong) < 0.5 * l2_penalty(trained[0])


def test_l2_penalty_is_of_the_convolutions_alone():
    net = MnistNet([2, 3])
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(2.0)
    # 2 kernels of 7 x 7 and 6 of 5 x 5, with biases: 98 + 2 + 150 + 3 numbers, 4 each.
    assert l2_penalty(net).item() == 4 * (98 + 2 + 150 + 3)


def test_accuracy_counts():
    images = torch.eye(3).repeat(4, 1)
    assert accuracy(nn.Identity(), images, torch.tensor([0, 1, 2] * 4), batch_size=5) == 1
    assert accuracy(nn.Identity(), images, torch.tensor([0, 1, 1] * 4), batch_size=5) == 8 / 12


# Networks


def test_mnist_net_shapes():
    net = build_network("mnist", filters=[4, 6], classes=7)
    assert net(torch.zeros(3, 1, 28, 28)).shape == (3, 7)
    assert {name: net.get_submodule(name).kernel_size for name in net.kernel_sizes} == {
        name: (size, size) for name, size in net.kernel_sizes.items()
    }


def test_unknown_network():
    with pytest.raises(UserError, match=r"expected a network, one of mnist, .* found 'resnet'"):
        build_network("resnet")


def test_xavier():
    net = MnistNet([64, 32])
    initialise_xavier(net, generator("xavier"))
    for layer, fans in (
        (net.conv1, 49 * (1 + 64)),
        (net.conv2, 25 * (64 + 32)),
        (net.classifier, 32 * 9 + 10),
    ):
        n, variance = layer.weight.numel(), 2 / fans
        assert abs(layer.weight.mean()) < 4 * math.sqrt(variance / n)
        assert abs(layer.weight.var() / variance - 1) < 4 * math.sqrt(2 / n)
        assert (layer.bias == 0).all()
    again = MnistNet([64, 32])
    initialise_xavier(again, generator("xavier"))
    for first, second in zip(net.parameters(), again.parameters(), strict=True):
        assert torch.equal(first, second)


def test_a_source_net_is_trained_on_its_loss_and_tells_both_accuracies(stripes, monkeypatch):
    seen = {}

    def watched(net, objective, **options):
        loss, terms = objective(torch.arange(20)[None])
        seen["loss"], seen["expected"] = loss, terms["cross_entropy"] + 0.3 * l2_penalty(net)
        seen["batches"] = [
            list(batches(options["n"], options["batch_size"], options["steps"], *seed))
            for seed in options["seeds"]
        ]
        return optimise(net, objective, **options)

    monkeypatch.setattr(source, "optimise", watched)
    train_source_nets(stripes, {**SETTINGS, "l2": 0.3}, [1])
    torch.testing.assert_close(seen["loss"], seen["expected"])
    first = seen["batches"][0]
    others = replace(stripes, test_targets=(stripes.test_targets + 1) % 3)
    ((_, _, found),) = train_source_nets(others, {**SETTINGS, "l2": 0.3}, [2])
    assert not all(torch.equal(a, b) for a, b in zip(first, seen["batches"][0], strict=True))
    assert found["train_accuracy"] > 0.9
    assert found["test_accuracy"] < 0.1
