"""Within `dwp.fast.faster` numbers and gradients are those of the plain path."""

import copy
import itertools
import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad, gradgradcheck
from torch.nn import functional as F

from dwp.errors import UserError
from dwp.fast import convolve, faster, frozen, tiles, visible
from dwp.fast.door import entered
from dwp.nn.bayesian import bayesianize
from dwp.nn.networks import build_network
from dwp.priors.normal import StandardNormal
from dwp.priors.vae import KernelVAE
from dwp.seeds import generator

LAST = torch.channels_last


def vae(size: int, dtype: torch.dtype = torch.float) -> KernelVAE:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return KernelVAE(size, hidden=8, latent=3).to(dtype).requires_grad_(False)


def randn(*shape: int, dtype: torch.dtype = torch.float) -> torch.Tensor:
    return torch.randn(shape, dtype=dtype, generator=generator("maps", *shape))


def convolution(channels, out, rows, columns=None, *, size=12, n=61, **options):
    """Return a case: a function and its arguments."""
    weight = randn(out, channels // options.get("groups", 1), rows, columns or rows)
    maps = randn(n, channels, size, size - 3).contiguous(memory_format=LAST)
    return partial(F.conv2d, **options), maps, weight, randn(out)


def loss(size: int, n: int, **options):
    """Return a case: the loss of a frozen VAE."""

    def run(kernels):
        return vae(size, kernels.dtype).loss(kernels, generator("noise"), **options)

    return run, 0.3 * randn(n, size, size)


# name: (a function and its arguments, whether the plain path is another one)
CASES = {
    "2 x 2": (convolution(3, 4, 2), True),
    "3 x 3": (convolution(3, 4, 3), True),
    "5 x 5": (convolution(3, 4, 5), True),
    "5 x 5, even tiles": (convolution(3, 4, 5, size=11), True),
    "7 x 7": (convolution(3, 4, 7), True),
    "padded": (convolution(3, 4, 5, padding=2), True),
    "padding by name": (convolution(3, 4, 5, padding="valid"), True),
    "groups": (convolution(6, 3, 5, groups=3), True),
    "padded to the same size": (convolution(3, 4, 5, padding="same"), False),
    "strides": (convolution(3, 4, 5, stride=2), False),
    "dilation": (convolution(3, 4, 3, dilation=2), False),
    "not square": (convolution(3, 4, 5, 3), False),
    "1 x 1": (convolution(3, 4, 1), False),
    "8 x 8": (convolution(3, 4, 8), False),
    "no image": (convolution(3, 4, 5, n=0), False),
    **{f"loss, {k} x {k}": (loss(k, 600), True) for k in (3, 5, 7)},
    "loss, 16 x 16": (loss(16, 7), True),
    "loss, importance": (loss(5, 150, bound="importance-weighted", latent_samples=3), True),
    "loss, no kernel": (loss(5, 0), True),
}


def values_and_gradients(function, arguments, dtype):
    """Return values without gradients, and again with those of each argument."""
    arguments = [argument.to(dtype).clone() for argument in arguments]
    alone = function(*arguments)
    found = function(*(argument.requires_grad_() for argument in arguments))
    total = (found * randn(*found.shape, dtype=dtype)).sum()
    return [alone, found.detach(), *torch.autograd.grad(total, arguments)]


@pytest.fixture
def always(monkeypatch):
    """Let tiles be taken for layers of any width."""
    monkeypatch.setattr(convolve, "_SHARE", 100)
    monkeypatch.setattr(convolve, "_HALF_SHARE", 100)


@pytest.fixture
def counted(monkeypatch):
    """The calls of the faster paths."""
    calls = []

    def count(owner, name):
        way = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a: calls.append(name) or way(*a))

    count(convolve, "by_tiles")
    count(frozen._Run, "apply")
    count(frozen._WithGradients, "apply")
    count(frozen, "frozen_stack")
    return calls


@pytest.mark.parametrize("dtype", [torch.float, torch.double])
@pytest.mark.parametrize("name", CASES)
def test_faster_paths_give_the_numbers_of_the_plain_ones(always, counted, name, dtype):
    (function, *arguments), taken = CASES[name]
    compute = partial(values_and_gradients, function, arguments, dtype)
    with faster(False), faster():
        expected = compute()
    assert not counted
    with faster():
        found = compute()
    assert bool({"by_tiles", "apply"} & {*counted}) is taken
    tolerance = 2e-5 if dtype == torch.float else 1e-12
    for value, other in zip(found, expected, strict=True):
        assert value.dtype == other.dtype == dtype
        assert value.shape == other.shape
        assert (value - other).norm() <= tolerance * other.norm()
    with faster(), faster(False), faster():
        assert all(map(torch.equal, compute(), expected))
    assert entered() is None


# Convolutions and pools


@pytest.mark.parametrize("dtype", [torch.double, torch.bfloat16])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 4), (1, 3, 5), (3, 2, 4), (4, 8, 1)])
def test_products_of_patches_are_the_convolution(shape, biased, dtype):
    groups, channels, out = shape
    leaves = [randn(2, groups * channels, 7, 6).to(memory_format=LAST)]
    leaves += [randn(groups * out, channels, 3, 5), randn(groups * out)][: 1 + biased]
    half = dtype == torch.bfloat16
    leaves = [leaf.to(torch.float if half else dtype).requires_grad_() for leaf in leaves]
    results = []
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        for way in (convolve.by_products, partial(F.conv2d, groups=groups)):
            arguments = [*leaves, None][:3] + [groups] * (way is convolve.by_products)
            outputs = way(*arguments)
            assert outputs.dtype == dtype
            assert outputs.is_contiguous(memory_format=LAST) or way is not convolve.by_products
            results.append([outputs, *torch.autograd.grad(outputs.square().sum(), leaves)])
    for value, other in zip(*results, strict=True):
        assert (value - other).norm() <= (0.05 if half else 1e-12) * other.norm()


def test_tiles_round_little_and_nothing_under_autocast():
    inputs, weight = randn(20, 32, 11, 11), randn(128, 32, 5, 5)
    exact, found = F.conv2d(inputs.double(), weight.double()), tiles.by_tiles(inputs, weight, None)
    assert 0 < (found - exact).norm() < 4e-6 * exact.norm()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(tiles.by_tiles(inputs, weight, None), found)


def test_sums_of_positive_numbers_stay_so(always, counted):
    net = bayesianize(nn.Sequential(nn.Conv2d(8, 8, 5)), StandardNormal(5), log_variance=-2.0)
    inputs = randn(2, 8, 12, 12)
    inputs[:, :, :, 6:] *= 1e-4  # in the same tiles as numbers 10^8 times as large, squared
    with faster():
        variances = F.conv2d(inputs.square(), net[0].log_variance.exp())
        assert not counted
        net(inputs)
    assert counted == ["by_tiles"]  # the mean
    assert variances.min() > 0


def test_what_torch_refuses_is_refused_by_torch(always):
    for inputs, weight in (
        (randn(2, 3, 9, 9), randn(4, 5, 5, 5)),
        (randn(2, 3, 9, 9).double(), randn(4, 3, 5, 5)),
        (randn(2, 3, 4, 4), randn(4, 3, 5, 5)),
    ):
        messages = []
        for enabled in (False, True):
            with faster(enabled), pytest.raises(RuntimeError) as error:
                F.conv2d(inputs, weight)
            messages.append(str(error.value))
        assert messages[0] == messages[1]


POOLS = (2, {}), (3, {}), (2, {"stride": 1}), (3, {"padding": 1}), (2, {"dilation": 2})


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, LAST])
@pytest.mark.parametrize(("size", "options"), [*POOLS, (2, {"ceil_mode": True}), ((2, 3), {})])
def test_max_pools_are_torchs(size, options, layout, kind):
    maps = randn(3, 5, 11, 8).to(kind)
    maps[0, 0, 0, 0] = torch.nan
    maps = maps.contiguous(memory_format=layout)
    pool, expected = nn.MaxPool2d(size, **options), F.max_pool2d(maps, size, **options)
    with faster():
        for found in (pool(maps), F.max_pool2d(maps, size, **options)):
            torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
            assert found.is_contiguous(memory_format=layout)
        assert torch.autograd.grad(pool(maps.requires_grad_()).nansum(), maps)[0].any()


@pytest.mark.parametrize("channels", [(1, 1), (1, 8), (8, 1), (8, 8)])
@pytest.mark.parametrize("layouts", [*itertools.product((torch.contiguous_format, LAST), repeat=2)])
def test_maps_have_the_layout_that_torch_gives(always, counted, channels, layouts):
    net = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(*channels, 5, padding=1), nn.MaxPool2d(2))
    net.to(memory_format=layouts[0]).requires_grad_(False)
    maps = randn(4, channels[0], 24, 22).to(memory_format=layouts[1])
    with faster():
        found = net(maps)
    assert counted == ["by_tiles"]
    assert found.stride() == net(maps).stride()


# Frozen VAEs


@pytest.mark.parametrize("units", [True, False])
@pytest.mark.parametrize("name", [name for name in CASES if re.match("loss, [i0-9]", name)])
def test_half_precision_of_a_vae_is_its_own_up_to_rounding(name, units, monkeypatch):
    monkeypatch.setattr(frozen, "has_matrix_units", lambda: units)
    monkeypatch.setattr(frozen, "has_bfloat16", lambda: True)
    (function, *arguments), _ = CASES[name]
    compute = partial(values_and_gradients, function, arguments, torch.float)
    with faster(False):
        expected = compute()
    with faster(), torch.autocast("cpu", torch.bfloat16):
        found = compute()
    for value, other in zip(found, expected, strict=True):
        assert value.dtype == torch.float
        assert (value - other).norm() <= (0.02 if units else 0.1) * other.norm() + 1e-3
    assert not torch.equal(found[0], expected[0])


@pytest.mark.parametrize(
    ("dtype", "wanted", "able"),
    [("float32", "bfloat16", False), ("float32", "float16", True), ("float64", "bfloat16", True)],
)
def test_a_vae_is_exact_where_half_precision_is_not_meant(dtype, wanted, able, monkeypatch):
    monkeypatch.setattr(frozen, "has_bfloat16", lambda: able)
    function, kernels = loss(5, 30)
    kernels = kernels.to(getattr(torch, dtype))
    expected = function(kernels)
    with torch.autocast("cpu", getattr(torch, wanted)):
        assert torch.equal(function(kernels), expected)


@pytest.mark.parametrize(
    "change",
    [
        lambda prior: prior.encoder[0].weight.mul_(2),
        lambda prior: prior.load_state_dict({k: 2 * v for k, v in prior.state_dict().items()}),
        lambda prior: prior.half().float(),
        lambda prior: setattr(prior.encoder[2].weight, "data", prior.encoder[2].weight * 2),
        lambda prior: setattr(prior, "encoder", KernelVAE(5, 8, 3).requires_grad_(False).encoder),
        lambda prior: prior.requires_grad_(True),
        lambda prior: prior.double(),
    ],
)
def test_a_changed_prior_is_noticed(change):
    prior, kernels = vae(5), 0.3 * randn(40, 5, 5)
    with faster():
        prior.loss(kernels, generator("noise"))
        with torch.no_grad():
            change(prior)
        kernels = kernels.to(prior.latent_mean.weight.dtype)
        found = prior.loss(kernels, generator("noise"))
    with faster(False):
        torch.testing.assert_close(found, prior.loss(kernels, generator("noise")))
    assert found.requires_grad is prior.latent_mean.weight.requires_grad


@pytest.mark.parametrize("take", [KernelVAE.loss, lambda vae, w, _: vae.encode(w)[0]])
def test_second_derivatives_need_an_unfrozen_prior_or_the_plain_path(take):
    kernels = randn(4, 5, 5).requires_grad_()
    with faster():
        total = take(vae(5), kernels, generator("noise")).sum()
        with pytest.raises(UserError, match=r"^second derivatives: .*requires_grad_.*$"):
            torch.autograd.grad(total, kernels, create_graph=True)
    for prior, enabled in ((vae(5), False), (vae(5).requires_grad_(True), True)):
        with faster(enabled):
            total = take(prior, kernels, generator("noise")).sum()
        (gradient,) = torch.autograd.grad(total, kernels, create_graph=True)
        assert torch.autograd.grad(gradient.square().sum(), kernels)[0].any()
        assert not enabled or torch.autograd.grad(
            take(prior, kernels, generator("noise")).sum(), prior.latent_mean.weight
        )


def test_convolutions_have_second_derivatives(always):
    inputs, weight = (randn(*shape, dtype=torch.double) for shape in ((1, 1, 7, 7), (2, 1, 5, 5)))
    for way in (tiles.by_tiles, convolve.by_products):
        leaves = (inputs.clone().requires_grad_(), weight.clone().requires_grad_())
        assert gradgradcheck(lambda x, w, way=way: way(x, w, None, 1), leaves)


# The door


def test_a_block_is_its_threads_own_and_ends_with_an_error():
    with faster(), ThreadPoolExecutor(1) as pool:
        assert entered() is not None
        assert pool.submit(entered).result() is None
    with pytest.raises(ZeroDivisionError), faster():
        raise ZeroDivisionError
    assert entered() is None
    before = torch.backends.mkldnn.matmul.fp32_precision
    with faster(False):
        assert torch.backends.mkldnn.matmul.fp32_precision == before


@pytest.mark.parametrize(("amd", "units"), [(True, False), (True, True), (False, False)])
def test_products_of_full_width_keep_their_precision(amd, units, monkeypatch):
    monkeypatch.setattr("dwp.fast.toom_cook._is_amd", lambda: amd)
    monkeypatch.setattr("dwp.fast.toom_cook.has_matrix_units", lambda: units)
    settings, (left, right) = torch.backends.mkldnn.matmul, randn(2, 20, 128, 128).abs()
    before = settings.fp32_precision
    with faster():
        assert settings.fp32_precision == ("bf16" if amd and not units else before)
        result = torch.bmm(left, right)
    assert settings.fp32_precision == before
    assert (result / torch.bmm(left.double(), right.double()) - 1).abs().max() < 1e-6


class Both(nn.Module):
    """A net whose layers and prior have faster paths."""

    def __init__(self):
        super().__init__()
        self.convolution, self.pool, self.prior = nn.Conv2d(3, 4, 5), nn.MaxPool2d(2), vae(5)

    def forward(self, images):
        kernels = self.pool(self.convolution(images)).flatten(0, 1)[:, :5, :5]
        return self.prior.encode(kernels)[0]


def jvp(net, images):
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(net(forward_ad.make_dual(images, images))).tangent


@pytest.mark.parametrize(
    "tool",
    [
        lambda net, images: torch.compile(net, backend="aot_eager")(images),
        lambda net, images: torch.export.export(net, (images,), strict=False).module()(images),
        lambda net, images: torch.jit.trace(net, (images,))(images),
        lambda net, images: torch.func.grad(lambda x: net(x).sum())(images),
        lambda net, images: torch.vmap(lambda image: net.convolution(image[None]))(images),
        lambda net, images: torch.func.jacrev(lambda x: net(x).sum(0))(images),
        lambda net, images: torch.fx.symbolic_trace(net.convolution)(images),
        lambda net, images: torch.utils.checkpoint.checkpoint(net, images, use_reentrant=False),
        jvp,
    ],
)
def test_tools_of_torch_work_within_a_block(always, tool):
    net, images = Both(), randn(2, 3, 14, 14)
    torch._dynamo.reset()
    with faster(False):
        expected = tool(net, images)
    torch._dynamo.reset()
    with faster():
        torch.testing.assert_close(tool(net, images), expected, rtol=1e-4, atol=1e-4)


def test_a_block_can_be_compiled():
    def run(images):
        with faster():
            return net(images)

    net, images = Both(), randn(2, 3, 14, 14)
    torch._dynamo.reset()
    compiled = torch.compile(run, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(images), net(images))


# What a net sees


@pytest.mark.parametrize(
    ("name", "filters", "size"),
    [("mnist", [3, 4], 26), ("cifar", [3, 4, 5], 32), ("shapes", [3], 16)],
)
def test_a_net_sees_all_but_what_its_pools_drop(always, name, filters, size):
    net = build_network(name, filters=filters)
    images = torch.rand(5, *net.image_shape, generator=generator("images"))
    with faster():
        seen = visible(net, images)
    assert seen.shape[2:] == (size, size)
    torch.testing.assert_close(net(seen), net(images))
    bayesian = bayesianize(net, None)
    before, state = torch.get_rng_state(), copy.deepcopy(net.state_dict())
    assert visible(bayesian, images).shape == seen.shape
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert net.training


@pytest.mark.parametrize(
    "layers",
    [
        (nn.Conv2d(1, 2, 3), nn.AdaptiveMaxPool2d(1)),
        (nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.AdaptiveAvgPool2d(2)),
        (nn.MaxPool2d(2), nn.Upsample(7)),
        (nn.Flatten(2), nn.Linear(49, 2)),
        (nn.Dropout(0.5),),
    ],
)
def test_images_are_not_cropped_where_their_size_matters(layers):
    images = torch.rand(5, 1, 7, 7)
    net = nn.Sequential(*layers)
    seen = visible(net, images)
    torch.testing.assert_close(net.eval()(seen), net(images))
    assert isinstance(layers[0], nn.MaxPool2d) or seen is images or torch.equal(seen, images)
    assert visible(net, images[:0]).shape == (0, 1, 7, 7)
