"""The examples run, and do what they say."""

import json
import re
import runpy
import sys
from pathlib import Path

import pytest
import torch

import dwp
from dwp.data import _torchvision, load_dataset, registered  # noqa: F401 the first for ResNet-18
from dwp.errors import UserError
from dwp.priors import KINDS, GaussianKernels, kl as registry, load_prior
from dwp.seeds import generator

EXAMPLES = Path(__file__).parent.parent / "examples"
STRIPES = f"{EXAMPLES / 'new_data_set.py'}:Stripes"


def run(monkeypatch, name, *arguments):
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    return runpy.run_path(str(EXAMPLES / name), run_name="__main__")


@pytest.fixture(autouse=True)
def registries(monkeypatch):
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    yield
    KINDS.pop("laplace", None)


def test_resnet18(monkeypatch, capsys):
    options = ["--source", "digits", "--steps", "2", "--n", "20", "--tests", "20"]
    run(monkeypatch, "resnet18.py", *options)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("digits, 20 examples, 2 steps: accuracy 0.")


def test_new_prior(monkeypatch, capsys, tmp_path):
    laplace = run(monkeypatch, "new_prior.py")["Laplace"]
    assert "step 4: loss" in capsys.readouterr().out
    # its one registration is enough for files, and for what a study asks of a kind
    monkeypatch.setattr(sys.modules["__main__"], "Laplace", laplace, raising=False)
    laplace(3).save(tmp_path / "prior.safetensors")
    assert type(load_prior(tmp_path / "prior.safetensors")) is laplace
    assert laplace.density == KINDS["laplace"].density == "exact"
    assert laplace.posterior_kind == "additive"
    with pytest.raises(UserError, match="n: expected a whole number of at least 1"):
        laplace(3).sample(0, generator("draws"))
    prior = laplace.fit(torch.randn((50, 3, 3), generator=generator("kernels")))
    draws = prior.sample(20000, generator("draws"))
    assert draws.abs().mean().item() == pytest.approx(prior.scale.item(), rel=0.01)
    assert draws.mean().item() == pytest.approx(0, abs=0.01)
    # the closed form against draws of the weights
    mean = torch.randn((2, 3, 3), generator=generator("mean")).expand(20000, 2, 3, 3)
    posterior = GaussianKernels(mean, torch.full_like(mean, -1.0))
    exact = dwp.kl_divergence(posterior, prior)[0]
    estimates = registry.monte_carlo_kl(posterior, prior, generator("weights"))
    error = estimates.std(0) / 20000**0.5
    assert ((estimates.mean(0) - exact).abs() < 4 * error).all()


def test_the_notebook_runs_and_has_its_outputs(monkeypatch, capsys, tmp_path):
    file = EXAMPLES / "first_prior.ipynb"
    cells = [c for c in json.loads(file.read_text())["cells"] if c["cell_type"] == "code"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    names = {"display": lambda figure: figure.savefig("figure.png")}
    for cell in cells:
        code = re.sub(r"^%matplotlib inline$", "", "".join(cell["source"]), flags=re.MULTILINE)
        short = re.sub(r"^steps = \d+$", "steps = 2", code, flags=re.MULTILINE)
        exec(compile(short, file.name, "exec"), names)
    assert "after: Bayesian" in capsys.readouterr().out
    # it was stored after one run from top to bottom
    assert [cell["execution_count"] for cell in cells] == [*range(1, len(cells) + 1)]
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert "error" not in {output["output_type"] for output in outputs}
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 4


def test_a_data_set_of_ones_own_is_found_in_its_file():
    train, test = (load_dataset(STRIPES, "", train=train) for train in (True, False))
    assert registered(STRIPES)[1:] == ((1, 28, 28), 4)
    assert train.images.shape == (2000, 1, 28, 28)
    assert len(test) == 500
    assert test.targets.bincount().tolist() == [125] * 4
    upright, level = (train.images[train.targets == target].float() for target in (0, 2))
    assert upright.var(3).mean() > 1.5 * upright.var(2).mean()  # it changes from left to right
    assert level.var(2).mean() > 1.5 * level.var(3).mean()
