"""The workflow's programs do with their options what the library does with its arguments."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from helpers import CLASSIFICATION, ROOT, striped_images

from dwp.data.subsets import few_shot_subset
from dwp.data.tensors import to_unit
from dwp.evaluation.classifier import evaluate_classifier
from dwp.evaluation.scores import nearest, score
from dwp.files import load_tensors, read_csv, read_json, save_tensors
from dwp.kernels import norms, pruning_threshold
from dwp.nn.image_vae import ImageVAE
from dwp.priors import prior_class
from dwp.seeds import generator
from dwp.training.classification import train_classifiers
from dwp.training.convergence import train_from
from dwp.training.features import train_on_features, trained_state
from dwp.training.source import train_source_nets

SIZES = {"conv1": 7, "conv2": 5}
NET = {"network": "mnist", "filters": [2, 3], "batch_size": 16, "learning_rate": 0.01}


@pytest.fixture
def program(monkeypatch):
    """Run a program of the workflow in this process."""

    def run(name, **options):
        line = [name]
        for option, value in options.items():
            texts = value if isinstance(value, list) and option != "runs" else [value]
            line += [f"--{option.replace('_', '-')}"]
            line += [json.dumps(v) if isinstance(v, (dict, list)) else str(v) for v in texts]
        monkeypatch.setattr(sys, "argv", line)
        runpy.run_path(f"{ROOT}/workflow/scripts/{name}.py", run_name="__main__")

    return run


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


def priors_of(kind, sizes=SIZES):
    kernels = {
        size: 0.2 * torch.randn((90, size, size), generator=generator(size)) for size in (7, 5)
    }
    return {layer: prior_class(kind).fit(kernels[size]) for layer, size in sizes.items()}


def layers(files, kind, of=None):
    return [
        f"{own}={files}/{kind}/{like}.safetensors"
        for own, like in (of or {layer: layer for layer in SIZES}).items()
    ]


def same(path, kind, state):
    tensors, _ = load_tensors(path, kind=kind)
    return tensors.keys() == state.keys() and all(torch.equal(tensors[k], state[k]) for k in state)


@pytest.mark.parametrize("role", ["priors", "penalty"])
def test_classifiers_are_trained_and_tested_as_they_are_told(files, data, program, role):
    settings = CLASSIFICATION | {"l2": 0.0}
    place, folder = {"n": 12, "split": 1, "seed": 2}, f"{files}/n{{n}}/split{{split}}/seed{{seed}}"
    given = {"priors": None, "penalty": None} | {role: priors_of("gaussian-full")}
    ((net, records),) = train_classifiers(
        data, settings, [(1, 2)], n=12, init=priors_of("empirical"), **given
    )
    target, own = files / "target.safetensors", {role: layers(files, "gaussian-full")}
    common = {"data": target, "folder": folder, "runs": [place]}
    init = layers(files, "empirical")
    program("train_classifier", **common, settings=settings, code="x", init=init, **own)
    run = Path(folder.format(**place))
    assert same(run / "weights.safetensors", "classifier", net.state_dict())
    history = read_csv(run / "history.csv")
    last = history[history["metric"] == "validation_nll"]["value"].iloc[-1]
    assert last == [r["validation_nll"] for r in records if "validation_nll" in r][-1]

    own.pop("penalty", None)
    tested = {"samples": 3, "precision": "float32"}
    program(
        "evaluate_classifier",
        **common,
        settings=tested,
        out_of_domain=files / "source.safetensors",
        **own,
    )
    chosen, _ = few_shot_subset(data.train_targets, 12, 1, settings["validation"])
    expected = evaluate_classifier(
        net,
        train=(to_unit(data.train_images[chosen]), data.train_targets[chosen]),
        test=(to_unit(data.test_images), data.test_targets),
        out_of_domain=to_unit(striped_images(30, 30, bright=90).test_images),
        samples=3 if own else 0,
        generator=[generator("evaluation", 1, 2)],
    )
    assert dict(read_json(run / "metrics.json")) == expected


def test_source_nets_have_seeds_of_their_own(files, data, program):
    settings = NET | {"epochs": 2, "l2": 1e-3, "precision": "float32"}
    options = {"settings": settings, "code": "x", "folder": f"{files}/{{seed}}"}
    runs = [{"seed": 3}, {"seed": 5}]
    program("train_source", data=files / "target.safetensors", runs=runs, **options)
    for seed in (3, 5):
        ((net, _, metrics),) = train_source_nets(data, settings, [seed])
        assert same(files / f"{seed}/weights.safetensors", "source net", net.state_dict())
        assert dict(read_json(files / f"{seed}/metrics.json")) == metrics


def test_random_features_and_whole_nets_start_from_the_init_they_are_given(files, data, program):
    common = {"data": files / "target.safetensors", "code": "x"}
    settings, place = NET | {"epochs": 2}, {"scale": 0.5, "seed": 3}
    init = priors_of("empirical")
    net, metrics = train_on_features(data, settings, **place, init=init)
    options = {"settings": settings, "runs": [place], "init": layers(files, "empirical")}
    program("train_features", **common, **options, folder=f"{files}/{{scale}}/{{seed}}")
    weights = files / "0.5/3/weights.safetensors"
    assert same(weights, "trained on features", trained_state(net))
    assert dict(read_json(files / "0.5/3/metrics.json")) == metrics

    settings = {"kind": "image-vae", "filters": [2, 3], "latent": 2, "steps": 4, "batch_size": 16}
    settings |= {"learning_rate": 0.01, "evaluate_every": 2, "sample_steps": [4]}
    init = priors_of("empirical", ImageVAE.kernel_sizes)
    net, records, _ = train_from(data, settings, seed=3, init=init)
    options = {"settings": settings, "init": layers(files, "empirical", ImageVAE.kernels_of)}
    program(
        "train_convergence", **common, **options, runs=[{"seed": 3}], folder=f"{files}/{{seed}}"
    )
    assert same(files / "3/weights.safetensors", "convergence", net.state_dict())
    assert read_csv(files / "3/history.csv")["value"].tolist() == [r["test_elbo"] for r in records]


@pytest.mark.parametrize("how", [{"threshold": 0.9}, {"quantile": 0.3}])
def test_kernels_below_the_cut_are_dropped(tmp_path, program, how):
    weights = [0.2 * torch.randn((4, 5, 5, 5), generator=generator("net", i)) for i in range(3)]
    paths = [tmp_path / f"{number}.safetensors" for number in range(3)]
    for path, weight in zip(paths, weights, strict=True):
        save_tensors(path, {"conv2.weight": weight}, kind="source net", settings={})
    made = {"kernels": tmp_path / "kernels.safetensors", "description": tmp_path / "kernels.json"}
    settings = {"test_fraction": 0.2, **how}
    program("build_kernels", nets=list(map(str, paths)), layer="conv2", settings=settings, **made)
    tensors, told = load_tensors(made["kernels"], kind="kernels")[0], read_json(made["description"])
    kernels = torch.cat(weights).flatten(0, 1)
    kept = norms(kernels)[norms(kernels) >= pruning_threshold(norms(kernels), **how)]
    found = norms(torch.cat([tensors["train"], tensors["test"]]))
    assert 0 < len(kept) < len(kernels)
    assert torch.equal(found.sort().values, kept.sort().values)
    assert (told["kept"], told["train"], told["test"], told["nets"]) == (
        *(len(kept), len(tensors["train"]), len(tensors["test"]), 3),
    )


def test_the_score_is_of_the_held_out_kernels(tmp_path, program):
    train, test = (torch.randn((n, 3, 3), generator=generator("kernels", n)) for n in (40, 15))
    prior = prior_class("gaussian-full").fit(train)
    prior.save(tmp_path / "prior.safetensors")
    path = tmp_path / "kernels.safetensors"
    save_tensors(path, {"train": train, "test": test}, kind="kernels", settings={})
    program(
        "score_prior",
        prior=tmp_path / "prior.safetensors",
        kernels=path,
        importance_samples=1,
        output=tmp_path / "gaussian-full" / "conv1.json",
    )
    found = dict(read_json(tmp_path / "gaussian-full" / "conv1.json"))
    assert found == score(prior, test) | nearest(prior, train, test)


def test_a_finished_run_is_not_taken_for_one_of_other_settings_code_or_inputs(
    files, data, program, capsys
):
    settings = NET | {"epochs": 1, "l2": 1e-3, "precision": "float32"}
    folder = {"folder": f"{files}/{{seed}}", "runs": [{"seed": 0}]}
    first = {"data": files / "target.safetensors", "settings": settings, "code": "x"}
    program("train_source", **folder, **first)
    for change in (
        {"settings": settings | {"l2": 0.1}},
        {"code": "y"},
        {"data": files / "source.safetensors"},
    ):
        program("train_source", **folder, **first)
        capsys.readouterr()
        program("train_source", **folder, **(first | change))
        assert "finished before" not in capsys.readouterr().out, change
        program("train_source", **folder, **(first | change))
        assert "finished before" in capsys.readouterr().out
    # nor is one under another prior, a file that other settings name
    place = {"folder": f"{files}/{{split}}-{{seed}}", "runs": [{"n": 12, "split": 0, "seed": 0}]}
    place |= {"data": files / "target.safetensors", "settings": CLASSIFICATION, "code": "x"}
    for number, kind in enumerate(("gaussian-full", "empirical", "empirical")):
        program("train_classifier", **place, init=layers(files, kind))
        assert ("finished before" in capsys.readouterr().out) is (number == 2)


def test_a_checkpoint_is_not_taken_for_one_of_other_settings(files, data, program, caplog):
    settings = NET | {"epochs": 2, "l2": 1e-3, "precision": "float32"}
    options = {"folder": f"{files}/{{seed}}", "runs": [{"seed": 0}], "code": "x"}
    options |= {"data": files / "target.safetensors"}
    with pytest.raises(SystemExit):
        program("train_source", **options, settings=settings, minutes=0)
    program("train_source", **options, settings=settings | {"l2": 0.1})
    assert "the checkpoint of a run with other settings" in caplog.text
    caplog.clear()
    kernels = {
        "train": torch.randn((40, 5, 5), generator=generator("k")),
        "test": torch.ones(2, 5, 5),
    }
    save_tensors(files / "kernels.safetensors", kernels, kind="kernels", settings={})
    training = {"epochs": 2, "batch_size": 20, "learning_rate": 0.01, "seed": 0}
    fit = {"kind": "vae", "arguments": {"hidden": 2, "latent": 2}, "training": training}
    options = {"kernels": files / "kernels.safetensors", "kernel_size": 5, "settings": fit}
    options |= {"prior": files / "vae.safetensors", "history": files / "vae.csv"}
    for change in ({"code": "y"}, {"kernels": files / "others.safetensors", "code": "x"}):
        with pytest.raises(SystemExit):
            program("fit_prior", **options, code="x", minutes=0)
        kernels["test"] *= 2
        save_tensors(files / "others.safetensors", kernels, kind="kernels", settings={})
        program("fit_prior", **options | change)
        assert "the checkpoint of a run with other settings" in caplog.text, change
        caplog.clear()
