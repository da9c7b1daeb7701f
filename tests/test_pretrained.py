"""Priors that come with the package, and their way into it from a run."""

import tomllib
from pathlib import Path

import pytest
import torch
import yaml
from helpers import script

import dwp
from dwp.errors import UserError
from dwp.evaluation.scores import score
from dwp.files import write_json
from dwp.kernels import describe, norms
from dwp.priors import load_prior, pretrained, prior_class
from dwp.seeds import generator

ROOT = Path(__file__).parent.parent
PARTS = ("Data and training", "Held-out nats", "Meant for", "Limits", "Licence")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    return tmp_path


def fitted(size=3, kind="gaussian-full"):
    kernels = torch.randn((200, size, size), generator=generator("kernels", size))
    return prior_class(kind).fit(kernels), kernels


@pytest.mark.parametrize("name", sorted(dwp.pretrained()))
def test_a_prior_of_the_package_has_a_card_and_works(name):
    card = dwp.pretrained()[name]
    assert card.startswith(f"# {name}\n")
    assert [line[3:] for line in card.splitlines() if line.startswith("## ")] == list(PARTS)
    prior = dwp.load_prior(name)
    size = prior.kernel_size
    assert f"A `{prior.kind}` prior over {size} x {size} kernels" in card
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, size))
    dwp.init.from_prior_(net, prior, generator("start"))
    started = norms(net[0].weight.detach().flatten(0, 1))
    assert ((started > 0.01) & (started < 10)).all()
    assert torch.isfinite(dwp.kl(dwp.bayesianize(net, prior), generator("kl")))


def test_the_package_ships_what_lies_in_the_folder():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = settings["tool"]["setuptools"]["package-data"]["dwp"]
    shipped = {path for pattern in patterns for path in (ROOT / "dwp").glob(pattern)}
    assert set((ROOT / "dwp").rglob("*.md")) <= shipped
    priors = set((ROOT / "dwp" / "pretrained").glob("*.safetensors"))
    assert priors | {path.with_suffix(".md") for path in priors} <= shipped
    assert ROOT / "dwp" / "py.typed" in shipped


def test_a_name_stands_for_its_file(folder):
    prior, kernels = fitted()
    prior.save(folder / "one.safetensors")
    (folder / "one.md").write_text("# one\n")
    assert dwp.pretrained() == {"one": "# one\n"}
    for path in ("one", f"{folder}/one.safetensors", folder / "one.safetensors"):
        assert torch.equal(load_prior(path).log_prob(kernels), prior.log_prob(kernels))


def test_an_unknown_name_is_refused_with_the_known_ones(folder):
    for name in ("one", "other"):
        fitted()[0].save(folder / f"{name}.safetensors")
    for name, line in {
        "two": "prior: expected one of one, other, a file, a folder of .*; found 'two'",
        "ones": "prior: .*; did you mean one.*",
        "two.safetensors": "two.safetensors: no such file",
        "elsewhere/two": "elsewhere/two: no such file",
    }.items():
        with pytest.raises(UserError, match=f"^{line}$"):
            load_prior(name)


def test_a_card_has_the_numbers_of_the_run(tmp_path):
    config = ROOT / "config" / "demo.yaml"
    name = yaml.safe_load(config.read_text())["name"]
    run = tmp_path / "results" / name / "demo"
    prior, kernels = fitted(7, "gaussian-diagonal")
    prior.save(run / "priors" / "gaussian-diagonal" / "conv1.safetensors")
    found = score(prior, kernels[:40])
    write_json(run / "priors" / "gaussian-diagonal" / "scores.json", {"conv1": found})
    described = describe(norms(kernels), 6.5, nets=12, train=100, test=40)
    write_json(run / "kernels" / "conv1.json", described)
    options = ["--results", tmp_path / "results", "--folder", tmp_path]
    line = [config, "demo", "gaussian-diagonal", "conv1", "new", *options]
    script("export_prior").main([str(part) for part in line])
    card = (tmp_path / "new.md").read_text()
    density = found["log_prob"]
    for text in (
        f"log p(w) (exact): {density['mean']:.2f} +- {density['standard_error']:.2f}\n",
        "12 source nets (`mnist`) were trained on glyphs. Of their 200 7 x 7\nkernels",
        f"at least 6.5 were kept: {described['kept']}\n",
        "On the 40 held-out kernels",
        f"zeros is {found['at_zero']:.2f} nats, of the kernels that nets\nstart from ",
        "l2 0.001",
    ):
        assert text in card
    assert "ELBO" not in card
    assert torch.equal(load_prior(tmp_path / "new.safetensors").mean, prior.mean)
