"""A batch's runs are trained once, kept as they end, and written as one file of each kind."""

import pytest
import torch
from helpers import CLASSIFICATION, run_program, same_state, script, some_kernels, striped_images

from dwp.errors import OUT_OF_TIME, UserError
from dwp.evaluation.classifier import evaluate_run
from dwp.evaluation.tables import at_the_end
from dwp.files import load_tensors, read_csv, save_tensors
from dwp.priors import prior_class
from dwp.study.runs import KEPT, Batch
from dwp.study.settings import FitTraining
from dwp.training.classification import train_classifiers
from dwp.training.convergence import train_from
from dwp.training.features import train_on_features, trained_state
from dwp.training.source import train_source_nets

RUNS = [{"split": 0, "seed": 3}, {"split": 1, "seed": 3}]
SIZES = {"conv1": 7, "conv2": 5}
NET = {"network": "mnist", "filters": [2, 3], "batch_size": 16, "learning_rate": 0.01}
SOURCE = NET | {"epochs": 1, "l2": 1e-3}


# The mechanism


@pytest.fixture
def batch(tmp_path):
    """Train a batch by a stand-in; return the groups that were trained, and the finished runs."""

    data = tmp_path / "data"
    data.write_bytes(b"images")

    def call(runs=RUNS, fail=None, together=1):
        groups = []

        def train(group, *, checkpoint, label, **options):
            groups.append([run["split"] for run in group])
            for run in group:
                save_tensors(checkpoint, {}, kind="checkpoint", settings={})
                if run["split"] == fail:
                    raise UserError(f"split {fail} failed")
                state = {"weight": torch.full((2,), float(run["split"]))}
                yield state, [{"step": 1, "loss": float("nan")}], {"b": 1.5, "a": None}

        made = Batch(data, "x", runs, {}, tmp_path / "batch0.safetensors", tmp_path / "batch0.csv")
        return groups, made.train(train, FitTraining(), together=together)

    return call


def test_a_run_is_trained_once(tmp_path, batch):
    groups, finished = batch()
    assert groups == [[0], [1]]
    kept = {path.name for path in (tmp_path / KEPT).iterdir()}
    assert kept == {"split0-seed3.safetensors", "split1-seed3.safetensors"}  # no checkpoint
    groups, again = batch(list(reversed(RUNS)))
    assert groups == []
    for one, other in zip(finished, reversed(again), strict=True):
        assert same_state(one.tensors, other.tensors)
        assert (one.run, repr(one.records)) == (other.run, repr(other.records))
        assert list(other.metrics.items()) == [("b", 1.5), ("a", None)]
    more = [*RUNS, {"split": 2, "seed": 3}]  # of another batch
    assert batch(more)[0] == [[2]]


def test_a_run_that_is_damaged_or_of_another_torch_is_trained_again(tmp_path, batch, monkeypatch):
    batch()
    path = tmp_path / KEPT / "split1-seed3.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert batch()[0] == [[1]]
    monkeypatch.setattr(torch, "__version__", "0.1.0")
    assert batch()[0] == [[0], [1]]
    assert batch()[0] == []


@pytest.mark.parametrize("together", [1, 2, None])
def test_what_has_ended_is_kept_when_another_run_fails(tmp_path, batch, together):
    with pytest.raises(UserError, match=r"split1-seed3.*: split 1 failed$|others: split 1 failed$"):
        batch(fail=1, together=together)
    assert list((tmp_path / KEPT).glob("*.checkpoint"))  # of the failed group
    rest = [[1]] if together == 1 else [[0, 1]]
    assert batch(together=together)[0] == rest
    assert not list((tmp_path / KEPT).glob("*.checkpoint"))


# The programs


@pytest.fixture(scope="module")
def data():
    return striped_images()


@pytest.fixture
def files(tmp_path, data):
    """A folder of two data sets and of priors of two kinds."""
    data.save(tmp_path / "target.safetensors", {})
    striped_images(30, 30, bright=90).save(tmp_path / "source.safetensors", {})
    for kind in ("gaussian-full", "empirical"):
        for layer, prior in priors_of(kind).items():
            prior.save(tmp_path / kind / f"{layer}.safetensors")
    return tmp_path


def priors_of(kind):
    return {layer: prior_class(kind).fit(some_kernels(size)) for layer, size in SIZES.items()}


def layers(files, kind):
    return [files / kind / f"{layer}.safetensors" for layer in SIZES]


def batch_options(files, cell, **options):
    outputs = {
        "weights": files / cell / "batch0.safetensors",
        "metrics": files / cell / "batch0.csv",
    }
    return {"data": files / "target.safetensors", "code": "x", **outputs, **options}


def states(path, kind):
    """The states of the runs in a file of weights, by the run's name."""
    found = {}
    for name, tensor in load_tensors(path, kind=kind)[0].items():
        run, _, rest = name.partition("/")
        found.setdefault(run, {})[rest] = tensor
    return found


@pytest.mark.parametrize("role", ["priors", "penalty"])
def test_classifiers_are_trained_and_tested(files, data, role, monkeypatch):
    settings = CLASSIFICATION | {"l2": 0.0}
    given = {"priors": None, "penalty": None} | {role: priors_of("gaussian-full")}
    columns = {"domain": "demo", "prior": "p", "init": "i", "n": 12}
    options = batch_options(files, "cell", columns=columns, runs=RUNS, settings=settings)
    options |= {"source": files / "source.safetensors", "init": layers(files, "empirical")}
    options[role] = layers(files, "gaussian-full")
    run_program("train_classifiers", **options)
    table = read_csv(options["metrics"])
    assert list(table) == [*columns, "split", "seed", "step", "metric", "value"]
    metrics, history = at_the_end(table), table.dropna(subset="step")
    found = states(options["weights"], "classifiers")
    init, source = priors_of("empirical"), striped_images(30, 30, bright=90)
    for run in RUNS:
        of = run["split"], run["seed"]
        ((net, records),) = train_classifiers(data, settings, [of], n=12, init=init, **given)
        assert same_state(found[f"split{of[0]}-seed3"], net)
        reported = {"settings": settings, "n": 12, "priors": given["priors"]}
        tested = evaluate_run(net.state_dict(), of, data, source, **reported)
        last = {k: v for row in records for k, v in row.items() if k.startswith("validation_")}
        own = metrics[metrics["split"] == of[0]]
        assert dict(zip(own["metric"], own["value"], strict=True)) == last | tested
        steps = history[(history["split"] == of[0]) & (history["metric"] == "validation_nll")]
        expected = [(record["step"], record["validation_nll"]) for record in records]
        assert list(zip(steps["step"], steps["value"], strict=True)) == expected
    # another test, of other out-of-distribution images, trains nothing again
    program = script("train_classifiers")
    monkeypatch.setattr(program, "train_classifiers", None)
    run_program(program.main, **options | {"source": files / "target.safetensors"})
    again, ood = read_csv(options["metrics"]), table["metric"] == "ensemble_ood_auroc"
    assert again[~ood].equals(table[~ood])
    assert not again[ood].equals(table[ood])


PROGRAMS = {
    "train_source": ("source nets", SOURCE),
    "train_features": ("features", NET | {"epochs": 2}),
    "train_convergence": (
        "convergence",
        {"kind": "image-vae", "filters": [2, 3], "latent": 2, "steps": 4, "batch_size": 16}
        | {"learning_rate": 0.01, "evaluate_every": 2, "sample_steps": [4]},
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_other_programs_do_what_the_library_does(files, data, name):
    kind, settings = PROGRAMS[name]
    options = batch_options(files, name, columns={"scale": 0.5}, runs=[{"seed": 3}])
    init = priors_of("empirical")
    if kind != "source nets":
        options["init"] = layers(files, "empirical")
    run_program(name, settings=settings, **options)
    found = states(options["weights"], kind)["seed3"]
    table = read_csv(options["metrics"])
    numbers = table[table["step"].notna() == (kind == "convergence")]["value"].tolist()
    if kind == "source nets":
        ((net, _, metrics),) = train_source_nets(data, settings, [3])
        expected = net.state_dict(), [*metrics.values()]
    elif kind == "features":
        net, metrics = train_on_features(data, settings, scale=0.5, seed=3, init=init)
        expected = trained_state(net), [*metrics.values()]
    else:
        net, records, drawn = train_from(data, settings, seed=3, init=init)
        expected = net.state_dict() | {"drawn": drawn}, [r["test_elbo"] for r in records]
    assert same_state(found, expected[0])
    assert numbers == expected[1]


def test_a_kept_run_or_checkpoint_is_not_taken_for_one_of_other_settings_code_or_inputs(
    files, capsys, caplog
):
    first = batch_options(files, "cell", columns={}, runs=[{"seed": 0}], settings=SOURCE)
    for change in (
        {"settings": SOURCE | {"l2": 0.1}},
        {"code": "y"},
        {"data": files / "source.safetensors"},
    ):
        run_program("train_source", **first)
        capsys.readouterr()
        for again in (False, True):
            run_program("train_source", **first | change)
            assert ("finished before" in capsys.readouterr().out) is again, change
    with pytest.raises(SystemExit):
        run_program("train_source", **first | {"minutes": 0})
    run_program("train_source", **first | {"code": "z"})
    assert "the checkpoint of a run with other settings" in caplog.text
    # nor is one under another prior, a file that other settings name
    options = batch_options(files, "other", columns={"n": 12}, runs=RUNS[:1])
    options |= {"settings": CLASSIFICATION, "source": files / "source.safetensors"}
    for number, kind in enumerate(("gaussian-full", "empirical", "empirical")):
        run_program("train_classifiers", init=layers(files, kind), **options)
        assert ("finished before" in capsys.readouterr().out) is (number == 2)


def test_a_program_goes_on_from_its_time_limit(files):
    def run(cell, minutes):
        options = batch_options(files, cell, columns={"n": 12}, runs=RUNS)
        options |= {"settings": CLASSIFICATION, "source": files / "source.safetensors"}
        run_program("train_classifiers", minutes=minutes, **options)

    # one step of the 12 a time: that which takes the last step of a run begins the next one
    for _ in range(22):
        with pytest.raises(SystemExit, match=str(OUT_OF_TIME)):
            run("pieces", 0)
    run("pieces", 0)
    run("whole", 5)
    for name in ("batch0.safetensors", "batch0.csv"):
        assert (files / "pieces" / name).read_bytes() == (files / "whole" / name).read_bytes()


def test_a_tolerated_run_that_diverges_has_no_numbers(files):
    settings = CLASSIFICATION | {"learning_rate": 1e30}
    options = batch_options(files, "cell", columns={"n": 12}, runs=RUNS, settings=settings)
    options["source"] = files / "source.safetensors"
    with pytest.raises(SystemExit):
        run_program("train_classifiers", **options)
    run_program("train_classifiers", tolerant=True, **options)
    metrics = at_the_end(read_csv(options["metrics"]))
    assert metrics["value"].isna().all()
    assert set(metrics["split"]) == {0, 1}
    assert sum(name.startswith("validation_") for name in metrics["metric"].unique()) == 2
