"""The paper's networks: shapes, sizes, and that every stage takes them."""

import pytest
import torch
from helpers import CLASSIFICATION
from torch import nn

from dwp.data.tensors import ImageTensors
from dwp.nn.bayesian import bayesian_layers, bayesianize, kl, prediction
from dwp.nn.networks import NETWORKS, build_network, initialise_xavier, network_class, scaled
from dwp.nn.predict import predict
from dwp.priors import prior_class
from dwp.priors.vae import KernelVAE
from dwp.registry import find_class
from dwp.seeds import generator
from dwp.training.classification import train_classifiers
from dwp.training.source import accuracy, l2_penalty, train_source_nets

SMALL = {"mnist": [3, 4], "cifar": [3, 4, 5], "cifar-batchnorm": [3, 4, 5, 6], "shapes": [6]}


def images_of(name: str, n: int, seed: int = 0) -> torch.Tensor:
    return torch.rand((n, *network_class(name).image_shape), generator=generator("images", seed))


def small_net(name: str, classes: int = 4) -> nn.Module:
    net = build_network(name, filters=SMALL[name], classes=classes)
    initialise_xavier(net, generator("net"))
    return net.to(memory_format=torch.channels_last)


def data_of(name: str) -> ImageTensors:
    """Two classes, told apart by a dark upper half."""
    images, targets = (200 * images_of(name, 120)).to(torch.uint8), torch.arange(120) % 2
    images[targets == 1, :, : images.shape[2] // 2] //= 4
    return ImageTensors(images[:100], targets[:100], images[100:], targets[100:])


@pytest.mark.parametrize("name", NETWORKS)
def test_nets_are_as_they_declare(name):
    net = small_net(name)
    assert net(images_of(name, 2)).shape == (2, 4)
    layers = {n: m for n, m in net.named_modules() if isinstance(m, nn.Conv2d)}
    sizes = {n: (size, size) for n, size in net.kernel_sizes.items()}
    assert {n: m.kernel_size for n, m in layers.items()} == sizes
    assert [m.out_channels for m in layers.values()] == SMALL[name]
    assert list(layers) == list(net.kernel_sizes)


@pytest.mark.parametrize(
    ("name", "filters", "classes", "inputs", "numbers"),
    [
        (
            "mnist",
            [256, 512],
            10,
            {"classifier": 4608},
            256 * (49 + 1) + 512 * (256 * 25 + 1) + 10 * (4608 + 1),
        ),
        (
            "cifar",
            [128, 256, 256],
            100,
            {"classifier.0": 6400, "classifier.2": 512},
            128 * (3 * 49 + 1) + 256 * (128 * 25 + 1) + 256 * (256 * 25 + 1)  # convolutions
            + 512 * (6400 + 1) + 100 * (512 + 1),
        ),
        ("shapes", [40], 4, {"classifier": 40}, 40 * (256 + 1) + 4 * (40 + 1)),
    ],
)  # fmt: skip
def test_sizes_of_the_papers_nets(name, filters, classes, inputs, numbers):
    net = build_network(name, filters=filters, classes=classes)
    found = {n: m.in_features for n, m in net.named_modules() if isinstance(m, nn.Linear)}
    assert found == inputs
    assert sum(parameter.numel() for parameter in net.parameters()) == numbers


def test_scaled():
    assert scaled([128, 256, 256], 1) == [128, 256, 256]
    assert scaled([128, 256, 512], 1 / 8) == [16, 32, 64]
    assert scaled([20, 3], 0.26) == [5, 1]
    assert scaled([20, 3], 0.01) == [1, 1]


@pytest.mark.parametrize("name", NETWORKS)
def test_bayesian_nets_keep_the_mean_and_scatter(name):
    net, images = small_net(name), images_of(name, 5)
    expected = predict(net, images, samples=0)
    bayesianize(net, None, log_variance=-3.0)
    assert set(bayesian_layers(net)) == set(net.kernel_sizes)
    assert torch.equal(predict(net, images, samples=0), expected)
    draws = predict(net, images, samples=3, generator=generator(0), batch_size=2)
    assert draws.shape == (3, 5, 4)
    assert (draws[0] != draws[1]).any()


def test_kl_of_the_shapes_net_from_a_vae():
    net = bayesianize(small_net("shapes"), None, log_variance=-3.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = KernelVAE(16, hidden=4, latent=2)
    net.conv1.prior = vae
    found = {}
    for frozen in (False, True):  # frozen: with the gradient found along with the loss
        vae.requires_grad_(not frozen)
        net.zero_grad()
        value = kl(net, generator("kl"))
        value.backward()
        found[frozen] = value.detach(), net.conv1.weight.grad, net.conv1.log_variance.grad
    for first, second in zip(found[False], found[True], strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-4)
    assert found[True][1].abs().min() > 0
    # The same bound, put together from its parts
    posterior, draws = net.conv1.posterior, generator("kl")
    kernels = posterior.sample(draws).flatten(0, 1)
    fit, latent = vae.elbo_terms(kernels, draws)
    expected = (latent - fit).sum() - posterior.entropy().sum()
    torch.testing.assert_close(found[True][0], expected.detach(), rtol=1e-4, atol=1e-2)


# Batch norm


def test_prediction_norms_by_the_running_statistics():
    net, images = small_net("cifar-batchnorm"), images_of("cifar-batchnorm", 6)
    for seed in range(3):
        net(images_of("cifar-batchnorm", 8, seed + 1))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    whole = predict(net, images, samples=0)
    one = torch.cat([predict(net, image[None], samples=0) for image in images], 1)
    torch.testing.assert_close(one, whole)  # an image's prediction does not depend on the others
    assert accuracy(net, images, whole[0].argmax(1), batch_size=4) == 1
    assert all(module.training for module in net.modules())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not torch.allclose(net(images).softmax(1), whole[0], atol=1e-3)


def test_prediction_gives_every_layer_its_mode_back():
    net = bayesianize(small_net("cifar-batchnorm"), None)
    net.norm2.eval()
    with prediction(net):
        assert not any(module.training for module in net.modules())
    assert [name for name, module in net.named_modules() if not module.training] == ["norm2"]


def test_the_penalty_leaves_batch_norm_alone():
    net = small_net("cifar-batchnorm")
    before = l2_penalty(net)
    with torch.no_grad():
        net.norm1.weight += 1
        net.norm1.bias += 1
        assert torch.equal(l2_penalty(net), before)
        net.conv4.weight *= 2
        assert l2_penalty(net) > before


# Training


@pytest.mark.parametrize("name", ["cifar-batchnorm", "shapes"])
def test_source_nets_learn(name):
    settings = {"network": name, "filters": SMALL[name], "epochs": 6, "batch_size": 20}
    settings |= {"learning_rate": 0.01, "l2": 1e-4, "precision": "float32"}
    net, _, metrics = train_source_nets(data_of(name), settings, [0])[0]
    assert metrics["test_accuracy"] > 0.9
    if name == "cifar-batchnorm":
        assert net.norm1.num_batches_tracked == 30


def train(name: str, places: list[tuple[int, int]], kind: str):
    sizes = network_class(name).kernel_sizes
    settings = CLASSIFICATION | {"network": name, "filters": SMALL[name]}
    settings |= {"batch_size": 8, "learning_rate": 0.003}
    priors = {layer: prior_class(kind)(size) for layer, size in sizes.items()}
    return train_classifiers(data_of(name), settings, places, n=12, priors=priors, init=None)


@pytest.mark.parametrize("kind", ["standard-normal", "log-uniform"])
@pytest.mark.parametrize("name", ["cifar-batchnorm", "shapes"])
def test_training_together_is_training_alone(name, kind):
    places = [(0, 0), (1, 0)]
    for place, (net, records) in zip(places, train(name, places, kind), strict=True):
        ((expected, history),) = train(name, [place], kind)
        for found, record in zip(records, history, strict=True):
            assert found == pytest.approx(record, rel=1e-3)
        assert list(net.state_dict()) == list(expected.state_dict())
        for key, value in expected.state_dict().items():
            torch.testing.assert_close(net.state_dict()[key], value, rtol=1e-3, atol=1e-4)


def test_the_papers_nets_are_their_layers():
    def act(maps):
        return torch.where(maps > 0, maps, 0.01 * maps)

    def pool(maps):
        return nn.functional.max_pool2d(maps, 2)

    net, images = small_net("mnist"), images_of("mnist", 3)
    maps = act(pool(net.conv2(act(pool(net.conv1(images))))))
    torch.testing.assert_close(net(images), net.classifier(maps.flatten(1)))
    with pytest.raises(RuntimeError):
        net(torch.rand(3, 1, 30, 30))  # none is cut to size
    net, images = small_net("cifar"), images_of("cifar", 3)
    maps = act(net.conv3(act(net.conv2(act(pool(net.conv1(images)))))))
    hidden = act(net.classifier[0](maps.flatten(1)))
    torch.testing.assert_close(net(images), net.classifier[2](hidden))
    net, images = small_net("cifar-batchnorm").eval(), images_of("cifar-batchnorm", 3)
    maps = act(net.norm2(net.conv2(pool(act(net.norm1(net.conv1(images)))))))
    maps = act(net.norm4(net.conv4(act(net.norm3(net.conv3(maps))))))
    torch.testing.assert_close(net(images), net.classifier(maps.flatten(1)))
    net, images = small_net("shapes"), images_of("shapes", 3)
    torch.testing.assert_close(net(images), net.classifier(act(net.conv1(images)).flatten(1)))


def test_a_file_of_ones_own_may_hold_data_classes(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n\n\n"
        "@dataclass\n"
        "class Own:\n"
        "    size: int = 3\n"
    )
    assert find_class("thing", f"{file}:Own", {}, ["size"])().size == 3
