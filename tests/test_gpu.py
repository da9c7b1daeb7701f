"""On a GPU: recorded steps are launched ones, and what draws nothing gives what a CPU gives."""

import itertools
import logging
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from helpers import assert_alike
from test_graphs import TRAININGS
from torch import nn

from dwp.devices import products
from dwp.errors import OutOfTime
from dwp.fast import faster, graphs
from dwp.nn.bayesian import bayesianize, kl
from dwp.nn.networks.mnist import MnistNet
from dwp.nn.predict import predict
from dwp.priors.vae import KernelVAE
from dwp.training import loop

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture(autouse=True)
def whole_products():
    """As `dwp.devices.choose_device` leaves a process."""
    with products("float32", "cuda"):
        yield


@pytest.mark.parametrize("name", TRAININGS)
def test_recorded_steps_are_the_launched_ones(monkeypatch, caplog, name):
    with caplog.at_level(logging.WARNING):
        recorded = TRAININGS[name](device="cuda")
    assert "no CUDA graph" not in caplog.text
    monkeypatch.setattr(graphs, "supported", lambda device: False)
    assert_alike(recorded, TRAININGS[name](device="cuda"), rel=1e-3)


@pytest.mark.parametrize("name", ["source nets", "a source net", "classifiers, None"])
def test_nets_without_noise_are_those_of_the_cpu(name):
    assert_alike(TRAININGS[name](device="cuda"), TRAININGS[name](), rel=1e-3)


def test_the_bound_and_its_gradient_are_those_of_the_cpu():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        priors = {size: KernelVAE(size, 8, 2).requires_grad_(False) for size in (7, 5)}
        net = bayesianize(MnistNet([3, 4]), priors, log_variance=-40.0)  # draws that are the means
    for prior in priors.values():
        prior.latent_variance.weight.zero_()
        prior.latent_variance.bias.fill_(-40.0)  # so do the codes
    found = {}
    for device in ("cpu", "cuda"):
        net.to(device).zero_grad()
        for layer in (net.conv1, net.conv2):
            layer.prior.load_state_dict(priors[layer.kernel_size[0]].state_dict())
        value = kl(net)
        value.backward()
        found[device] = value.item(), [p.weight.grad.cpu().clone() for p in (net.conv1, net.conv2)]
    assert found["cuda"][0] == pytest.approx(found["cpu"][0], rel=1e-5)
    torch.testing.assert_close(found["cuda"][1], found["cpu"][1], rtol=1e-3, atol=1e-4)


def test_predictions_by_mean_weights_are_those_of_the_cpu():
    net = bayesianize(MnistNet([3, 4]), None)
    images = torch.rand(70, 1, 28, 28)
    expected = predict(net, images, samples=0)
    torch.testing.assert_close(predict(net.cuda(), images, samples=0), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["classifiers, vae", "classifiers, standard-normal"])
def test_a_resumed_run_is_an_undisturbed_one(monkeypatch, tmp_path, name):
    train, stops = partial(TRAININGS[name], device="cuda"), 0
    whole = train()
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    while True:
        ticks = itertools.count()
        try:
            identity = {"checkpoint": tmp_path / "run", "identity": {"run": 1}}
            resumed = train(options={"deadline": 9.5, **identity})
            break
        except OutOfTime:
            stops += 1
    assert stops
    assert_alike(resumed, whole, rel=1e-3)


@pytest.mark.parametrize(("groups", "channels", "out"), [(1, 1, 4), (3, 2, 4), (1, 16, 8)])
def test_faster_convolutions_are_cudnns(groups, channels, out):
    images = torch.randn(5, groups * channels, 9, 9, device="cuda", requires_grad=True)
    layer = nn.Conv2d(groups * channels, groups * out, 5, groups=groups, device="cuda")
    results = []
    for enabled in (False, True):
        with faster(enabled):
            outputs = layer(images)
        results.append(
            [outputs, *torch.autograd.grad(outputs.square().sum(), [images, layer.weight])]
        )
    torch.testing.assert_close(*results, rtol=1e-3, atol=1e-4)
