"""Random features and convergence: what is trained, from where, and what is recorded of it."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from helpers import ROOT, same_state, some_kernels, striped_images
from torch import nn

from dwp.data.tensors import ImageTensors
from dwp.errors import UserError
from dwp.nn.image_vae import ImageVAE, log_likelihood
from dwp.nn.init import from_prior_
from dwp.nn.networks.mnist import MnistNet
from dwp.priors.empirical import Empirical
from dwp.seeds import generator
from dwp.training import convergence, features
from dwp.training.convergence import train_from
from dwp.training.features import train_on_features, trained_state
from dwp.training.loop import batches
from dwp.training.source import accuracy

FEATURES = {
    "network": "mnist",
    "filters": [4, 6],
    "epochs": 3,
    "batch_size": 16,
    "learning_rate": 0.01,
}
IMAGE_VAE = {
    "kind": "image-vae",
    "filters": [2, 3],
    "latent": 3,
    "steps": 6,
    "batch_size": 16,
    "learning_rate": 0.01,
    "evaluate_every": 2,
    "sample_steps": [0, 2, 6],
}
CLASSIFIER = IMAGE_VAE | {"kind": "classifier", "network": "mnist"}
OWN = f"{ROOT}/tests/own_nets.py"
NORMED = f"{OWN}:WithBatchNorm"


@pytest.fixture(scope="module")
def stripes():
    return striped_images(50, 30)


def empirical(sizes):
    return {layer: Empirical.fit(some_kernels(size)) for layer, size in sizes.items()}


def are_from(weight, kernels):
    """Whether every kernel of a weight (a, b, k, k) is one of kernels (n, k, k)."""
    pairs = weight.flatten(0, 1)[:, None] == kernels[None]
    return bool(pairs.all((2, 3)).any(1).all())


# Random features


@pytest.mark.parametrize("init", [None, "kernels"])
def test_only_the_classifier_is_trained(stripes, init):
    priors = empirical(MnistNet.kernel_sizes) if init else None
    settings = FEATURES | {"epochs": 1}
    one = train_on_features(stripes, settings, scale=0.5, seed=0, init=priors)[0]
    more = train_on_features(stripes, FEATURES, scale=0.5, seed=0, init=priors)[0]
    assert set(trained_state(more)) == {"classifier.weight", "classifier.bias"}
    for name, before in one.state_dict().items():
        assert torch.equal(before, more.state_dict()[name]) == name.startswith("conv"), name
    assert more.conv1.weight.shape[0] == 2
    if init:
        assert are_from(more.conv1.weight, some_kernels(7))
        assert are_from(more.conv2.weight, some_kernels(5))


def test_batch_norms_are_trained_and_their_convolutions_not(stripes):
    settings = FEATURES | {"network": NORMED, "epochs": 6}
    one = train_on_features(stripes, settings | {"epochs": 1}, scale=1, seed=0, init=None)[0]
    more, metrics = train_on_features(stripes, settings, scale=1, seed=0, init=None)
    assert torch.equal(one.conv1.weight, more.conv1.weight)
    assert not torch.equal(one.norm.weight, more.norm.weight)
    assert not torch.equal(one.norm.running_mean, more.norm.running_mean)
    expected = {"norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"}
    assert expected <= set(trained_state(more))
    assert not any(name.startswith("conv") for name in trained_state(more))
    assert metrics["test_accuracy"] > 0.6


# Image VAE


def test_image_vae_starts_from_kernels_of_its_layers():
    net = ImageVAE([2, 3], latent=2)
    from_prior_(net, empirical(ImageVAE.kernel_sizes), generator("start"))
    for layer, size in ImageVAE.kernel_sizes.items():
        assert are_from(net.get_submodule(layer).weight, some_kernels(size)), layer
        assert MnistNet.kernel_sizes[ImageVAE.kernels_of[layer]] == size


def test_a_transposed_convolution_draws_its_kernels():
    net = ImageVAE([1, 1], latent=1)
    from_prior_(net, {"decoder2": Empirical.fit(some_kernels(7)[:1])}, generator("start"))
    nn.init.zeros_(net.decoder2.bias)
    point = torch.zeros(1, 1, 12, 12)
    point[0, 0, 2, 3] = 1
    with torch.no_grad():
        drawn = net.decoder2(point)[0, 0]
    assert drawn.shape == (28, 28)
    torch.testing.assert_close(drawn[3:10, 5:12], some_kernels(7)[:1][0])
    assert drawn.count_nonzero() == 49


def test_the_likelihood_by_hand():
    images = torch.tensor([[[[1.0, 0.0, 0.25]]]])
    logits = torch.tensor([[[[math.log(3.0), math.log(3.0), 0.0]]]])
    expected = math.log(3 / 4) + math.log(1 / 4) + math.log(1 / 2)
    torch.testing.assert_close(log_likelihood(logits, images), torch.tensor([expected]))


def test_elbo_is_a_lower_bound_of_the_likelihood():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = ImageVAE([2, 2], latent=2).double()
    for layer in (net.start, net.decoder1, net.decoder2):
        nn.init.normal_(layer.weight, 0, 0.3, generator=generator("weights"))
    images = torch.rand((3, 1, 28, 28), generator=generator("images"), dtype=torch.double)
    draws = 500
    with torch.no_grad():
        bounds = net.elbo(images.repeat(draws, 1, 1, 1), generator("elbo")).view(draws, 3)
        # log p(x) by a Riemann sum over z in [-6, 6]^2
        axis = torch.linspace(-6, 6, 61, dtype=torch.double)
        codes = torch.cartesian_prod(axis, axis)
        prior = -0.5 * codes.square().sum(1) - math.log(2 * math.pi)
        logits = net.decode(codes)
        fits = torch.stack([log_likelihood(logits, x.expand_as(logits)) for x in images])
        exact = (fits + prior).logsumexp(1) + 2 * math.log(12 / 60)
    error = bounds.std(0) / math.sqrt(draws)
    gap = exact - bounds.mean(0)
    assert (gap > 3 * error).all(), (gap, error)


# Convergence


def test_an_image_vae_gets_better_and_is_drawn(stripes):
    settings = IMAGE_VAE | {"steps": 40, "evaluate_every": 20, "sample_steps": [0, 40]}
    net, records, drawn = train_from(stripes, settings, seed=0, init=None)
    assert [record["step"] for record in records] == [0, 20, 40]
    assert all(set(record) == {"step", "test_elbo"} for record in records)
    assert records[-1]["test_elbo"] > records[0]["test_elbo"] + 50
    assert drawn.shape == (2, 8, 28, 28)
    assert not torch.equal(drawn[0], drawn[1])
    assert 0 < drawn.min() < drawn.max() < 1
    codes = torch.randn((8, 3), generator=generator("codes"))
    with torch.no_grad():
        torch.testing.assert_close(net.decode(codes).sigmoid()[:, 0], drawn[1])
    assert "drawn" not in net.state_dict()


def test_a_whole_classifier_is_trained_from_its_kernels(stripes):
    init = empirical(MnistNet.kernel_sizes)
    tiny = CLASSIFIER | {"learning_rate": 1e-9, "steps": 2}
    net, records, drawn = train_from(stripes, tiny, seed=0, init=init)
    assert drawn is None
    assert [record["step"] for record in records] == [0, 2]
    nearest = (net.conv1.weight.flatten(0, 1)[:, None] - some_kernels(7)).abs().amax((2, 3))
    assert nearest.min(1).values.max() < 1e-7
    other, _, _ = train_from(stripes, CLASSIFIER, seed=0, init=init)
    for (name, before), after in zip(net.named_parameters(), other.parameters(), strict=True):
        assert not torch.allclose(before, after, atol=1e-4), name


def test_an_image_vae_refuses_other_images(stripes):
    small = ImageTensors(*(x[..., :20, :20] if x.dim() == 4 else x for x in vars(stripes).values()))
    with pytest.raises(UserError, match=r"image-vae.*28.*20"):
        train_from(small, IMAGE_VAE, seed=0, init=None)


def wrongly_labelled(data):
    """The data with other classes for the test part: its metrics cannot be those of training."""
    return replace(data, test_targets=(data.test_targets + 1) % 3)


@pytest.mark.parametrize("network", ["mnist", NORMED])
def test_metrics_of_random_features_are_those_of_the_net(stripes, network):
    settings = FEATURES | {"network": network, "epochs": 15}
    data = wrongly_labelled(stripes)
    options = {"scale": 1, "seed": 0, "init": None}
    net, found = train_on_features(data, settings, **options)
    # features computed at every step train as those computed once
    other, metrics = train_on_features(data, settings, **options, most_features=0)
    assert same_state(net, other)
    assert metrics == found
    net.eval()
    for part in ("train", "test"):
        images, targets = (getattr(data, f"{part}_{name}") for name in ("images", "targets"))
        with torch.no_grad():
            logits = net(images / 255)
        right = (logits.argmax(1) == targets).double().mean().item()
        assert found[f"{part}_accuracy"] == pytest.approx(right)
        nll = nn.functional.cross_entropy(logits.double(), targets).item()
        assert found[f"{part}_nll"] == pytest.approx(nll, rel=1e-4)
    assert found["test_accuracy"] < 0.4 < found["train_accuracy"]


def test_metrics_of_convergence_are_of_the_test_images(stripes):
    data = wrongly_labelled(stripes)
    net, records, _ = train_from(data, CLASSIFIER | {"steps": 20}, seed=0, init=None)
    expected = accuracy(net, data.test_images / 255, data.test_targets)
    assert records[-1]["test_accuracy"] == expected < 0.4
    net, records, _ = train_from(stripes, IMAGE_VAE, seed=3, init=None)
    draws = generator("convergence", "evaluation", 3, 6)
    with torch.no_grad():
        bound = net.elbo(stripes.test_images / 255, draws).double().mean().item()
    assert records[-1]["test_elbo"] == pytest.approx(bound, rel=1e-6)


def test_evaluations_leave_batch_norm_in_training(stripes):
    net, *_ = train_from(stripes, CLASSIFIER | {"network": NORMED}, seed=0, init=None)
    assert net.norm.num_batches_tracked == CLASSIFIER["steps"]


@pytest.mark.parametrize(
    ("module", "train", "settings", "drawn"),
    [
        (convergence, train_from, IMAGE_VAE, 3),
        (features, partial(train_on_features, scale=1), FEATURES, 2),
    ],
)
def test_seeds_have_weights_batches_and_noise_of_their_own(
    stripes, monkeypatch, module, train, settings, drawn
):
    seen = []

    def optimise(net, objective, *, n, seeds, noise=(), **_):
        (order,), states = (next(batches(n, n, 1, *seed)) for seed in seeds), list(noise)
        weights = [parameter.detach().flatten() for parameter in net.parameters()]
        seen.append([torch.cat(weights), order, *(source.get_state() for source in states)])
        return [[]]

    monkeypatch.setattr(module, "optimise", optimise)
    for seed in (0, 0, 1):
        train(stripes, settings, seed=seed, init=None)
    first, same, other = seen
    assert len(first) == drawn
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("most", [0, 2**30])
def test_random_features_are_drawn_at_every_step_and_not_in_tests(stripes, most):
    settings = FEATURES | {"network": f"{OWN}:WithDropout", "epochs": 40}
    (net, found), (_, again) = (
        train_on_features(stripes, settings, scale=4, seed=0, init=None, most_features=most)
        for _ in "12"
    )
    assert found == again
    with torch.no_grad():
        right = net(stripes.test_images / 255).argmax(1) == stripes.test_targets
    assert found["test_accuracy"] == right.double().mean().item() > 0.9
