"""Bayesian convolutions against explicit weight samples, and nets built and used with them."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune, spectral_norm

from dwp.devices import products
from dwp.errors import UserError
from dwp.nn.bayesian import (
    BayesianConv2d,
    bayesian_layers,
    bayesianize,
    kl,
    prediction,
)
from dwp.nn.init import from_prior_
from dwp.nn.networks.mnist import MnistNet
from dwp.nn.predict import predict
from dwp.priors import GaussianKernels, MultiplicativeKernels, prior_class
from dwp.priors.vae import KernelVAE
from dwp.seeds import generator

POSTERIORS = ["additive", "multiplicative"]
CONVOLUTIONS = {
    "plain": {},
    "stride and padding": {"stride": 2, "padding": 1},
    "groups": {"groups": 2, "padding": (1, 0)},
    "dilation without bias": {"dilation": 2, "bias": False},
    "circular": {"padding": 1, "padding_mode": "circular"},
}


def randn(*shape, seed=0):
    return torch.randn(shape, generator=generator("tensor", seed, *shape))


def make_layer(posterior, log_variance=-1.0, **options):
    layer = BayesianConv2d(2, 4, 3, posterior=posterior, log_variance=log_variance, **options)
    with torch.no_grad():
        layer.weight.copy_(randn(*layer.weight.shape))
        # Every weight its own variance: a mix-up of weights must show.
        layer.log_variance += randn(*layer.weight.shape, seed=1)
        if layer.bias is not None:
            layer.bias.copy_(randn(4, seed=2))
    return layer.requires_grad_(False)


def make_net(filters=(3, 4), seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MnistNet(filters)


class Nested(nn.Module):
    """Convolutions at several depths, and one that is in a list."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 2, 3, padding=1)
        self.block = nn.ModuleDict({"conv": nn.Conv2d(2, 2, 3), "norm": nn.BatchNorm2d(2)})
        self.tail = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Conv2d(2, 3, 1)))
        self.other = nn.Linear(3, 2)

    def forward(self, images):
        maps = self.block["norm"](self.block["conv"](self.first(images)))
        return self.other(self.tail(maps).mean((2, 3)))


# Local reparametrisation


@pytest.mark.parametrize("options", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_outputs_have_the_moments_of_explicit_weight_samples(posterior, options):
    n, layer, images = 4000, make_layer(posterior, **options), randn(3, 2, 6, 6)
    plain = nn.Conv2d(2, 4, 3, **options).requires_grad_(False)
    if plain.bias is not None:
        plain.bias.copy_(layer.bias)
    q = layer.posterior
    expanded = type(q)(*(t.expand(n, *t.shape) for t in vars(q).values()))
    explicit = torch.stack(
        [
            torch.func.functional_call(plain, {"weight": weight}, images)
            for weight in expanded.sample(generator("weights"))
        ]
    )
    layer.generator = generator("noise")
    local = torch.stack([layer(images) for _ in range(n)])

    mean, deviation = layer.moments(images)
    for draws in (explicit, local):
        scaled = (draws - mean) / deviation  # of mean 0 and variance 1, if the moments are right
        for errors in (
            scaled.mean(0) * math.sqrt(n),
            (scaled.var(0) - 1) * math.sqrt(n / 2),
        ):
            # Standard errors, one a place: standard normal, but dependent across places for
            # explicit samples, where the mean square scatters more.
            assert errors.abs().max() < 5
            assert 0.5 < errors.square().mean() < 1.6


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_every_place_and_image_has_its_own_noise(posterior):
    layer, image = make_layer(posterior), randn(1, 2, 4, 4)
    layer.generator = generator("noise")
    images = image.expand(2, -1, -1, -1)
    draws = torch.stack([layer(images) for _ in range(2000)]).flatten(1)
    correlation = draws.T.corrcoef()
    correlation.fill_diagonal_(0)
    assert correlation.abs().max() < 5 / math.sqrt(2000)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_posterior_of_a_layer(posterior):
    layer = make_layer(posterior)
    q = layer.posterior
    assert torch.equal(q.mean, layer.weight)
    if posterior == "additive":
        assert type(q) is GaussianKernels
        assert torch.equal(q.variance, layer.log_variance.exp())
    else:
        assert type(q) is MultiplicativeKernels
        torch.testing.assert_close(q.log_alpha.exp(), layer.log_variance.sigmoid())
        # However far training pushes it, alpha stays below 1, where its KL holds.
        layer.log_variance.fill_(50.0)
        assert (layer.posterior.log_alpha <= 0).all()


@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize("options", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_without_sampling_it_is_the_plain_convolution(posterior, options):
    layer, images = make_layer(posterior, **options), randn(3, 2, 6, 6)
    plain = nn.Conv2d(2, 4, 3, **options)
    plain.load_state_dict({k: v for k, v in layer.state_dict().items() if k != "log_variance"})
    layer.sampling = False
    assert torch.equal(layer(images), plain(images))


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_draws_come_from_the_layers_generator(posterior):
    layer, images = make_layer(posterior), randn(2, 2, 5, 5)
    layer.generator = generator(0)
    before = torch.get_rng_state()
    first, second = layer(images), layer(images)
    assert torch.equal(torch.get_rng_state(), before)
    layer.generator = generator(0)
    assert torch.equal(layer(images), first)
    assert not torch.equal(first, second)
    layer.generator = None  # the global one
    layer(images)
    assert not torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_memory_formats_have_one_distribution(posterior):
    n = 2000
    layer, images = make_layer(posterior), randn(2, 2, 6, 6)
    layer.generator = generator("formats")
    plain = layer.moments(images)
    draws = {torch.contiguous_format: layer(images)}
    layer.to(memory_format=torch.channels_last)
    images = images.to(memory_format=torch.channels_last)
    for first, second in zip(plain, layer.moments(images), strict=True):
        torch.testing.assert_close(first, second)
    draws[torch.channels_last] = layer(images)
    for memory_format, maps in draws.items():
        assert maps.is_contiguous(memory_format=memory_format)
    # Noise is filled in another way there: standard normal, and independent.
    mean, deviation = layer.moments(images)
    noise = torch.stack([(layer(images) - mean) / deviation for _ in range(n)]).flatten(1)
    assert (noise.mean(0).abs() < 5 / math.sqrt(n)).all()
    assert ((noise.var(0) - 1).abs() < 5 * math.sqrt(2 / n)).all()
    assert (noise.T.corrcoef() - torch.eye(noise.shape[1])).abs().max() < 5 / math.sqrt(n)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_gradients_are_finite_for_black_images(posterior):
    # Where an input is all 0 so is the variance, and the slope of its root has no bound.
    layer = make_layer(posterior).requires_grad_(True)
    layer(torch.zeros(1, 2, 5, 5)).square().sum().backward()
    for parameter in layer.parameters():
        assert parameter.grad.isfinite().all()


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_gradient_of_a_draw(posterior):
    layer, images = make_layer(posterior).double(), randn(1, 2, 4, 4).double()

    def draw(weight, log_variance):
        layer.generator = generator("noise")
        state = {"weight": weight, "log_variance": log_variance}
        return torch.func.functional_call(layer, state, images)

    inputs = [t.clone().requires_grad_() for t in (layer.weight, layer.log_variance)]
    assert torch.autograd.gradcheck(draw, inputs)


# Making nets Bayesian


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_bayesianize_keeps_the_net(posterior):
    net, images = make_net(), randn(3, 1, 28, 28)
    expected, state = net(images), {k: v.clone() for k, v in net.state_dict().items()}
    assert bayesianize(net, None, posterior=posterior, log_variance=-4.0) is net

    layers = bayesian_layers(net)
    assert set(layers) == {"conv1", "conv2"}
    for name, layer in layers.items():
        assert layer.posterior_kind == posterior
        assert layer.log_variance.shape == layer.weight.shape
        assert (layer.log_variance == -4).all()
        assert state.pop(f"{name}.weight").equal(layer.weight)
        assert state.pop(f"{name}.bias").equal(layer.bias)
        assert layer.weight.requires_grad
        assert layer.log_variance.requires_grad
    for name, value in state.items():
        assert torch.equal(net.state_dict()[name], value)
    # In the order of a plain net: the optimiser's state goes by it.
    names = [name for name, _ in net.named_parameters() if "log_variance" not in name]
    assert names == [name for name, _ in make_net().named_parameters()]

    with prediction(net, sampling=False):
        assert torch.equal(net(images), expected)


def test_bayesianize_finds_nested_names():
    images = randn(4, 1, 6, 6)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Nested().eval()
    expected = net(images)
    bayesianize(net, None)
    assert set(bayesian_layers(net)) == {"first", "block.conv", "tail.1.0"}
    with prediction(net, sampling=False):
        assert torch.equal(net(images), expected)
    with prediction(net, generator=generator(0)):
        assert not torch.allclose(net(images), expected)


@pytest.mark.parametrize("names", [["conv2"], ["conv1"], []])
def test_bayesianize_only_the_named_layers(names):
    net, images = make_net(), randn(3, 1, 28, 28)
    expected = net(images)
    bayesianize(net, None, layers=names)
    assert set(bayesian_layers(net)) == set(names)
    for name in {"conv1", "conv2"} - set(names):
        assert type(net.get_submodule(name)) is nn.Conv2d
    with prediction(net, sampling=False):
        assert torch.equal(net(images), expected)
    with prediction(net, generator=generator(0)):
        assert torch.equal(net(images), expected) is (not names)


@pytest.mark.parametrize("name", ["conv3", "classifier", "pool", "", "conv1.weight"])
def test_bayesianize_refuses_other_names(name):
    net = make_net()
    with pytest.raises(UserError, match=f"layer '{name}': expected one of .* conv1, conv2"):
        bayesianize(net, None, layers=[name])
    assert not bayesian_layers(net)


def test_bayesianize_keeps_every_option_and_type():
    options = {"stride": 2, "padding": 1, "dilation": 2, "groups": 2, "bias": False}
    net = nn.Sequential(nn.Conv2d(4, 6, (3, 5), padding_mode="reflect", **options)).double()
    images = randn(2, 4, 12, 12).double()
    expected = net(images)
    bayesianize(net, None)
    with prediction(net, sampling=False):
        assert torch.equal(net(images), expected)
    assert net[0].log_variance.dtype == torch.double
    assert net(images).shape == expected.shape


class Everything(nn.Module):
    """A 7 x 7, 3 x 3 and 1 x 1 convolution, one layer in two places, batch norm, a transposed."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 7, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.once = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.again = self.once
        self.short = nn.Conv2d(4, 2, 1)
        self.up = nn.ConvTranspose2d(2, 1, 3)

    def forward(self, images):
        maps = self.once(self.norm(self.stem(images)))
        return self.up(self.short(self.again(maps))).flatten(1)


def make_everything():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Everything()


def normal(kernel_size):
    return prior_class("standard-normal")(kernel_size)


def fitted(kernel_size):
    return prior_class("gaussian-full").fit(0.1 * randn(100, kernel_size, kernel_size))


def test_priors_go_by_kernel_size_or_name():
    sizes = {3: fitted(3), 7: normal(7), 1: normal(1)}
    net = bayesianize(make_everything(), sizes)
    assert {n: layer.prior.kernel_size for n, layer in bayesian_layers(net).items()} == {
        "stem": 7,
        "once": 3,
        "short": 1,
    }
    assert net.again is net.once  # one layer still, whose kernels count once
    expected = sum(kl(bayesianize(make_everything(), {n: sizes[k]})) for n, k in SIZES.items())
    torch.testing.assert_close(kl(net), expected)
    both = bayesianize(make_everything(), sizes | {3: normal(3), "once": sizes[3]})
    torch.testing.assert_close(kl(both), kl(net))
    one = bayesianize(make_everything(), fitted(3), layers=["once"])
    assert list(bayesian_layers(one)) == ["once"]
    bayesianize(one, normal(7), layers=["stem"])  # the rest, later
    assert list(bayesian_layers(one)) == ["stem", "once"]


SIZES = {"stem": 7, "once": 3, "short": 1}


def test_the_posterior_goes_with_the_prior():
    improper = prior_class("log-uniform")(7)
    net = bayesianize(make_net(), {"conv1": improper, "conv2": normal(5)})
    assert net.conv1.posterior_kind == "multiplicative"
    assert net.conv2.posterior_kind == "additive"
    assert math.isfinite(kl(net).item())


@pytest.mark.parametrize(
    ("prior", "layers", "match"),
    [
        ({3: normal(3), 7: normal(7)}, None, "'short': expected a prior over its 1 x 1 kernels"),
        (normal(3), None, "'stem': expected .* 7 x 7 kernels, found only over 3 x 3"),
        ({"stem": normal(3)}, None, "'stem': expected .* 7 x 7 kernels, found only over 3 x 3"),
        ({"stem": normal(7)}, ["once"], "'once': expected a prior over its 3 x 3 kernels"),
        ({}, None, "prior: expected one, .* found none"),
        (normal(3), ["up"], "'up': expected one of the net's convolutions"),
    ],
)
def test_what_no_prior_fits_is_refused_and_the_net_left(prior, layers, match):
    net = make_everything()
    with pytest.raises(UserError, match=match):
        bayesianize(net, prior, layers=layers)
    assert not bayesian_layers(net)


def test_oblong_kernels_derived_classes_and_tied_weights_are_refused():
    with pytest.raises(UserError, match="its 3 x 5 kernels"):
        bayesianize(nn.Sequential(nn.Conv2d(1, 2, (3, 5))), normal(3))

    class Own(nn.Conv2d):
        pass

    with pytest.raises(UserError, match="itself, found Own"):
        bayesianize(nn.Sequential(Own(1, 2, 3)), normal(3))
    tied = nn.Sequential(nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3))
    tied[1].weight = tied[0].weight
    with pytest.raises(UserError, match="'0': shares its weight"):
        bayesianize(tied, normal(3))
    assert not bayesian_layers(tied)
    tied[1].weight = nn.Parameter(tied[1].weight.detach())
    tied[1].bias = tied[0].bias
    with pytest.raises(UserError, match="'0': shares its weight or bias"):
        bayesianize(tied, normal(3))


@pytest.mark.parametrize(
    "compute",
    [
        parametrizations.weight_norm,
        spectral_norm,
        lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
    ],
)
def test_weights_that_are_computed_from_others_are_refused(compute):
    net = nn.Sequential(nn.Conv2d(2, 3, 3))
    compute(net[0])
    with pytest.raises(UserError, match="'0': expected a weight of its own"):
        from_prior_(net, normal(3), generator("init"))
    with pytest.raises(UserError, match="'0': expected a"):
        bayesianize(net, normal(3))


def test_hooks_are_refused_and_what_is_frozen_stays_frozen():
    net = nn.Sequential(nn.Conv2d(2, 3, 3).requires_grad_(False))
    hook = net[0].register_forward_hook(lambda *_: None)
    with pytest.raises(UserError, match="'0': has hooks"):
        bayesianize(net, normal(3))
    hook.remove()
    trained = {n: p.requires_grad for n, p in bayesianize(net, normal(3)).named_parameters()}
    assert trained == {"0.weight": False, "0.bias": False, "0.log_variance": True}


def test_priors_outlast_memory_that_is_given_anew(small_vae):
    net = bayesianize(make_net(), {"conv2": small_vae})
    state = copy.deepcopy(net.state_dict())
    expected = kl(net, generator("kl"))
    net.to_empty(device="cpu").load_state_dict(state)
    assert torch.equal(kl(net, generator("kl")), expected)
    with torch.device("meta"):
        other = MnistNet([3, 4])
    bayesianize(other, {"conv2": small_vae}).to_empty(device="cpu").load_state_dict(state)
    assert torch.equal(kl(other, generator("kl")), expected)


def test_a_whole_net_is_saved_also_after_its_kl_was_taken(small_vae, tmp_path):
    net = bayesianize(make_net(), {"conv2": small_vae})
    expected = kl(net, generator("kl"))
    torch.save(net, tmp_path / "net.pt")
    loaded = torch.load(tmp_path / "net.pt", weights_only=False)
    assert torch.equal(kl(loaded, generator("kl")), expected)


def test_float16_has_finite_gradients_and_no_kl():
    net = bayesianize(nn.Sequential(nn.Conv2d(1, 4, 3)), normal(3))
    with torch.autocast("cpu", torch.float16):
        net(F.pad(torch.ones(1, 1, 4, 4), (5, 5, 5, 5))).float().sum().backward()
    assert net[0].log_variance.grad.isfinite().all()
    assert net[0].log_variance.grad.any()
    with pytest.raises(UserError, match="found float16"):
        kl(net.half())


@pytest.mark.parametrize("layout", ["transposed", "part of a larger one"])
def test_deviations_do_not_depend_on_the_layout_of_the_means(layout):
    layer = BayesianConv2d(1, 4, 3, log_variance=-1.0)
    with torch.no_grad():
        layer.log_variance += randn(4, 1, 3, 3)
    images = randn(2, 1, 6, 6)
    expected = layer.moments(images)[1]
    weight = layer.weight.detach()
    if layout == "transposed":
        weight = weight.mT.contiguous().mT
    else:
        weight = torch.cat([weight, weight], 1)[:, :1]
    layer.weight = nn.Parameter(weight)
    torch.testing.assert_close(layer.moments(images)[1], expected)


def test_priors_are_frozen_copies_that_are_neither_trained_nor_saved(small_vae):
    small_vae.requires_grad_(True)
    net = make_net().double()
    names = {name for name, _ in net.named_parameters()} | {"conv2.log_variance"}
    bayesianize(net, {"conv2": small_vae})
    assert {name for name, _ in net.named_parameters()} == names == set(net.state_dict())
    assert net.conv2.prior is not small_vae
    assert net.conv2.prior.frozen
    assert not small_vae.frozen
    kl(net, generator("kl")).backward()
    assert net.conv2.weight.grad.abs().min() > 0
    assert all(p.grad is None for p in [*small_vae.parameters(), *net.conv2.prior.parameters()])
    net.conv2.prior = small_vae  # another one, set later, is no part of the net either
    assert set(net.state_dict()) == names


def test_a_layer_in_two_places_has_noise_of_its_own_in_each():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3)

        def forward(self, images):
            return (self.conv(images) - self.conv(images)).flatten(1)

    net = bayesianize(Twice(), normal(3), log_variance=0.0)
    images = torch.ones(4, 1, 5, 5)
    with prediction(net, generator=generator("twice")) as draws, torch.no_grad():
        draws.begin(0)
        first = net(images)
        draws.begin(1)
        second = net(images)
        draws.begin(0)
        again = net(images)
    assert first.std() > 1
    assert torch.equal(first, again)
    assert not torch.allclose(first, second)


def test_layers_share_the_copy_of_a_prior_and_copies_of_the_net_have_their_own():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3))
    prior = fitted(3)
    bayesianize(net, prior)
    assert net[0].prior is net[1].prior is net[2].prior is not prior
    twin = copy.deepcopy(net)
    assert twin[0].prior is twin[2].prior is not net[0].prior
    twin[0].prior.mean += 1
    assert torch.equal(net[0].prior.mean, prior.mean)


def test_state_makes_the_same_net_again():
    priors = {"conv1": fitted(7), "conv2": normal(5)}
    net = bayesianize(make_net(), priors, log_variance=-3.0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * randn(*parameter.shape)
    again = bayesianize(make_net(seed=1), priors)
    again.load_state_dict(net.state_dict())
    images = randn(3, 1, 28, 28)
    first, second = (
        (kl(n), predict(n, images, samples=2, generator=generator(0))) for n in (net, again)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_priors_go_with_the_net_to_another_type():
    given = {"conv1": fitted(7), "conv2": KernelVAE(5, hidden=2, latent=2)}
    expected = kl(bayesianize(make_net(), given), generator(0))
    net = bayesianize(make_net(), given).double()
    assert net.conv1.prior.mean.dtype == net.conv2.prior.kernel_mean.weight.dtype == torch.double
    assert given["conv1"].mean.dtype == torch.float
    assert kl(net, generator(0)).dtype == torch.double
    torch.testing.assert_close(kl(net.float(), generator(0)), expected)
    doubled = bayesianize(make_net().double(), given)  # as is a net that was there before
    assert doubled.conv1.prior.mean.dtype == torch.double


# Prediction mode


def count_convolutions(monkeypatch):
    """Count the calls of F.conv2d from here on."""
    calls = []
    original = F.conv2d
    monkeypatch.setattr(F, "conv2d", lambda *a, **o: calls.append(None) or original(*a, **o))
    return calls


def test_prediction_restores_what_it_found():
    net = bayesianize(make_net(), None)
    own = generator("own")
    net.conv1.generator, net.conv2.sampling = own, False

    def state():
        return [(m.sampling, m.generator, m._draws) for m in bayesian_layers(net).values()]

    before = state()
    with prediction(net, sampling=True, generator=generator(1)):
        assert all(layer.sampling for layer in bayesian_layers(net).values())
        net(randn(2, 1, 28, 28))
    assert state() == before
    with pytest.raises(ZeroDivisionError), prediction(net, sampling=False):
        _ = 1 / 0
    assert state() == before


def test_reused_moments_change_nothing(monkeypatch):
    net, images = bayesianize(make_net(), None, log_variance=-3.0), randn(3, 1, 28, 28)
    calls = count_convolutions(monkeypatch)
    with torch.no_grad():
        random = generator("same")
        for layer in bayesian_layers(net).values():
            layer.generator = random
        expected = [net(images) for _ in range(4)]
        assert len(calls) == 4 * 4  # mean and variance of two layers
        calls.clear()
        found = []
        with prediction(net, generator=generator("same")) as draws:
            for sample in range(4):
                draws.begin(sample)
                found.append(net(images))
        assert len(calls) == 4 * 2 + 2  # the first layer's once
    for first, second in zip(expected, found, strict=True):
        assert torch.equal(first, second)


def test_a_sample_has_one_noise_in_all_passes_and_samples_have_their_own():
    net, images = bayesianize(make_net(), None, log_variance=-3.0), randn(3, 1, 28, 28)
    with torch.no_grad(), prediction(net, generator=generator("noise")) as draws:
        passes = []
        for sample, batch in ((0, images), (0, images.clone()), (0, images[:2]), (1, images)):
            draws.begin(sample)
            passes.append(net(batch))
    first, again, fewer, other = passes
    assert torch.equal(first, again)
    torch.testing.assert_close(fewer, first[:2])
    assert not torch.isclose(first, other).any()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_predictions_have_the_distribution_of_passes_with_noise_of_their_own(precision):
    net = bayesianize(make_net(), None, log_variance=-4.0).eval()
    images = randn(6, 1, 28, 28).sigmoid()
    samples = 2000
    with torch.no_grad():
        for layer in bayesian_layers(net).values():
            layer.generator = generator("passes")
        expected = torch.stack([net(images).softmax(1) for _ in range(samples)])
    with products(precision, "cpu"):
        found = predict(
            net, images, samples=samples, generator=generator("predict"), batch_size=2
        ).float()
    error = (expected.var(0) + found.var(0)).div(samples).sqrt()
    assert ((found.mean(0) - expected.mean(0)).abs() < 4.5 * error + 2e-3).all()
    ratio = found.std(0) / expected.std(0)
    assert (ratio - 1).abs().max() < 0.15
    # two samples of one image are independent
    a, b = found[0::2].flatten(1), found[1::2].flatten(1)
    a, b = a - a.mean(0), b - b.mean(0)
    correlation = (a * b).mean(0) / (a.std(0) * b.std(0))
    assert correlation.abs().max() < 5 / (samples / 2) ** 0.5


def test_other_images_are_not_taken_for_the_reused():
    net = bayesianize(make_net(), None, log_variance=-3.0)
    first, second = randn(3, 1, 28, 28), randn(3, 1, 28, 28, seed=1)
    same = first.clone()  # equal, but another tensor
    with torch.no_grad(), prediction(net):
        expected = [net.conv1.moments(x)[0] for x in (first, second, same, first)]
    for x, mean in zip((first, second, same, first), expected, strict=True):
        torch.testing.assert_close(mean, F.conv2d(x, net.conv1.weight, net.conv1.bias))


def test_views_are_reused_unless_they_show_or_hold_other_numbers(monkeypatch):
    net, images = bayesianize(make_net(), None, log_variance=-3.0), randn(3, 1, 28, 28)
    calls = count_convolutions(monkeypatch)
    with torch.no_grad(), prediction(net):
        views = images[:, :, :9, :9], images[:, :, :9, :9], images[:, :, :9, :10]
        counts = [len(calls)]
        for view in views:
            net.conv1.moments(view)
            counts.append(len(calls))
        assert counts == [0, 2, 2, 4]
        for view in (images, images.mT):  # the same place and shape, in another order
            mean = net.conv1.moments(view)[0]
            torch.testing.assert_close(mean, F.conv2d(view, net.conv1.weight, net.conv1.bias))
        images.mul_(2)
        mean = net.conv1.moments(images.mT)[0]
        torch.testing.assert_close(mean, F.conv2d(images.mT, net.conv1.weight, net.conv1.bias))


def test_predictions_in_inference_mode_are_the_same():
    net, images = bayesianize(make_net(), None, log_variance=-3.0), randn(3, 1, 28, 28)
    expected = predict(net, images, samples=2, generator=generator("inference"))
    with torch.inference_mode():
        assert torch.equal(
            predict(net, images, samples=2, generator=generator("inference")), expected
        )


def test_moments_are_not_reused_after_the_block():
    net, images = bayesianize(make_net(), None, log_variance=-3.0), randn(2, 1, 28, 28)
    with torch.no_grad():
        with prediction(net):
            old = net.conv1.moments(images)[0]
        net.conv1.weight *= 2
        net.conv1.bias *= 2
        torch.testing.assert_close(net.conv1.moments(images)[0], 2 * old)
        with prediction(net):
            torch.testing.assert_close(net.conv1.moments(images)[0], 2 * old)


def test_predictions_are_probabilities():
    net, images = bayesianize(make_net(), None, log_variance=-3.0), randn(7, 1, 28, 28)
    found = predict(net, images, samples=3, generator=generator(0), batch_size=4)
    assert found.shape == (3, 7, 10)
    assert (found >= 0).all()
    torch.testing.assert_close(found.sum(2), torch.ones(3, 7))
    assert not found.requires_grad
    assert (found[0] != found[1]).any(1).all()


def test_predictions_depend_on_the_generator_alone():
    net, images = bayesianize(make_net(), None, log_variance=-3.0), randn(5, 1, 28, 28)
    first, same, other = (
        predict(net, images, samples=2, generator=generator(s)) for s in (0, 0, 1)
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("inference", [False, True])
def test_a_net_that_changes_its_images_in_place_sees_the_same_in_every_sample(inference):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = bayesianize(make_net(), {"conv2": normal(5)}, log_variance=-60.0)

        def forward(self, images):
            return self.net(images.sub_(0.5).div_(0.25))

    net, images = Scaled(), randn(3, 1, 28, 28)
    before = images.clone()
    with torch.inference_mode(inference):
        found = predict(net, images, samples=3, generator=generator("predict"))
    assert torch.equal(images, before)
    with torch.no_grad():
        expected = net(before).softmax(1).expand(3, -1, -1)
    torch.testing.assert_close(found, expected)


def test_no_samples_are_the_mean_weights():
    net, images = make_net(), randn(5, 1, 28, 28)
    expected = net(images).softmax(1)
    plain = predict(net, images, samples=0, batch_size=2)
    bayesianize(net, None, log_variance=0.0)
    for found in (plain, predict(net, images, samples=0, batch_size=2)):
        assert found.shape == (1, 5, 10)
        torch.testing.assert_close(found[0], expected)
    assert all(layer.sampling for layer in bayesian_layers(net).values())


def test_predictions_scatter_with_the_posterior():
    # The narrower the posterior, the nearer every draw is to the mean weights'.
    images = randn(5, 1, 28, 28)
    distances = []
    for log_variance in (0.0, -5.0, -10.0, -30.0):
        net = bayesianize(make_net(), None, log_variance=log_variance)
        mean = predict(net, images, samples=0)
        draws = predict(net, images, samples=20, generator=generator(0))
        distances.append((draws - mean).abs().mean().item())
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 0.05
    assert distances[-1] < 1e-4


# Initial weights


@pytest.mark.parametrize("bayesian", [False, True])
def test_from_prior_(bayesian):
    net = make_net()
    if bayesian:
        bayesianize(net, None)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    kernels = torch.arange(2.0 * 25).view(2, 5, 5)
    priors = {"conv2": prior_class("empirical").fit(kernels)}
    assert from_prior_(net, priors, generator(0)) is net
    drawn = priors["conv2"].initial(12, generator(0)).view(4, 3, 5, 5)
    assert torch.equal(net.conv2.weight, drawn)
    assert {tuple(kernel.flatten().tolist()) for kernel in net.conv2.weight.flatten(0, 1)} == {
        tuple(kernel.flatten().tolist()) for kernel in kernels
    }
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]) is (name != "conv2.weight")


def test_from_prior_vae_takes_decoder_means(small_vae):
    net = make_net().double()
    from_prior_(net, {"conv2": small_vae}, generator(0))
    codes = torch.randn(12, 2, generator=generator(0))
    means = small_vae.decode(codes)[0].view(4, 3, 5, 5)
    torch.testing.assert_close(net.conv2.weight.detach(), means)


@pytest.mark.parametrize("name", ["conv3", "classifier"])
def test_from_prior_refuses_other_layers(name):
    prior = prior_class("standard-normal")(5)
    with pytest.raises(UserError, match=f"layer '{name}': expected one of .* conv1, conv2"):
        from_prior_(make_net(), {name: prior}, generator(0))


def test_from_prior_of_a_size_sets_the_layers_of_that_size_in_the_nets_order():
    net = make_everything()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    from_prior_(net, {3: normal(3), 7: normal(7), 1: normal(1)}, generator("start"))
    random = generator("start")
    for name, size in (("stem", 7), ("once", 3), ("short", 1), ("up", 3)):
        weight = net.get_submodule(name).weight
        drawn = torch.randn((weight.shape[:2].numel(), size, size), generator=random)
        assert torch.equal(weight, drawn.view(weight.shape))
    untouched = [name for name in before if name.endswith("bias") or "norm" in name]
    assert all(torch.equal(net.state_dict()[name], before[name]) for name in untouched)
    with pytest.raises(UserError, match="'short': expected a prior over its 1 x 1 kernels"):
        from_prior_(net, {3: normal(3), 7: normal(7)}, generator("start"))


def test_from_prior_an_improper_prior_is_refused():
    with pytest.raises(UserError, match="improper"):
        from_prior_(make_net(), {"conv1": prior_class("log-uniform")(7)}, generator(0))


def test_a_posterior_of_unknown_kind_and_a_net_without_convolutions_are_refused():
    with pytest.raises(UserError, match="expected one of additive, multiplicative"):
        BayesianConv2d(1, 2, 3, posterior="multiplicativ")
    for net in (nn.Conv2d(1, 2, 3), nn.Linear(2, 3)):
        with pytest.raises(UserError, match=r"contains a torch.nn.Conv2d"):
            bayesianize(net, None)


@pytest.mark.parametrize("channels", [32, 128])
def test_small_variances_of_wide_layers_are_exact(channels):
    # beside large inputs, where fast convolutions round
    layer = BayesianConv2d(channels, 128, 5, log_variance=-2.0)
    images = torch.randn(4, channels, 11, 11) * torch.logspace(-6, 3, 11)
    _, deviation = layer.moments(images)
    exact = F.conv2d(images.double().square(), layer.posterior.variance.double()).sqrt()
    torch.testing.assert_close(deviation.double(), exact, rtol=1e-4, atol=2e-6)


def test_what_is_shared_in_prediction_outlives_no_error_and_keeps_no_graph():
    net = bayesianize(nn.Sequential(nn.Conv2d(1, 3, 3)), None)
    first, wrong = randn(2, 1, 8, 8), randn(2, 5, 9, 9)
    with prediction(net):
        with torch.no_grad():
            net(first)
            for _ in range(2):
                with pytest.raises(RuntimeError):
                    net(wrong)
        for seed in (1, 2):
            net(randn(2, 1, 8, 8, seed=seed)).square().sum().backward()
        assert net[0].log_variance.grad.abs().sum() > 0
    buffer = first.numpy()
    with torch.no_grad(), prediction(net, sampling=True):
        before = net[0].moments(torch.from_numpy(buffer))[1]
        buffer *= 3
        torch.testing.assert_close(net[0].moments(torch.from_numpy(buffer))[1], 3 * before)
