"""Convolutions as products: torch's own, with its gradients."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dwp.errors import UserError
from dwp.fast import convolve, tiles
from dwp.fast.convolve import ProductConv2d, by_products, use_fast_layers
from dwp.fast.pool import FastMaxPool2d
from dwp.fast.tiles import by_tiles


def check(way, inputs, weight, biased, groups):
    """Compare outputs, their layout and all gradients with those of torch's convolution."""
    bias = torch.randn(len(weight), dtype=weight.dtype, requires_grad=True) if biased else None
    found = way(inputs, weight, bias, groups)
    expected = F.conv2d(inputs, weight, bias, groups=groups)
    torch.testing.assert_close(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)
    weights = torch.randn_like(expected)
    leaves = [leaf for leaf in (inputs, weight, bias) if leaf is not None]
    gradients = torch.autograd.grad((found * weights).sum(), leaves)
    others = torch.autograd.grad((expected * weights).sum(), leaves)
    for gradient, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(gradient, other)


@pytest.mark.parametrize(
    ("groups", "channels", "out"), [(1, 1, 4), (1, 3, 5), (3, 2, 4), (4, 8, 1)]
)
@pytest.mark.parametrize("biased", [False, True])
def test_products_are_the_convolution(groups, channels, out, biased):
    inputs = torch.randn(2, groups * channels, 7, 6, dtype=torch.double)
    inputs = inputs.to(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(groups * out, channels, 3, 5, dtype=torch.double, requires_grad=True)
    check(by_products, inputs, weight, biased, groups)


def test_half_precision_is_that_of_autocast():
    inputs, weight, bias = torch.randn(4, 2, 9, 9), torch.randn(6, 1, 3, 3), torch.randn(6)
    with torch.autocast("cpu", torch.bfloat16):
        found = by_products(inputs, weight, bias, 2)
        expected = F.conv2d(inputs, weight, bias, groups=2)
    assert found.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)


def test_few_channels_on_a_cpu_are_torchs():
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3, groups=2))
    images = torch.randn(3, 1, 8, 8)
    before = net(images)
    use_fast_layers(net)
    assert isinstance(net[0], ProductConv2d)
    assert torch.equal(net(images), before)


@pytest.mark.parametrize(("taps", "places"), [(2, 8), (3, 8), (5, 7), (5, 8), (7, 8)])
@pytest.mark.parametrize(("groups", "channels", "out"), [(1, 3, 4), (3, 2, 1)])
@pytest.mark.parametrize("biased", [False, True])
def test_tiles_are_the_convolution(monkeypatch, taps, places, groups, channels, out, biased):
    monkeypatch.setattr(tiles, "_PLACES", (places,))
    # 61 images: more than are computed at once; sizes that tiles cut unevenly
    inputs = torch.randn(61, groups * channels, 13, 9, dtype=torch.double, requires_grad=True)
    weight = torch.randn(groups * out, channels, taps, taps, dtype=torch.double, requires_grad=True)
    check(by_tiles, inputs, weight, biased, groups)


@pytest.mark.parametrize(("outputs", "share"), [(6, 196 / 900), (7, 256 / 1225), (12, 576 / 3600)])
def test_tiles_are_of_the_size_that_takes_fewer_products(outputs, share):
    # of so many channels that evaluating the polynomials is next to nothing
    found = tiles.share_of_products((10**6, 10**6, 5, 5), outputs, outputs)
    assert found == pytest.approx(share, rel=1e-3)


@pytest.mark.parametrize("frozen", ["inputs", "weight"])
def test_tiles_give_only_the_gradient_that_is_asked_for(frozen):
    inputs = torch.randn(2, 3, 9, 9, dtype=torch.double)
    weight = torch.randn(4, 3, 5, 5, dtype=torch.double)
    leaf = weight if frozen == "inputs" else inputs
    leaf.requires_grad_()
    (found,) = torch.autograd.grad(by_tiles(inputs, weight, None).square().sum(), leaf)
    (expected,) = torch.autograd.grad(F.conv2d(inputs, weight).square().sum(), leaf)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("shape", [(0, 64, 12, 12), (64, 12, 12)])
def test_no_image_and_an_image_without_its_batch_are_torchs(shape):
    layer = nn.Conv2d(64, 128, 5)
    inputs = torch.randn(shape)
    assert torch.equal(use_fast_layers(nn.Sequential(layer))(inputs), layer(inputs))


def test_tiles_round_little():
    inputs, weight = torch.randn(20, 32, 11, 11), torch.randn(128, 32, 5, 5)
    exact = F.conv2d(inputs.double(), weight.double())
    error = (by_tiles(inputs, weight, None) - exact).norm() / exact.norm()
    assert 0 < error < 4e-6


def test_tiles_are_exact_under_autocast():
    inputs, weight = torch.randn(2, 3, 9, 9), torch.randn(4, 3, 5, 5, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        found = by_tiles(inputs, weight, None)
        (half,) = torch.autograd.grad(found.sum(), weight)
    assert found.dtype == torch.float32
    assert torch.equal(found, by_tiles(inputs, weight, None))
    (whole,) = torch.autograd.grad(by_tiles(inputs, weight, None).sum(), weight)
    assert torch.equal(half, whole)


@pytest.mark.parametrize(
    ("layer", "taken"),
    [
        (nn.Conv2d(64, 128, 5), True),
        (nn.Conv2d(64, 128, 5, padding=2), True),
        (nn.Conv2d(64, 128, 5, padding="same"), False),
        (nn.Conv2d(64, 128, 5, padding=2, padding_mode="circular"), False),
        (nn.Conv2d(64, 128, 5, stride=2), False),
        (nn.Conv2d(64, 128, (5, 3)), False),
        (nn.Conv2d(64, 128, 5, groups=32), False),
        (nn.Conv2d(1, 128, 5), False),
        (nn.Conv2d(64, 128, 1), False),
    ],
)
def test_wide_convolutions_on_a_cpu_are_by_tiles(monkeypatch, layer, taken):
    calls = []
    monkeypatch.setattr(convolve, "by_tiles", lambda *a: calls.append(a) or by_tiles(*a))
    inputs = torch.randn(2, layer.in_channels, 12, 12)
    expected = layer(inputs)
    found = use_fast_layers(nn.Sequential(layer))(inputs)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert bool(calls) is taken


@pytest.mark.parametrize(
    ("matrix_units", "out", "taken"), [(False, 512, True), (False, 32, False), (True, 512, False)]
)
def test_in_half_precision_only_wide_convolutions_without_matrix_units_are_by_tiles(
    monkeypatch, matrix_units, out, taken
):
    calls = []
    monkeypatch.setattr(convolve, "by_tiles", lambda *a: calls.append(a) or by_tiles(*a))
    monkeypatch.setattr(convolve, "has_matrix_units", lambda: matrix_units)
    layer = ProductConv2d(128, out, 5)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(torch.randn(1, 128, 11, 11))
    assert found.dtype == (torch.float32 if taken else torch.bfloat16)
    assert bool(calls) is taken


@pytest.mark.parametrize("convolve_by", [by_tiles, by_products])
def test_second_derivatives_are_refused(convolve_by):
    inputs = torch.randn(1, 2, 6, 6, requires_grad=True)
    outputs = convolve_by(inputs, torch.randn(3, 2, 3, 3), None, 1)
    with pytest.raises(UserError, match="second derivatives"):
        torch.autograd.grad(outputs.sum(), inputs, create_graph=True)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((2,), {}),
        ((3,), {}),
        ((2, 1), {}),
        ((3,), {"padding": 1}),
        ((2,), {"dilation": 2}),
        ((2,), {"ceil_mode": True}),
        (((2, 3),), {}),
    ],
)
def test_max_pools_are_torchs(arguments, options, layout, kind):
    maps = torch.randn(3, 5, 11, 8, dtype=kind)
    maps[0, 0, 0, 0] = torch.nan
    maps = maps.contiguous(memory_format=layout)
    expected = nn.MaxPool2d(*arguments, **options)(maps)
    found = FastMaxPool2d(*arguments, **options)(maps)
    assert torch.equal(found.nan_to_num(), expected.nan_to_num())
    assert found.isnan().sum() == 1
    assert found.is_contiguous(memory_format=layout)


def test_max_pools_without_gradients_are_not_by_torchs(monkeypatch):
    maps = torch.randn(3, 5, 6, 6).contiguous(memory_format=torch.channels_last).requires_grad_()
    net = use_fast_layers(nn.Sequential(nn.MaxPool2d(2)))
    expected = net(maps)
    (gradient,) = torch.autograd.grad(expected.sum(), maps)
    assert gradient.sum() == expected.numel()
    monkeypatch.setattr(F, "max_pool2d", None)
    with torch.no_grad():
        assert torch.equal(net(maps), expected)
