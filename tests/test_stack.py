"""A stack of nets computes, draws and trains what its nets do alone."""

import copy
import functools

import pytest
import torch
from helpers import CLASSIFICATION, assert_alike, make_prior, same_state, two_classes
from torch import nn
from torch.nn import functional as F

from dwp.errors import UserError
from dwp.fast import frozen
from dwp.nn.bayesian import bayesianize, kl, prediction
from dwp.nn.dropout import Dropout
from dwp.nn.networks import initialise_xavier
from dwp.nn.networks.cifar import CifarBatchNormNet
from dwp.nn.networks.mnist import MnistNet
from dwp.nn.predict import predict
from dwp.nn.stack import OneAfterAnother, stack, unstack
from dwp.priors import KINDS, Estimation, prior_class
from dwp.seeds import generator
from dwp.training.classification import train_classifiers
from dwp.training.source import l2_penalty

RUNS = 3
SIZES = {"conv1": 7, "conv2": 5}
WITH_KL = [kind for kind in KINDS if kind != "empirical"]


def randn(*shape, seed=0):
    return torch.randn(shape, generator=generator("tensor", seed, *shape))


@functools.cache
def make_priors(kind):
    """The priors of a net's layers; None, as of a deterministic net, for no kind."""
    return kind and {name: make_prior(kind, size) for name, size in SIZES.items()}


def make_nets(posterior=None, runs=RUNS, priors=None):
    """Different nets of one architecture, Bayesian if they have a kind of posterior."""
    nets = []
    for run in range(runs):
        net = MnistNet([4, 6])
        if posterior is not None:
            bayesianize(net, priors, posterior=posterior, log_variance=-3.0)
        initialise_xavier(net, generator("net", run))
        for number, parameter in enumerate(net.parameters()):
            parameter.data += 0.1 * randn(*parameter.shape, seed=(run, number))
        nets.append(net.to(memory_format=torch.channels_last))
    return nets


def make_stack(nets):
    return stack(nets).to(memory_format=torch.channels_last)


def sources():
    return [generator("noise", run) for run in range(RUNS)]


def channels_last(images):
    return images.to(memory_format=torch.channels_last)


def close(found, expected):
    # a small number may be the sum of large ones, whose order differs
    atol = 1e-5 * max(1, float(expected.detach().abs().max()))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=atol)


# The net


@pytest.mark.parametrize("samples", [0, 3])
@pytest.mark.parametrize("posterior", [None, "additive", "multiplicative", "codes"])
def test_predictions_are_those_of_the_nets(posterior, samples):
    nets = make_nets(posterior, priors=posterior and make_priors("vae"))
    images, options = randn(7, 1, 28, 28).sigmoid(), {"samples": samples, "batch_size": 4}
    found = predict(make_stack(nets), images, generator=sources(), runs=RUNS, **options)
    for net, source, probabilities in zip(nets, sources(), found.chunk(RUNS, 2), strict=True):
        close(probabilities, predict(net, images, generator=source, **options))
    assert torch.equal(found[0], found[-1]) is (posterior is None or samples == 0)


def test_members_of_ensembles_stand_in_place_of_samples():
    nets, images = make_nets(runs=6), randn(7, 1, 28, 28).sigmoid()
    found = predict(make_stack(nets), images, samples=0, runs=2, members=3)
    assert found.shape == (3, 7, 2 * 10)
    for run, probabilities in enumerate(found.chunk(2, 2)):
        for net, member in zip(nets[3 * run : 3 * run + 3], probabilities, strict=True):
            close(member, predict(net, images, samples=0)[0])


class Branches(nn.Module):
    """Groups, strides, nesting, and layers without a bias."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular", bias=False)
        self.block = nn.Sequential(nn.ReLU(), nn.Conv2d(4, 6, 3, stride=2, groups=2), nn.Dropout(0))
        self.last = nn.Sequential(nn.Flatten(), nn.Linear(6 * 9, 3, bias=False), nn.Tanh())

    def forward(self, images):
        return self.last(self.block(self.first(images)))


MIXING = {
    "response norm": lambda maps, net: F.local_response_norm(maps, 3),
    "normalised": lambda maps, net: F.normalize(maps, dim=1),
    "softmax": lambda maps, net: maps.softmax(1),
    "batch-wide": lambda maps, net: maps / maps.square().mean().sqrt(),
    "in training": lambda maps, net: maps.softmax(1) if net.training else maps,
}


class Mixing(nn.Module):
    """A net with a layer without parameters that does not treat every channel by itself."""

    image_shape = 2, 8, 8

    def __init__(self, mix="softmax"):
        super().__init__()
        self.mix, self.norm = MIXING[mix], nn.BatchNorm2d(4)
        self.conv, self.out = nn.Conv2d(2, 4, 3), nn.Linear(4 * 36, 3)
        self.noise = nn.Identity()

    def forward(self, images):
        maps = self.mix(self.norm(self.conv(images)), self)
        return self.out(self.noise(maps.relu().flatten(1)))


def batch_norm_net():
    """Return another net with each call, with batch norm that has seen two batches."""
    net = CifarBatchNormNet([2, 3, 2, 4], classes=3).to(memory_format=torch.channels_last)
    for parameter in net.parameters():
        nn.init.normal_(parameter, 0.1, 0.3)
    for _ in range(2):
        net(channels_last(torch.randn(4, 3, 32, 32)))
    return net


@pytest.mark.parametrize(
    "make", [Branches, batch_norm_net, *(functools.partial(Mixing, mix) for mix in MIXING)]
)
def test_a_stack_predicts_and_learns_as_its_nets(make):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        nets = [make() for _ in range(RUNS)]
    shape = getattr(nets[0], "image_shape", (2, 8, 8))
    images = randn(RUNS, 5, *shape)  # of each run
    stacked = copy.deepcopy(stack(nets, images[0])).to(memory_format=torch.channels_last)
    assert isinstance(stacked, OneAfterAnother) is isinstance(nets[0], Mixing)
    inputs = channels_last(images.transpose(0, 1).flatten(1, 2))
    with prediction(stacked):
        predicted = stacked(inputs)
    trained = stacked(inputs)
    trained.square().sum().backward()
    states = unstack(stacked, RUNS)
    for run, net in enumerate(nets):
        own = channels_last(images[run])
        with prediction(net):
            close(predicted.chunk(RUNS, 1)[run], net(own))
        logits = net(own)
        close(trained.chunk(RUNS, 1)[run], logits)
        logits.square().sum().backward()
        for name, parameter in net.named_parameters():
            gradient = stacked.get_parameter(name).grad.chunk(RUNS)[run]
            torch.testing.assert_close(gradient, parameter.grad, rtol=1e-3, atol=1e-3)
        assert list(states[run]) == list(net.state_dict())
        for name, value in net.state_dict().items():
            close(states[run][name], value)


def test_bayesian_nets_that_mix_channels_draw_what_they_draw_alone():
    nets = [Mixing() for _ in range(RUNS)]
    for net in nets:
        bayesianize(net, prior_class("standard-normal")(3), log_variance=-2.0)
        net.noise = Dropout(0.5)
    stacked, images = stack(nets), randn(6, 2, 8, 8)
    assert isinstance(stacked, OneAfterAnother)
    stacked.conv.generator = stacked.noise.generator = sources()
    together, found = kl(stacked), stacked(images.repeat(1, RUNS, 1, 1)).chunk(RUNS, 1)
    options = {"samples": 2, "batch_size": 4}
    predicted = predict(stacked, images, runs=RUNS, generator=sources(), **options)
    for run, net in enumerate(nets):
        net.conv.generator = net.noise.generator = sources()[run]
        close(found[run], net(images))
        close(together[run], kl(net))
        alone = predict(net, images, generator=sources()[run], **options)
        close(predicted.chunk(RUNS, 2)[run], alone)


def test_torchs_dropout_is_for_the_first_net_what_it_is_alone():
    def masks(runs):
        nets = [nn.Sequential(nn.Linear(9, 9), nn.Dropout(0.5)) for _ in range(runs)]
        net = stack(nets, randn(4, 9))
        torch.manual_seed(0)
        return [net(torch.ones(8, runs * 9)) == 0 for _ in range(2)]

    with torch.random.fork_rng():
        alone, together = masks(1), masks(2)
    for one, both in zip(alone, together, strict=True):
        assert torch.equal(one, both[:, :9])
        assert not torch.equal(one, both[:, 9:])


def test_a_single_net_is_its_own_stack_and_frozen_weights_stay_frozen():
    nets = make_nets("additive", runs=2)
    assert stack(nets[:1]) is nets[0]
    assert same_state(*unstack(nets[0], 1), nets[0])
    for net in nets:
        net.conv1.requires_grad_(False)
    frozen = {name for name, p in stack(nets).named_parameters() if not p.requires_grad}
    assert frozen == {"conv1.weight", "conv1.bias", "conv1.log_variance"}


@pytest.mark.parametrize(
    "layer", [nn.BatchNorm1d(2), nn.PReLU(), nn.ConvTranspose2d(2, 2, 3), nn.LayerNorm(8)]
)
def test_layers_that_cannot_be_stacked(layer):
    nets = [nn.Sequential(nn.Conv2d(2, 2, 1), copy.deepcopy(layer)) for _ in range(2)]
    with pytest.raises(UserError, match=f"layer '1': .* found {type(layer).__name__}; train one"):
        stack(nets)


# The KL and the penalty


@pytest.mark.parametrize("count", [None, 5])
@pytest.mark.parametrize(
    ("kind", "estimation"),
    [
        *((kind, Estimation()) for kind in WITH_KL),
        ("standard-normal", Estimation("monte-carlo")),
        ("vae", Estimation(latent_samples=3)),
        ("vae", Estimation(bound="importance-weighted", latent_samples=3)),
    ],
)
def test_kl_and_its_gradient_are_those_of_the_nets(kind, estimation, count, monkeypatch):
    monkeypatch.setattr(frozen, "_at_once", lambda _: 7)  # parts that do not end with a run
    priors = make_priors(kind)
    nets = make_nets(priors["conv1"].posterior_kind, priors=priors)
    stacked = make_stack(nets)
    options = {"reduction": "layer", "kernels_per_step": count, "estimation": estimation}
    found = kl(stacked, range(RUNS), **options)
    sum(value.sum() for value in found.values()).backward()
    for run, net in enumerate(nets):
        expected = kl(net, run, **options)  # a seed each
        sum(expected.values()).backward()
        assert expected["conv1"].shape == ()
        for name, value in expected.items():
            assert found[name].shape == (RUNS,)
            torch.testing.assert_close(found[name][run], value, rtol=1e-5, atol=1e-3)
        for name, parameter in net.named_parameters():
            whole = stacked.get_parameter(name).grad
            assert (whole is None) is (parameter.grad is None)
            if whole is not None:
                close(whole.chunk(RUNS)[run], parameter.grad)
    assert stacked.conv2.log_variance.grad.abs().max() > 0.01


def test_l2_penalty_of_every_run():
    nets = make_nets()
    expected = torch.cat([l2_penalty(net) for net in nets])
    assert len(expected.unique()) == RUNS
    close(l2_penalty(make_stack(nets), RUNS), expected)


# Training

SETTINGS = CLASSIFICATION | {"epochs": 6, "batch_size": 8, "learning_rate": 0.003}
SETTINGS |= {"evaluate_every": 3}
SPLITS_AND_SEEDS = [(0, 0), (1, 0), (0, 1)]


def train(kind, runs, **settings):
    """Train for 12 steps, the second of each two of 4 examples."""
    if kind == "codes":
        settings, kind = settings | {"posterior": "codes"}, "vae"
    start = {"priors": make_priors(kind), "init": make_priors("gaussian-full")}
    return train_classifiers(two_classes(), SETTINGS | settings, runs, n=12, **start)


@pytest.mark.parametrize(
    ("kind", "count"), [*((kind, None) for kind in (None, "codes", *WITH_KL)), ("vae", 2)]
)
def test_training_together_is_training_alone(kind, count):
    together = train(kind, SPLITS_AND_SEEDS, kernels_per_step=count)
    alone = [train(kind, [run], kernels_per_step=count)[0] for run in SPLITS_AND_SEEDS]
    assert_alike(together, alone)
    assert all(len(records) == 2 for _, records in alone)
    first, second, third = (net.conv1.weight for net, _ in together)
    assert (first - second).abs().max() > 0.01
    assert (first - third).abs().max() > 0.01
