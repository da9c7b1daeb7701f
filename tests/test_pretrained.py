"""Priors that come with the package, and their way into it from a run."""

import pytest
import torch
import yaml
from helpers import ROOT, script

import dwp
from dwp.evaluation.scores import score
from dwp.files import write_json
from dwp.kernels import describe, norms
from dwp.priors import load_prior, prior_class
from dwp.seeds import generator

PARTS = ("Data and training", "Held-out nats", "Meant for", "Limits", "Licence")


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


def test_a_card_has_the_numbers_of_the_run(tmp_path):
    config = ROOT / "config" / "demo.yaml"
    name = yaml.safe_load(config.read_text())["name"]
    run = tmp_path / "results" / name / "demo"
    kernels = torch.randn((200, 7, 7), generator=generator("kernels"))
    prior = prior_class("gaussian-diagonal").fit(kernels)
    prior.save(run / "priors" / "gaussian-diagonal" / "conv1.safetensors")
    found = score(prior, kernels[:40])
    write_json(run / "priors" / "gaussian-diagonal" / "scores.json", {"conv1": found})
    described = describe(norms(kernels), 6.5, nets=12, train=100, test=40)
    write_json(run / "kernels" / "conv1.json", described)
    options = ["--results", tmp_path / "results", "--folder", tmp_path]
    line = [config, "demo", "gaussian-diagonal", "conv1", "new", *options]
    script("export_prior").main([*map(str, line)])
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
