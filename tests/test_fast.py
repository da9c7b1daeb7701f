"""Within `dwp.fast.faster` numbers and gradients are those of the plain path."""

import copy
import pickle
import threading
from functools import partial

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad, gradcheck
from torch.nn import functional as F

import dwp
from dwp.devices import products
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


def stack(layer: nn.Module, size: int):
    """Return a case: a convolution of a kernel VAE, an ELU and heads."""
    layer = copy.deepcopy(layer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        layer.reset_parameters()
        head = nn.Conv2d(4, 2, 1)
    net = nn.ModuleList([nn.Sequential(layer, nn.ELU()), head]).requires_grad_(False)

    def run(maps):
        own = copy.deepcopy(net).to(maps.dtype)
        return dwp.priors.vae._run(own[0], [own[1], own[1]], maps)

    return run, randn(300, layer.in_channels, size, size)


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
    "VAE, padded": (stack(nn.Conv2d(3, 4, 3, padding=1), 5), True),
    "VAE, valid": (stack(nn.Conv2d(3, 4, 3), 5), True),
    "VAE, whole": (stack(nn.Conv2d(3, 4, 3), 3), True),
    "VAE, one channel": (stack(nn.Conv2d(1, 4, 3, padding=1), 5), True),
    "VAE, pointwise": (stack(nn.Conv2d(3, 4, 1), 5), True),
    "VAE, to 3 x 3": (stack(nn.ConvTranspose2d(3, 4, 3), 1), True),
    "VAE, to 5 x 5": (stack(nn.ConvTranspose2d(3, 4, 3), 3), True),
    "VAE, to 7 x 7": (stack(nn.ConvTranspose2d(3, 4, 3), 5), True),
    "VAE, to 8 x 8": (stack(nn.ConvTranspose2d(3, 4, 3), 6), True),
    "VAE, padded, 6 x 6": (stack(nn.Conv2d(3, 4, 3, padding=1), 6), True),
    "VAE, transposed pointwise": (stack(nn.ConvTranspose2d(3, 4, 1), 3), True),
    "VAE, strides": (stack(nn.Conv2d(3, 4, 3, stride=2), 5), False),
    "VAE, reflected": (stack(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), 5), False),
    "VAE, 4 x 4": (stack(nn.Conv2d(3, 4, 3), 4), False),
    **{f"loss, {k} x {k}": (loss(k, 600), True) for k in (3, 5, 7)},
    "loss, 16 x 16": (loss(16, 7), True),
    "loss, importance": (
        loss(5, 150, bound="importance-weighted", latent_samples=3),
        True,
    ),
    "loss, no kernel": (loss(5, 0), True),
}


def values_and_gradients(function, arguments, dtype, *, gradients):
    arguments = [argument.to(dtype).clone().requires_grad_(gradients) for argument in arguments]
    found = function(*arguments)
    if not gradients:
        return [found]
    weights = torch.linspace(-1, 1, found.numel(), dtype=dtype).view(found.shape)
    return [found.detach(), *torch.autograd.grad((found * weights).sum(), arguments)]


@pytest.fixture
def always(monkeypatch):
    """Let tiles be taken for layers of any width."""
    monkeypatch.setattr(convolve, "_SHARE", 100)
    monkeypatch.setattr(convolve, "_HALF_SHARE", 100)


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("dtype", [torch.float, torch.double])
@pytest.mark.parametrize("name", CASES)
def test_faster_paths_give_the_numbers_of_the_plain_ones(always, name, dtype, gradients):
    (function, *arguments), _ = CASES[name]
    compute = partial(values_and_gradients, function, arguments, dtype, gradients=gradients)
    with faster(False), faster():
        expected = compute()
    with faster():
        found = compute()
    tolerance = 2e-5 if dtype == torch.float else 1e-12
    for value, other in zip(found, expected, strict=True):
        assert value.dtype == other.dtype == dtype
        assert value.shape == other.shape
        assert (value - other).norm() <= tolerance * other.norm()
    with faster(), faster(False), faster():
        assert all(map(torch.equal, compute(), expected))
    assert entered() is None


@pytest.mark.parametrize("name", CASES)
def test_faster_paths_are_taken(always, name, monkeypatch):
    (function, *arguments), taken = CASES[name]
    calls = []

    def counted(way):
        return lambda *arguments: calls.append(way) or way(*arguments)

    monkeypatch.setattr(convolve, "by_tiles", counted(tiles.by_tiles))
    monkeypatch.setattr(frozen._Run, "apply", counted(frozen._Run.apply))
    monkeypatch.setattr(frozen._WithGradients, "apply", counted(frozen._WithGradients.apply))
    with faster():
        function(*arguments)
    assert bool(calls) is taken
