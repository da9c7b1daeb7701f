"""Fitting priors: what is recorded and refused; a VAE and a flow learn what they should."""

import math

import pytest
import torch
from helpers import run_program, same_state
from torch.distributions import Normal

from dwp.errors import UserError
from dwp.evaluation.scores import score
from dwp.files import save_tensors
from dwp.priors import KINDS, load_prior, prior_class
from dwp.priors.gaussian import DiagonalGaussian
from dwp.seeds import generator
from dwp.training.prior import fit_prior

WIDTHS = {"hidden": 8, "latent": 2}
HYPERPARAMETERS = {
    "vae": WIDTHS,
    "flow": {"transforms": 2, "hidden": 8},
    "gaussian-mixture": {"components": 3, "seed": 0},
}
TRAINING = {"epochs": 30, "batch_size": 64, "learning_rate": 0.02, "seed": 0}
SHORT = {**TRAINING, "epochs": 3, "batch_size": 100}
SPREAD = 0.1  # standard deviation of the noise about the ring
PLANE = torch.randn((2, 25), generator=generator("directions"))


def ring(n, *seed):
    """Kernels 5 x 5 on a ring in a plane, plus noise: one hidden number makes each.

    Every weight is wide when the others are not known, so that a diagonal Gaussian does badly.
    """
    random = generator("ring", *seed)
    angle = 2 * math.pi * torch.rand(n, 1, generator=random)
    codes = torch.cat([angle.cos(), angle.sin()], 1)
    noise = SPREAD * torch.randn((n, 25), generator=random)
    return (codes @ PLANE + noise).view(n, 5, 5)


def ring_log_prob(kernels, points=2000):
    """The log density (n,) that `ring` draws from, by a sum over its angle."""
    angle = 2 * math.pi * torch.arange(points).double() / points
    means = torch.stack([angle.cos(), angle.sin()], 1) @ PLANE.double()
    distance = torch.cdist(kernels.flatten(1).double(), means).square()
    constant = 25 * math.log(SPREAD * math.sqrt(2 * math.pi)) + math.log(points)
    return (-0.5 * distance / SPREAD**2).logsumexp(1) - constant


@pytest.fixture(scope="module")
def kernels():
    return ring(600, "train")


@pytest.fixture(scope="module")
def trained(kernels):
    return fit_prior("vae", 5, kernels, WIDTHS, TRAINING)


# What is recorded, and what is refused


@pytest.mark.parametrize("kind", ["vae", "flow", "gaussian-mixture"])
def test_every_epoch_is_recorded_of_what_is_trained(kernels, kind):
    training = SHORT if KINDS[kind].trained else None
    _, records = fit_prior(kind, 5, kernels, HYPERPARAMETERS[kind], training)
    assert [r["step"] for r in records] == ([6, 12, 18] if training else [])
    assert all(set(r) == {"step", "loss"} and math.isfinite(r["loss"]) for r in records)


@pytest.mark.parametrize(
    ("kind", "size", "given", "settings", "message"),
    [
        ("vae", 5, False, {}, "kernels: expected floating-point numbers, found object"),
        ("empirical", 7, True, {}, "over 7 x 7 kernels, found 5 x 5"),
        ("vae", 5, True, {"batch_size": 0}, "batch_size: expected .*found 0"),
        ("vae", 5, True, {"kernels": 601}, r"training\.kernels: expected at most 600, found 601"),
    ],
)
def test_what_does_not_fit_is_refused(kernels, kind, size, given, settings, message):
    arguments = HYPERPARAMETERS.get(kind, {})
    with pytest.raises(UserError, match=message):
        fit_prior(kind, size, kernels if given else None, arguments, SHORT | settings)


# A VAE learns


def test_vae_learns_what_a_diagonal_gaussian_cannot(kernels, trained):
    test = ring(100, "test")
    prior, records = trained
    elbo = score(prior, test, importance_samples=1)["elbo"]["mean"]
    diagonal = DiagonalGaussian.fit(kernels).log_prob(test).mean().item()
    true = ring_log_prob(test).mean().item()
    # The gap to the truth is wide (about 48 nats), and the VAE must close most of it,
    assert true - diagonal > 40
    assert elbo > diagonal + 0.8 * (true - diagonal)
    # and no density is better than the one that the kernels come from.
    log_prob = score(prior, test, importance_samples=50)["log_prob"]["mean"]
    assert elbo < log_prob < true + 0.5
    assert records[-1]["loss"] < records[0]["loss"] - 30


# A flow learns


def test_flow_learns_what_a_gaussian_cannot():
    # Kernels 2 x 2 of two modes.
    random = generator("two modes")
    mode = 2 * torch.randint(0, 2, (1500, 1, 1), generator=random) - 1
    kernels = mode + 0.5 * torch.randn((1500, 2, 2), generator=random)
    train, test = kernels[:1000], kernels[1000:]
    training = {**TRAINING, "epochs": 20, "batch_size": 100}
    prior, _ = fit_prior("flow", 2, train, {"transforms": 4, "hidden": 16}, training)
    sides = [Normal(mean, 0.5).log_prob(test).sum((1, 2)) for mean in (-1.0, 1.0)]
    true = (torch.logaddexp(*sides) - math.log(2)).mean().item()
    gaussian = prior_class("gaussian-full").fit(train).log_prob(test).mean().item()
    assert true - gaussian > 0.4
    assert gaussian + 0.6 * (true - gaussian) < prior.log_prob(test).mean().item() < true + 0.05


def test_an_untrained_flow_is_the_full_gaussian(kernels):
    training = {**SHORT, "learning_rate": 1e-12}
    prior, _ = fit_prior("flow", 5, kernels, HYPERPARAMETERS["flow"], training)
    expected = prior_class("gaussian-full").fit(kernels).log_prob(kernels)
    torch.testing.assert_close(prior.log_prob(kernels), expected, rtol=1e-3, atol=1e-3)


def test_a_part_of_the_kernels(kernels):
    def fit(kernels, settings=SHORT):
        return fit_prior("vae", 5, kernels, WIDTHS, settings)

    part, records = fit(kernels, {**SHORT, "kernels": 60})
    assert records[-1]["step"] == 3  # epochs of one batch
    order = torch.randperm(600, generator=generator("prior", "kernels", SHORT["seed"]))
    assert same_state(part, fit(kernels[order[:60]])[0])
    assert not same_state(part, fit(kernels[:60])[0])
    assert not same_state(part, fit(kernels, {**SHORT, "kernels": 60, "seed": 1})[0])
    larger = kernels.flatten(1).norm(dim=1).argsort()[450:].sort().values
    assert same_state(fit(kernels, {**SHORT, "quantile": 0.75})[0], fit(kernels[larger])[0])


# Reconstructed kernels


def test_reconstructions_are_near_their_kernels(trained):
    test = ring(100, "test")
    found = trained[0].reconstruct(test)
    # what is left is the noise about the ring, not its radius
    assert (found - test).square().mean().sqrt() < 2 * SPREAD < 0.3 * test.square().mean().sqrt()


@pytest.fixture
def fit(tmp_path):
    """Fit a prior by the program; return it and the text of its history."""

    def call(**options):
        prior, history = tmp_path / "prior.safetensors", tmp_path / "history.csv"
        run_program("fit_prior", prior=prior, history=history, **options)
        return load_prior(prior), history.read_text()

    return call


def test_an_empirical_prior_of_reconstructions(fit, trained, kernels, tmp_path):
    vae, file = tmp_path / "vae.safetensors", tmp_path / "kernels.safetensors"
    trained[0].save(vae)
    tensors = {"train": kernels, "test": ring(5, "test")}
    save_tensors(file, tensors, kind="kernels", settings={})
    settings = {"kind": "empirical", "kernel_size": 5}
    prior, history = fit(kernels=[file], reconstructed_by=[vae], settings=settings)
    assert torch.equal(prior.kernels, load_prior(vae).reconstruct(kernels))
    assert history == "step,loss\n"


def test_a_prior_that_comes_with_the_package(fit):
    settings = {"kind": "vae", "kernel_size": 7, "pretrained": "mnist-7x7"}
    assert same_state(fit(settings=settings)[0], load_prior("mnist-7x7"))
