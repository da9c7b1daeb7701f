"""Bayesian convolutions against explicit weight samples, and nets built and used with them."""

import copy
import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint

from dwp.errors import UserError
from dwp.nn.bayesian import BayesianConv2d, bayesian_layers, bayesianize, kl
from dwp.nn.dropout import Dropout
from dwp.nn.init import from_prior_
from dwp.nn.networks.mnist import MnistNet
from dwp.nn.predict import evaluating, predict, prediction
from dwp.priors import prior_class
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


IMAGES = randn(5, 1, 28, 28)


def make_layer(posterior, log_variance=-1.0, **options):
    layer = BayesianConv2d(2, 4, 3, posterior=posterior, log_variance=log_variance, **options)
    with torch.no_grad():
        layer.weight.copy_(randn(*layer.weight.shape))
        # every weight its own variance: a mix-up of weights must show
        layer.log_variance += randn(*layer.weight.shape, seed=1)
        if layer.bias is not None:
            layer.bias.copy_(randn(4, seed=2))
    layer.generator = generator("noise")
    return layer.requires_grad_(False)


def make_net(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MnistNet((3, 4))


def bayesian_net(log_variance=-3.0, priors=None):
    return bayesianize(make_net(), priors, log_variance=log_variance)


def normal(kernel_size):
    return prior_class("standard-normal")(kernel_size)


def fitted(kernel_size):
    return prior_class("gaussian-full").fit(0.1 * randn(100, kernel_size, kernel_size))


# Local reparametrisation


@pytest.mark.parametrize("options", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_outputs_have_the_moments_of_explicit_weight_samples(posterior, options):
    n, layer, images = 4000, make_layer(posterior, **options), randn(3, 2, 6, 6)
    plain = nn.Conv2d(2, 4, 3, **options).requires_grad_(False)
    plain.load_state_dict({k: v for k, v in layer.state_dict().items() if k != "log_variance"})
    q = layer.posterior
    expanded = type(q)(*(t.expand(n, *t.shape) for t in vars(q).values()))
    run = torch.vmap(lambda weight: torch.func.functional_call(plain, {"weight": weight}, images))
    explicit = run(expanded.sample(generator("weights")))
    local = layer(images.repeat(n, 1, 1, 1)).unflatten(0, (n, 3))
    mean, deviation = layer.moments(images)
    for draws in (explicit, local):
        scaled = (draws - mean) / deviation  # of mean 0 and variance 1, if the moments are right
        for errors in (scaled.mean(0) * math.sqrt(n), (scaled.var(0) - 1) * math.sqrt(n / 2)):
            # standard errors, one a pixel: standard normal, but dependent across pixels for
            # explicit samples, where the mean square scatters more
            assert errors.abs().max() < 5
            assert 0.5 < errors.square().mean() < 1.6
    correlation = ((local - mean) / deviation).flatten(1).T.corrcoef()  # every pixel has its own
    assert correlation.fill_diagonal_(0).abs().max() < 6 / math.sqrt(n)
    layer.sampling = False
    assert torch.equal(layer(images), plain(images))
    assert torch.equal(layer(images[0]), plain(images[0]))  # one image alone


def test_posterior_of_a_layer():
    additive, layer = make_layer("additive"), make_layer("multiplicative")
    assert torch.equal(additive.posterior.variance, additive.log_variance.exp())
    torch.testing.assert_close(layer.posterior.log_alpha.exp(), layer.log_variance.sigmoid())
    # however far training pushes it, alpha stays below 1, where its KL holds
    layer.log_variance.fill_(50.0)
    assert (layer.posterior.log_alpha <= 0).all()


def test_draws_come_from_the_layers_generator():
    layer, images = make_layer("additive"), randn(2, 2, 5, 5)
    before = torch.get_rng_state()
    first, second = layer(images), layer(input=images)
    assert torch.equal(torch.get_rng_state(), before)
    layer.generator = generator("noise")
    assert torch.equal(layer(images), first)
    assert not torch.equal(first, second)
    layer.generator = None  # the global one
    layer(images)
    assert not torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_gradient_of_a_draw(posterior):
    layer, images = make_layer(posterior).double(), randn(1, 2, 4, 4).double()

    def draw(weight, log_variance):
        layer.generator = generator("noise")
        state = {"weight": weight, "log_variance": log_variance}
        return torch.func.functional_call(layer, state, images)

    inputs = [t.clone().requires_grad_() for t in (layer.weight, layer.log_variance)]
    assert torch.autograd.gradcheck(draw, inputs)
    # where an input is all 0 so is the variance, and the slope of its root has no bound
    layer.requires_grad_(True)(torch.zeros_like(images)).square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


def test_float16_has_finite_gradients_and_no_kl():
    net = bayesianize(nn.Sequential(nn.Conv2d(1, 4, 3)), normal(3))
    with torch.autocast("cpu", torch.float16):
        net(F.pad(torch.ones(1, 1, 4, 4), (5, 5, 5, 5))).float().sum().backward()
    assert net[0].log_variance.grad.isfinite().all()
    assert net[0].log_variance.grad.any()
    with pytest.raises(UserError, match="found float16"):
        kl(net.half())


# Making nets Bayesian


class Everything(nn.Module):
    """7 x 7, 3 x 3 and 1 x 1 convolutions, at several depths, one used thrice, some in a list."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 7, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.once = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.again = self.once
        self.block = nn.ModuleDict({"short": nn.Sequential(nn.ReLU(), nn.Conv2d(4, 2, 1))})
        self.up = nn.ConvTranspose2d(2, 1, 3)
        self.stages = [self.stem, self.norm, self.once.forward, lambda maps: self.again(maps)]

    def forward(self, images):
        for stage in self.stages:
            images = stage(images)
        return self.up(self.block["short"](images)).flatten(1)


SIZES = {"stem": 7, "once": 3, "block.short.1": 1}
PRIORS = {size: normal(size) for size in (1, 3, 7)}


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_bayesianize_keeps_the_users_objects(posterior):
    net, images, passes = Everything().eval(), randn(3, 1, 9, 9), []
    expected, state = net(images), copy.deepcopy(net.state_dict())
    modules, parameters = list(net.named_modules()), dict(net.named_parameters())
    adam = torch.optim.Adam(net.parameters(), 0.1)
    net.once.register_forward_hook(lambda *_: passes.append(1))
    assert bayesianize(net, None, posterior=posterior, log_variance=-4.0) is net

    assert all(net.get_submodule(name) is module for name, module in modules)
    assert all(net.get_parameter(name) is parameter for name, parameter in parameters.items())
    assert all(torch.equal(net.state_dict()[name], value) for name, value in state.items())
    # in the order of a plain net: the optimiser's state goes by it
    names = [name for name, _ in net.named_parameters() if "log_variance" not in name]
    assert names == list(parameters)
    layers = bayesian_layers(net)
    assert list(layers) == list(SIZES)
    for layer in layers.values():
        assert layer.posterior_kind == posterior
        assert torch.equal(layer.log_variance, torch.full_like(layer.weight, -4))
    with prediction(net, sampling=False):
        torch.testing.assert_close(net(images), expected)
    assert passes == [1]  # the other pass went by a bound method, as before
    first, second = (net.stages[2](randn(1, 4, 3, 3)) for _ in range(2))
    assert not torch.equal(first, second)
    net(images).square().sum().backward()
    assert all(layer.log_variance.grad.any() for layer in layers.values())
    adam.step()
    assert not torch.equal(net.once.weight, state["once.weight"])


def test_bayesianize_keeps_every_option_and_type():
    options = {"stride": 2, "padding": 1, "dilation": 2, "groups": 2, "bias": False}
    net = nn.Sequential(nn.Conv2d(4, 6, (3, 5), padding_mode="reflect", **options)).double()
    images, net = randn(2, 4, 12, 12).double(), net.requires_grad_(False)
    expected = net(images)
    bayesianize(net, None)
    with prediction(net, sampling=False):
        assert torch.equal(net(images), expected)
    assert net[0].log_variance.dtype == torch.double
    assert net(images).shape == expected.shape
    trained = {name: p.requires_grad for name, p in net.named_parameters()}
    assert trained == {"0.weight": False, "0.log_variance": True}


def test_priors_go_by_kernel_size_or_name():
    sizes = PRIORS | {3: fitted(3)}
    net, state = bayesianize(Everything(), sizes), Everything().state_dict()
    found = {name: layer.prior.kernel_size for name, layer in bayesian_layers(net).items()}
    assert found == SIZES
    net.load_state_dict(state, strict=False)

    def kl_of(priors, **options):
        other = Everything()
        other.load_state_dict(state)
        return kl(bayesianize(other, priors, **options))

    parts = [kl_of({name: sizes[size]}) for name, size in SIZES.items()]
    torch.testing.assert_close(kl(net), sum(parts))
    torch.testing.assert_close(kl_of(PRIORS | {"once": sizes[3]}), kl(net))
    torch.testing.assert_close(kl_of(sizes[3], layers=["once"]), parts[1])
    one = bayesianize(Everything(), None, layers=["once"])
    bayesianize(one, normal(7), layers=["stem"])  # the rest, later
    assert list(bayesian_layers(one)) == ["stem", "once"]
    assert bayesian_layers(bayesianize(make_net(), None, layers=[])) == {}
    net = bayesian_net(priors={"conv1": prior_class("log-uniform")(7), "conv2": normal(5)})
    assert net.conv1.posterior_kind == "multiplicative"  # the kind that goes with the prior
    assert net.conv2.posterior_kind == "additive"


class Own(nn.Conv2d):
    """A class of the user's."""


def changed(change=id, kind=nn.Conv2d, size=3):
    """Return a function that returns two convolutions, changed."""

    def make():
        net = nn.Sequential(kind(2, 2, size), nn.Conv2d(2, 2, size))
        change(net)
        return net

    return make


def tied(name):
    return changed(lambda net: setattr(net[1], name, getattr(net[0], name)))


weight_normed = changed(lambda net: parametrizations.weight_norm(net[0]))
pruned = changed(lambda net: prune.l1_unstructured(net[0], "weight", 0.5))
patched = changed(lambda net: setattr(net[1], "forward", net[1].forward))


def lazy(kind=nn.LazyConv2d):
    return nn.Sequential(kind(2, 3))


@pytest.mark.parametrize(
    ("net", "prior", "options", "match"),
    [
        (Everything, PRIORS | {1: normal(5)}, {}, "1': .* prior over its 1 x 1 kernels"),
        (Everything, normal(3), {}, "'stem': expected .* 7 x 7 kernels, found only over 3 x 3"),
        (Everything, {"stem": normal(3)}, {}, "'stem': .* 7 x 7 kernels, found only over 3 x 3"),
        (Everything, {"stem": normal(7)}, {"layers": ["once"]}, "'once': .* its 3 x 3 kernels"),
        (Everything, {}, {}, "prior: expected one, .* found none"),
        (make_net, None, {"layers": ["pool"]}, "expected one of conv1, conv2; found 'pool'"),
        (make_net, None, {"layers": [""]}, "layer: expected one of conv1, conv2; found ''"),
        (make_net, None, {"posterior": "other"}, "one of additive, multiplicative; found 'other'"),
        (Everything, PRIORS, {"posterior": "codes"}, "of kind vae; found 'standard-normal'"),
        (lambda: nn.Conv2d(1, 2, 3), None, {}, r"contains a torch.nn.Conv2d"),
        (lambda: nn.Linear(2, 3), None, {}, r"contains a torch.nn.Conv2d"),
        (changed(size=(3, 5)), normal(3), {}, "its 3 x 5 kernels"),
        (changed(kind=Own), normal(3), {}, "plain Conv2d, found Own"),
        (patched, normal(3), {}, "'1': .* found Conv2d with a forward of its own"),
        (tied("weight"), normal(3), {}, "'0': shares parameters with another; use one"),
        (tied("bias"), normal(3), {}, "'0': shares parameters with another; use one"),
        (weight_normed, normal(3), {}, "'0': expected a weight of its own"),
        (pruned, normal(3), {}, "'0': expected a weight of its own"),
        (lazy, normal(3), {}, "'0': .*lazy.*pass a batch through the net first"),
    ],
)
def test_what_bayesianize_refuses_it_leaves_as_it_was(net, prior, options, match):
    net = net()
    with pytest.raises(UserError, match=match) as error:
        bayesianize(net, prior, **options)
    assert "\n" not in str(error.value)
    assert not bayesian_layers(net)
    assert not any("log_variance" in name for name, _ in net.named_parameters())


def test_priors_outlast_memory_that_is_given_again(small_vae):
    net = bayesian_net(priors={"conv2": small_vae})
    state = copy.deepcopy(net.state_dict())
    expected = kl(net, generator("kl"))
    net.to_empty(device="cpu").load_state_dict(state)
    assert torch.equal(kl(net, generator("kl")), expected)
    with torch.device("meta"):
        other = MnistNet([3, 4])
    bayesianize(other, {"conv2": small_vae}).to_empty(device="cpu").load_state_dict(state)
    assert torch.equal(kl(other, generator("kl")), expected)


def test_priors_are_frozen_copies_that_are_neither_trained_nor_saved(small_vae):
    small_vae.requires_grad_(True)
    net = make_net().double()
    names = {name for name, _ in net.named_parameters()} | {"conv2.log_variance"}
    bayesianize(net, {"conv2": small_vae})
    assert {name for name, _ in net.named_parameters()} == names == set(net.state_dict())
    assert net.conv2.prior.frozen
    assert not small_vae.frozen
    kl(net, generator("kl")).backward()
    assert net.conv2.weight.grad.abs().min() > 0
    assert all(p.grad is None for p in [*small_vae.parameters(), *net.conv2.prior.parameters()])
    net.conv2.prior = small_vae  # another one, set later, is no part of the net either
    assert set(net.state_dict()) == names
    net = bayesianize(changed()(), normal(3))  # layers share the copy; copies have their own
    twin = copy.deepcopy(net)
    assert net[0].prior is net[1].prior is not twin[0].prior is twin[1].prior


def test_priors_go_with_the_net_to_another_type():
    given = {"conv1": fitted(7), "conv2": KernelVAE(5, hidden=2, latent=2)}
    expected = kl(bayesian_net(priors=given), generator(0))
    net = bayesian_net(priors=given).double()
    assert net.conv1.prior.mean.dtype == net.conv2.prior.kernel_mean.weight.dtype == torch.double
    assert given["conv1"].mean.dtype == torch.float
    assert kl(net, generator(0)).dtype == torch.double
    torch.testing.assert_close(kl(net.float(), generator(0)), expected)
    doubled = bayesianize(make_net().double(), given)  # as is a net that was there before
    assert doubled.conv1.prior.mean.dtype == torch.double


# Prediction


def test_predictions_of_threads_and_of_other_nets_do_not_meet():
    net = nn.Sequential(bayesian_net(), nn.Dropout(0.5))

    def work(samples):
        found = [predict(net, IMAGES, samples=samples, generator=generator(1)) for _ in range(8)]
        assert all(torch.equal(each, found[0]) for each in found)
        return found[0]

    alone = [*map(work, (0, 1, 3))]
    with ThreadPoolExecutor(3) as pool:
        assert all(map(torch.equal, pool.map(work, (0, 1, 3)), alone))
    assert all(module.training for module in net.modules())
    other = bayesian_net()
    with prediction(net, sampling=False), evaluating(other):
        assert not torch.equal(other(IMAGES), other(IMAGES))
        with prediction(net[0].conv1, generator=generator(0)):
            assert not torch.equal(net(IMAGES), net(IMAGES))  # the innermost block counts
        assert torch.equal(net(IMAGES), net(IMAGES))


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.sub_(0.5).div_(0.25),
        lambda x: x.data.sub_(0.5).div_(0.25),
        lambda x: x.numpy().__isub__(0.5).__itruediv__(0.25),
    ],
)
def test_a_net_that_changes_its_images_sees_the_same_in_every_sample(change, inference):
    net, before = bayesian_net(log_variance=-60.0), IMAGES.clone()
    net.register_forward_pre_hook(lambda net, inputs: [change(*inputs), inputs][1])
    with torch.inference_mode(inference):
        found = predict(net, IMAGES, samples=3, generator=generator("predict"))
    assert torch.equal(IMAGES, before)
    with torch.no_grad():
        expected = net(before.clone()).softmax(1).expand(3, -1, -1)
    torch.testing.assert_close(found, expected)


def test_a_block_does_not_take_inputs_or_weights_for_those_before():
    net, frame = bayesian_net(), IMAGES.clone()
    changes = [
        lambda: None,
        lambda: frame.numpy().__imul__(0),
        lambda: frame.data.add_(1),
        lambda: net.conv1.weight.mul_(2),
        lambda: net.conv1.log_variance.add_(3),
    ]
    with torch.no_grad(), prediction(net, generator=generator(0)) as draws:
        for change in changes:
            change()
            draws.begin(0)
            found = net(frame)
            with prediction(net, generator=generator(0)):
                torch.testing.assert_close(found, net(frame.clone()))


def test_a_sample_has_one_noise_in_all_passes_and_samples_have_their_own():
    class Twice(nn.Sequential):
        def forward(self, images):
            return (self[0](images) - self[0](images)).flatten(1)

    net, passes = bayesianize(Twice(nn.Conv2d(1, 2, 3)), normal(3), log_variance=0.0), []
    batches = (0, IMAGES), (0, IMAGES.clone()), (0, IMAGES[:2]), (0, IMAGES.repeat(2, 1, 1, 1))
    with torch.no_grad(), prediction(net, generator=generator("noise")) as draws:
        for sample, batch in (*batches, (1, IMAGES)):
            draws.begin(sample)
            passes.append(net(batch))
    first, again, fewer, many, other = passes
    assert first.std() > 1  # each use of a layer has noise of its own
    assert torch.equal(first, again)
    torch.testing.assert_close(fewer, first[:2])
    torch.testing.assert_close(many[:5], first)
    for one in (many[5:], other):
        assert not torch.isclose(one, first).all(1).any()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_predictions_have_the_distribution_of_passes_with_noise_of_their_own(precision):
    net, samples = bayesian_net(log_variance=-4.0).eval(), 1000
    images = randn(6, 1, 28, 28).sigmoid()
    with torch.no_grad():
        for layer in bayesian_layers(net).values():
            layer.generator = generator("passes")
        expected = net(images.repeat(samples, 1, 1, 1)).softmax(1).unflatten(0, (samples, 6))
    options = {"samples": samples, "generator": generator("predict"), "batch_size": 3}
    found = predict(net, images, **options, precision=precision)
    error = (expected.var(0) + found.var(0)).div(samples).sqrt()
    assert ((found.mean(0) - expected.mean(0)).abs() < 4.5 * error + 2e-3).all()
    ratio = found.std(0) / expected.std(0)
    assert (ratio - 1).abs().max() < 0.15
    # two samples of one image are independent
    a, b = (part - part.mean(0) for part in (found[0::2].flatten(1), found[1::2].flatten(1)))
    correlation = (a * b).mean(0) / (a.std(0) * b.std(0))
    assert correlation.abs().max() < 5 / (samples / 2) ** 0.5


def test_predictions_are_probabilities_of_samples_or_of_the_mean_weights():
    net, logits = make_net(), make_net()(IMAGES)
    plain = predict(net, IMAGES, samples=0, batch_size=2)
    bayesianize(net, None, log_variance=-3.0)
    for found in (plain, predict(net, IMAGES, samples=0, batch_size=2)):
        torch.testing.assert_close(found, logits.softmax(1)[None])  # no samples: the mean weights
    found = predict(net, IMAGES, samples=3, generator=generator(0), batch_size=2)
    assert found.shape == (3, 5, 10)
    torch.testing.assert_close(found.sum(2), torch.ones(3, 5))
    assert not found.requires_grad
    assert (found[0] != found[1]).any(1).all()
    binary = nn.Sequential(nn.Flatten(), nn.Linear(784, 1)).double()
    found, one = predict(binary, IMAGES.double(), samples=0), binary(IMAGES.double()).sigmoid()
    torch.testing.assert_close(found[0], torch.cat([1 - one, one], 1))  # in double precision


@pytest.mark.parametrize(
    ("outputs", "options", "match"),
    [
        (lambda x: x.mean((1, 2, 3)), {}, r"expected logits \(5, 1 \* classes\) .* Tensor \(5,\)"),
        (lambda x: x, {}, r"found a Tensor \(5, 1, 28, 28\); wrap it"),
        (lambda x: x[:1].flatten(1), {}, r"found a Tensor \(1, 784\)"),
        (lambda x: x.flatten(1)[:, :0], {}, r"found a Tensor \(5, 0\)"),
        (lambda x: (x.flatten(1), x), {}, r"found a tuple \(\)"),
        (lambda x: x.flatten(1), {"samples": -1}, "samples: .* at least 0, found -1"),
        (lambda x: x.flatten(1), {"samples": 2.5}, "samples: .* at least 0, found 2.5"),
        (lambda x: x.flatten(1), {"batch_size": 0}, "batch_size: .* at least 1, found 0"),
    ],
)
def test_what_predict_refuses(outputs, options, match):
    net = nn.Identity()
    net.register_forward_hook(lambda net, inputs, images: outputs(images))
    with pytest.raises(UserError, match=match):
        predict(net, IMAGES, **{"samples": 0} | options)


def test_what_is_checkpointed_draws_the_same_again():
    found, images = [], randn(2, 2, 8, 8)
    net = bayesianize(changed()(), normal(3))
    for run in (
        lambda function, *inputs: function(*inputs),
        partial(checkpoint, use_reentrant=False),
    ):
        dropout, random = Dropout(0.5), generator("again")
        dropout.generator = net[0].generator = net[1].generator = random
        value = run(lambda: kl(net, random, kernels_per_step=2))  # noqa: B023
        maps = run(lambda x: dropout(run(net, x).flatten(1)), images)  # noqa: B023
        found.append(torch.autograd.grad(value + maps.square().sum(), list(net.parameters())))
    torch.testing.assert_close(*found)
    maps = net(images)
    maps.register_hook(lambda _: net(images))  # as code does that torch knows nothing of
    with pytest.raises(UserError, match=r"by torch.utils.checkpoint, or set the generator to None"):
        maps.sum().backward()


# Initial weights


@pytest.mark.parametrize("bayesian", [False, True])
def test_from_prior_sets_the_layers_of_a_size_in_the_nets_order(bayesian):
    net, random = Everything(), generator("start")
    if bayesian:
        bayesianize(net, None)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert from_prior_(net, PRIORS, generator("start")) is net
    for name, size in {**SIZES, "up": 3}.items():
        weight = net.get_submodule(name).weight
        drawn = torch.randn((weight.shape[:2].numel(), size, size), generator=random)
        assert torch.equal(weight, drawn.view(weight.shape))
        del before[f"{name}.weight"]
    del before["again.weight"]
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items())


@pytest.mark.parametrize(
    ("net", "prior", "match"),
    [
        (make_net, {"classifier": normal(5)}, "layer: expected one of conv1, conv2; found 'class"),
        (make_net, {"conv1": prior_class("log-uniform")(7)}, "improper"),
        (lambda: lazy(nn.LazyConvTranspose2d), normal(3), "pass a batch through the net first"),
    ],
)
def test_what_from_prior_refuses(net, prior, match):
    with pytest.raises(UserError, match=match):
        from_prior_(net(), prior, generator(0))
