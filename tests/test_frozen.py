"""A frozen VAE against the same VAE by ordinary convolutions."""

import copy

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from dwp.devices import products
from dwp.errors import UserError
from dwp.fast.frozen import frozen_stack
from dwp.priors import kl_divergence
from dwp.priors.posteriors import GaussianKernels
from dwp.priors.vae import KernelVAE
from dwp.seeds import generator

CONVOLUTIONS = {
    "padded": (nn.Conv2d(3, 4, 3, padding=1), 5),
    "valid": (nn.Conv2d(3, 4, 3), 5),
    "whole": (nn.Conv2d(3, 4, 3), 3),
    "one channel": (nn.Conv2d(1, 4, 3, padding=1), 5),
    "pointwise": (nn.Conv2d(3, 4, 1), 5),
    "to 3 x 3": (nn.ConvTranspose2d(3, 4, 3), 1),
    "to 5 x 5": (nn.ConvTranspose2d(3, 4, 3), 3),
    "to 7 x 7": (nn.ConvTranspose2d(3, 4, 3), 5),
    "padded, 6 x 6": (nn.Conv2d(3, 4, 3, padding=1), 6),
    "to 8 x 8": (nn.ConvTranspose2d(3, 4, 3), 6),
}


def unfrozen(prior: KernelVAE) -> KernelVAE:
    """Return a copy that takes the ordinary convolutions."""
    return copy.deepcopy(prior).requires_grad_(True)


def make(kernel_size: int, dtype: torch.dtype = torch.float) -> KernelVAE:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return KernelVAE(kernel_size, hidden=8, latent=3).to(dtype).requires_grad_(False)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_convolution_and_an_elu_equal_torch(name):
    layer, size = CONVOLUTIONS[name]
    layer, elu, head = copy.deepcopy(layer).double(), nn.ELU(), nn.Conv2d(4, 2, 1).double()
    maps = torch.randn(6, layer.in_channels, size, size, dtype=torch.double).requires_grad_()
    fast = frozen_stack([layer, elu], [head, head], size)
    expected = head(elu(layer(maps)))
    torch.testing.assert_close(fast(maps), torch.cat([expected, expected], 1))
    assert gradcheck(fast, maps)


@pytest.mark.parametrize("units", [True, False])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_convolution_in_half_precision_equals_torch_up_to_rounding(name, units, monkeypatch):
    monkeypatch.setattr("dwp.fast.frozen.has_matrix_units", lambda: units)
    layer, size = copy.deepcopy(CONVOLUTIONS[name])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        layer.reset_parameters()
        head = nn.Conv2d(4, 2, 1)
        maps = torch.randn(6, layer.in_channels, size, size).requires_grad_()
    stacks = (
        frozen_stack([layer, nn.ELU()], [head], size, torch.bfloat16),
        lambda maps: head(nn.functional.elu(layer(maps))),
    )
    results = []
    for stack in stacks:
        result = stack(maps)
        results.append((result.detach(), *torch.autograd.grad(result.square().sum(), maps)))
    for half, plain in zip(*results, strict=True):
        assert (half - plain).norm() < (0.02 if units else 0.1) * plain.norm()


def test_layers_without_an_algorithm_are_left_to_torch():
    head = nn.Conv2d(4, 1, 1)
    assert frozen_stack([nn.Conv2d(1, 4, 3, stride=2)], [head], 5) is None
    assert frozen_stack([nn.Conv2d(1, 4, 3), nn.ReLU()], [head], 5) is None
    assert frozen_stack([nn.Conv2d(3, 4, 3)], [head], 6) is None
    assert frozen_stack([nn.Conv2d(1, 4, 3, padding=1, padding_mode="reflect")], [head], 5) is None


@pytest.mark.parametrize("kernel_size", [3, 5, 7, 16])
@pytest.mark.parametrize("n", [7, 600])
def test_kl_and_gradients_equal_those_by_ordinary_convolutions(kernel_size, n):
    prior = make(kernel_size)
    mean = 0.3 * torch.randn(n, kernel_size, kernel_size, generator=generator("mean"))
    results = []
    for vae in (prior, unfrozen(prior)):
        posterior = GaussianKernels(
            mean.clone().requires_grad_(), torch.full_like(mean, -4.0).requires_grad_()
        )
        kl = kl_divergence(posterior, vae, generator("noise"))
        kl.sum().backward()
        results.append((kl.detach(), posterior.mean.grad, posterior.log_variance.grad))
    for fast, plain in zip(*results, strict=True):
        assert (fast - plain).norm() <= 1e-5 * plain.norm()


@pytest.mark.parametrize("take", [KernelVAE.loss, lambda vae, w, _: vae.encode(w)[0]])
def test_second_derivatives_need_an_unfrozen_prior(take):
    prior = make(5)
    kernels = torch.randn(4, 5, 5, generator=generator("kernels"), requires_grad=True)
    total = take(prior, kernels, generator("noise")).sum()
    with pytest.raises(UserError, match="requires_grad_"):
        torch.autograd.grad(total, kernels, create_graph=True)
    total = take(unfrozen(prior), kernels, generator("noise")).sum()
    (gradient,) = torch.autograd.grad(total, kernels, create_graph=True)
    assert torch.autograd.grad(gradient.square().sum(), kernels)[0].any()


def test_new_weights_are_noticed():
    prior = make(5)
    kernels = torch.randn(4, 5, 5, generator=generator("kernels"))
    before = prior.encode(kernels)[0]
    with torch.no_grad():
        prior.encoder[0].weight.mul_(2)
    after = prior.encode(kernels)[0]
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, unfrozen(prior).encode(kernels)[0])


def test_a_gradient_for_the_prior_is_still_there_when_it_is_trained():
    prior = make(5).requires_grad_(True)
    kernels = torch.randn(4, 5, 5, generator=generator("kernels"), requires_grad=True)
    prior.loss(kernels, generator("noise")).sum().backward()
    assert kernels.grad is not None
    assert all(parameter.grad is not None for parameter in prior.parameters())


@pytest.mark.parametrize("units", [True, False])
def test_products_in_half_precision_give_the_gradient_up_to_their_rounding(units, monkeypatch):
    monkeypatch.setattr("dwp.fast.frozen.has_matrix_units", lambda: units)
    monkeypatch.setattr("dwp.devices.has_bfloat16", lambda: True)
    monkeypatch.setattr("dwp.priors.vae.has_bfloat16", lambda: True)
    prior = make(5)
    kernels = 0.3 * torch.randn(300, 5, 5, generator=generator("kernels"))
    results = []
    for precision in ("float32", "bfloat16"):
        values = kernels.clone().requires_grad_()
        with products(precision, "cpu"):
            loss = prior.loss(values, generator("noise"))
            loss.sum().backward()
        assert loss.dtype == values.grad.dtype == torch.float
        results.append((loss.detach(), values.grad))
    (loss, gradient), (half_loss, half_gradient) = results
    assert 0 < (half_gradient - gradient).norm() < 0.1 * gradient.norm()
    assert (half_loss - loss).mean().abs() < 0.01 * loss.mean().abs()


@pytest.mark.parametrize(
    ("dtype", "wanted", "able"),
    [
        (torch.float, torch.bfloat16, False),
        (torch.float, torch.float16, True),
        (torch.double, torch.bfloat16, True),
    ],
)
def test_products_are_exact_where_half_precision_is_not_meant(dtype, wanted, able, monkeypatch):
    monkeypatch.setattr("dwp.priors.vae.has_bfloat16", lambda: able)
    prior = make(5, dtype)
    kernels = 0.3 * torch.randn(30, 5, 5, dtype=dtype, generator=generator("kernels"))
    expected = prior.loss(kernels, generator("noise"))
    with torch.autocast("cpu", wanted):
        assert torch.equal(prior.loss(kernels, generator("noise")), expected)
