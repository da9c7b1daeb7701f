"""A stack of nets computes, draws and trains what its nets do alone."""

import copy

import pytest
import torch
from helpers import CLASSIFICATION, assert_alike, make_prior, two_classes
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
from dwp.nn.stack import OneAfterAnother, stack, stacks_exactly, unstack
from dwp.priors import KINDS, Estimation, prior_class
from dwp.seeds import generator, standard_normal
from dwp.study.settings import SourceTraining
from dwp.training.classification import train_classifiers
from dwp.training.source import l2_penalty, nets_together

RUNS = 3
SIZES = {"conv1": 7, "conv2": 5}
WITH_KL = [kind for kind in KINDS if kind != "empirical"]


def randn(*shape, seed=0):
    return torch.randn(shape, generator=generator("tensor", seed, *shape))


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


def sources(runs=RUNS):
    return [generator("noise", run) for run in range(runs)]


def channels_last(images):
    return images.to(memory_format=torch.channels_last)


def by_run(outputs, runs=RUNS):
    return outputs.chunk(runs, 1)


def close(found, expected):
    # a small number may be the sum of large ones, whose order differs
    atol = 1e-5 * max(1, float(expected.detach().abs().max()))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=atol)


# Noise


@pytest.mark.parametrize("shape", [(6, 5), (3, 7), (3, 2, 17, 4), (9, 1, 5, 5), (3000, 2)])
def test_every_run_has_the_noise_it_has_alone(shape):
    together, alone = sources(), sources()
    for _ in range(2):  # and its generator is left in the same state
        found = standard_normal(shape, together, torch.empty(0))
        block = (shape[0] // RUNS, *shape[1:])
        for noise, source in zip(found.chunk(RUNS), alone, strict=True):
            assert torch.equal(noise, standard_normal(block, source, torch.empty(0)))
    assert found.is_contiguous()


# The net


@pytest.mark.parametrize("posterior", [None, "additive", "multiplicative", "codes"])
def test_samples_are_those_of_the_nets(posterior):
    nets, images = (
        make_nets(posterior, priors=posterior and make_priors("vae")),
        randn(5, RUNS, 28, 28),
    )
    stacked = make_stack(nets)

    def passes(net, source, inputs):
        with prediction(net, sampling=False):
            found = [net(channels_last(inputs))]
        with prediction(net, generator=source) as draws:
            for sample in range(2):
                draws.begin(sample)
                found.append(net(channels_last(inputs)))
        return found

    found = passes(stacked, sources(), images)
    for run, (net, source) in enumerate(zip(nets, sources(), strict=True)):
        for one, all_runs in zip(passes(net, source, by_run(images)[run]), found, strict=True):
            close(by_run(all_runs)[run], one)
    assert torch.equal(found[1], found[2]) is (posterior is None)


def test_predictions_are_those_of_the_nets():
    nets, images = make_nets("additive"), randn(7, 1, 28, 28).sigmoid()
    stacked, options = make_stack(nets), {"samples": 3, "batch_size": 4}
    found = predict(stacked, images, generator=sources(), runs=RUNS, **options)
    assert found.shape == (3, 7, RUNS * 10)
    for net, source, probabilities in zip(nets, sources(), found.chunk(RUNS, 2), strict=True):
        close(probabilities, predict(net, images, generator=source, **options))


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


def test_other_architectures():
    nets, images = [Branches() for _ in range(RUNS)], randn(5, 2 * RUNS, 8, 8)
    found = stack(nets)(images)
    for net, x, outputs in zip(nets, by_run(images), by_run(found), strict=True):
        close(outputs, net(x))


def batch_norm_nets():
    """Different nets with batch norm that have seen two batches."""
    nets = []
    for run in range(RUNS):
        net = CifarBatchNormNet([2, 3, 2, 4], classes=3)
        initialise_xavier(net, generator("net", run))
        for norm in (net.norm1, net.norm2, net.norm3, net.norm4):
            norm.weight.data += 0.3 * randn(*norm.weight.shape, seed=run)
            norm.bias.data += 0.3 * randn(*norm.bias.shape, seed=("bias", run))
        for batch in range(2):
            net(channels_last(randn(4, 3, 32, 32, seed=(run, batch))))
        nets.append(net.to(memory_format=torch.channels_last))
    return nets


def test_batch_norm_is_that_of_the_nets():
    nets, images = batch_norm_nets(), channels_last(randn(5, 3 * RUNS, 32, 32))
    stacked = make_stack(nets)
    check_mixed_modes(stacked, nets, images)
    assert unstack(stacked, RUNS)[0]["norm1.num_batches_tracked"] == 3


def check_mixed_modes(stacked, nets, images):
    """Check a stack with its nets: predictions, a step of training, and the state after it."""
    with prediction(stacked):
        found = stacked(images)
    for net, x, logits in zip(
        nets, by_run(images, len(nets)), by_run(found, len(nets)), strict=True
    ):
        with prediction(net):
            close(logits, net(channels_last(x)))
    found = by_run(stacked(images), len(nets))
    torch.cat(found).square().sum().backward()
    states = unstack(stacked, len(nets))
    for run, (net, x) in enumerate(zip(nets, by_run(images, len(nets)), strict=True)):
        logits = net(channels_last(x))
        close(found[run], logits)
        logits.square().sum().backward()
        for name, parameter in net.named_parameters():
            gradient = stacked.get_parameter(name).grad.chunk(len(nets))[run]
            torch.testing.assert_close(gradient, parameter.grad, rtol=1e-3, atol=1e-3)
        assert list(states[run]) == list(net.state_dict())
        for name, value in net.state_dict().items():
            close(states[run][name], value)


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

    def __init__(self, mix):
        super().__init__()
        self.mix, self.norm = mix, nn.BatchNorm2d(4)
        self.conv, self.out = nn.Conv2d(2, 4, 3), nn.Linear(4 * 36, 3)
        self.noise = nn.Identity()

    def forward(self, images):
        maps = self.mix(self.norm(self.conv(images)), self)
        return self.out(self.noise(maps.relu().flatten(1)))


@pytest.mark.parametrize("mix", MIXING.values(), ids=MIXING)
def test_nets_that_mix_channels_run_one_after_another(mix):
    nets, images = [Mixing(mix) for _ in range(RUNS)], randn(5, 2 * RUNS, 8, 8)
    assert not stacks_exactly(nets, images[:, :2])
    stacked = copy.deepcopy(stack(nets))
    assert stacked.conv.weight.shape == (4 * RUNS, 2, 3, 3)
    check_mixed_modes(stacked, nets, images)
    assert not isinstance(stack([Branches() for _ in range(2)], randn(4, 2, 8, 8)), OneAfterAnother)


def test_bayesian_nets_that_mix_channels_draw_what_they_draw_alone():
    nets = [Mixing(MIXING["softmax"]) for _ in range(RUNS)]
    for net in nets:
        bayesianize(net, prior_class("standard-normal")(3), log_variance=-2.0)
        net.noise = Dropout(0.5)
    stacked, images = stack(nets), randn(6, 2, 8, 8)
    assert isinstance(stacked, OneAfterAnother)
    stacked.conv.generator = stacked.noise.generator = sources()
    together, found = kl(stacked), by_run(stacked(images.repeat(1, RUNS, 1, 1)))
    options = {"samples": 2, "batch_size": 4}
    predicted = predict(stacked, images, runs=RUNS, generator=sources(), **options)
    for run, net in enumerate(nets):
        net.conv.generator = net.noise.generator = sources()[run]
        close(found[run], net(images))
        close(together[run], kl(net))
        close(
            predicted.chunk(RUNS, 2)[run], predict(net, images, generator=sources()[run], **options)
        )


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
    (state,) = unstack(nets[0], 1)
    assert all(torch.equal(state[name], value) for name, value in nets[0].state_dict().items())
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


ESTIMATIONS = {
    "default": Estimation(),
    "monte-carlo": Estimation(estimator="monte-carlo"),
    "several codes": Estimation(latent_samples=3),
    "importance-weighted": Estimation(bound="importance-weighted", latent_samples=3),
}


@pytest.mark.parametrize("count", [None, 5])
@pytest.mark.parametrize(
    ("kind", "estimation"),
    [
        *((kind, "default") for kind in WITH_KL),
        ("standard-normal", "monte-carlo"),
        ("vae", "several codes"),
        ("vae", "importance-weighted"),
    ],
)
def test_kl_and_its_gradient_are_those_of_the_nets(kind, estimation, count, monkeypatch):
    monkeypatch.setattr(frozen, "_at_once", lambda _: 7)  # parts that do not end with a run
    priors = make_priors(kind)
    nets = make_nets(priors["conv1"].posterior_kind, priors=priors)
    stacked = make_stack(nets)
    options = {
        "reduction": "layer",
        "kernels_per_step": count,
        "estimation": ESTIMATIONS[estimation],
    }
    found = kl(stacked, sources(), **options)
    sum(value.sum() for value in found.values()).backward()
    for run, (net, source) in enumerate(zip(nets, sources(), strict=True)):
        expected = kl(net, source, **options)
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

SETTINGS = CLASSIFICATION | {
    "epochs": 10,
    "batch_size": 8,
    "learning_rate": 0.003,
    "evaluate_every": 5,
}
PLACES = [(0, 0), (1, 0), (0, 1)]  # (split, seed)


def train(kind, places, *, settings=None, **options):
    """Train for 20 steps, the second of each two of 4 examples."""
    settings = SETTINGS | (settings or {})
    if kind == "codes":
        settings, kind = settings | {"posterior": "codes"}, "vae"
    return train_classifiers(
        two_classes(),
        settings,
        places,
        n=12,
        priors=make_priors(kind),
        init=make_priors("gaussian-full"),
        **options,
    )


@pytest.mark.parametrize(
    ("kind", "count"), [*((kind, None) for kind in (None, "codes", *WITH_KL)), ("vae", 2)]
)
def test_training_together_is_training_alone(kind, count):
    settings = {"kernels_per_step": count}
    together = train(kind, PLACES, settings=settings)
    alone = [train(kind, [place], settings=settings)[0] for place in PLACES]
    assert_alike(together, alone)
    assert all(len(records) == 2 for _, records in alone)
    first, second, third = (net.conv1.weight for net, _ in together)
    assert (first - second).abs().max() > 0.01
    assert (first - third).abs().max() > 0.01


def test_how_many_source_nets_go_together():
    def count(first, second, device="cuda:0"):
        return nets_together(SourceTraining(network="mnist", filters=[first, second]), device)

    assert count(256, 512) == count(1024, 1024) == 1
    assert count(64, 64) == 16
    assert count(24, 64) > 16
    assert count(24, 64, "cpu") == 1
