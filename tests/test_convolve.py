"""Convolutions as products: torch's own, with its gradients."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dwp.nn.convolve import ProductConv2d, by_products, use_products


@pytest.mark.parametrize(
    ("groups", "channels", "out"), [(1, 1, 4), (1, 3, 5), (3, 2, 4), (4, 8, 1)]
)
@pytest.mark.parametrize("biased", [False, True])
def test_products_are_the_convolution(groups, channels, out, biased):
    inputs = torch.randn(2, groups * channels, 7, 6, dtype=torch.double)
    inputs = inputs.to(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(groups * out, channels, 3, 5, dtype=torch.double, requires_grad=True)
    bias = torch.randn(groups * out, dtype=torch.double, requires_grad=True) if biased else None
    found = by_products(inputs, weight, bias, groups)
    expected = F.conv2d(inputs, weight, bias, groups=groups)
    torch.testing.assert_close(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)
    weights = torch.randn_like(expected)
    leaves = [leaf for leaf in (inputs, weight, bias) if leaf is not None]
    gradients = torch.autograd.grad((found * weights).sum(), leaves)
    others = torch.autograd.grad((expected * weights).sum(), leaves)
    for gradient, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(gradient, other)


def test_half_precision_is_that_of_autocast():
    inputs, weight, bias = torch.randn(4, 2, 9, 9), torch.randn(6, 1, 3, 3), torch.randn(6)
    with torch.autocast("cpu", torch.bfloat16):
        found = by_products(inputs, weight, bias, 2)
        expected = F.conv2d(inputs, weight, bias, groups=2)
    assert found.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)


def test_on_a_cpu_nothing_changes():
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3, groups=2))
    images = torch.randn(3, 1, 8, 8)
    before = net(images)
    use_products(net)
    assert isinstance(net[0], ProductConv2d)
    assert torch.equal(net(images), before)
