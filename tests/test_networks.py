"""The paper's networks: shapes, sizes, and that every stage takes them."""

import copy

import pytest
import torch
from helpers import same_state
from torch import nn
from torch.nn import functional as F

from dwp.data.tensors import ImageTensors
from dwp.nn.bayesian import bayesian_layers, bayesianize
from dwp.nn.networks import NETWORKS, build_network, initialise_xavier, network_class, scaled
from dwp.nn.predict import predict
from dwp.registry import find_class
from dwp.seeds import generator
from dwp.training.source import accuracy, l2_penalty, train_source_nets

SMALL = {"mnist": [3, 4], "cifar": [3, 4, 5], "cifar-batchnorm": [3, 4, 5, 6], "shapes": [6]}


def images_of(name: str, n: int, seed: int = 0) -> torch.Tensor:
    return torch.rand((n, *network_class(name).image_shape), generator=generator("images", seed))


def small_net(name: str, classes: int = 4) -> nn.Module:
    net = build_network(name, filters=SMALL[name], classes=classes)
    initialise_xavier(net, generator("net"))
    return net.to(memory_format=torch.channels_last)


def data_of(name: str) -> ImageTensors:
    """Two classes, one of them with a dark upper half."""
    images, targets = (200 * images_of(name, 120)).to(torch.uint8), torch.arange(120) % 2
    images[targets == 1, :, : images.shape[2] // 2] //= 4
    return ImageTensors(images[:100], targets[:100], images[100:], targets[100:])


def by_hand(name: str, net: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return logits as the paper gives the net."""

    def act(maps):
        return torch.where(maps > 0, maps, 0.01 * maps)

    def pool(maps):
        return F.max_pool2d(maps, 2)

    if name == "mnist":
        maps = act(pool(net.conv2(act(pool(net.conv1(images))))))
    elif name == "cifar":
        maps = act(net.conv3(act(net.conv2(act(pool(net.conv1(images)))))))
        return net.classifier[2](act(net.classifier[0](maps.flatten(1))))
    elif name == "cifar-batchnorm":
        maps = act(net.norm2(net.conv2(pool(act(net.norm1(net.conv1(images)))))))
        maps = act(net.norm4(net.conv4(act(net.norm3(net.conv3(maps))))))
    else:
        maps = act(net.conv1(images))
    return net.classifier(maps.flatten(1))


@pytest.mark.parametrize("name", NETWORKS)
def test_nets_are_as_they_declare_plain_and_bayesian(name):
    net, images = small_net(name).eval(), images_of(name, 5)
    assert net(images).shape == (5, 4)
    torch.testing.assert_close(net(images), by_hand(name, net, images))
    layers = {n: m for n, m in net.named_modules() if isinstance(m, nn.Conv2d)}
    assert {n: m.kernel_size[0] for n, m in layers.items()} == net.kernel_sizes
    assert [m.out_channels for m in layers.values()] == SMALL[name]
    assert list(layers) == list(net.kernel_sizes)
    assert all(type(layer) is nn.Conv2d for layer in layers.values())
    expected = predict(net, images, samples=0)
    bayesianize(net, None, log_variance=-3.0)
    assert set(bayesian_layers(net)) == set(net.kernel_sizes)
    torch.testing.assert_close(predict(net, images, samples=0), expected)
    draws = predict(net, images, samples=3, generator=generator(0), batch_size=2)
    assert draws.shape == (3, 5, 4)
    assert (draws[0] != draws[1]).any()


@pytest.mark.parametrize(
    ("name", "filters", "classes", "inputs", "numbers"),
    [
        ("mnist", [256, 512], 10, [4608], 256 * 50 + 512 * (256 * 25 + 1) + 10 * 4609),
        (
            "cifar", [128, 256, 256], 100, [6400, 512],
            128 * (3 * 49 + 1) + 256 * (128 * 25 + 1) + 256 * (256 * 25 + 1)  # convolutions
            + 512 * (6400 + 1) + 100 * (512 + 1),
        ),
        ("shapes", [40], 4, [40], 40 * (256 + 1) + 4 * (40 + 1)),
    ],
)  # fmt: skip
def test_sizes_of_the_papers_nets(name, filters, classes, inputs, numbers):
    net = build_network(name, filters=filters, classes=classes)
    assert [m.in_features for m in net.modules() if isinstance(m, nn.Linear)] == inputs
    assert sum(parameter.numel() for parameter in net.parameters()) == numbers


def test_scaled():
    assert scaled([128, 256, 512], 1 / 8) == [16, 32, 64]
    assert scaled([20, 3], 0.26) == [5, 1]
    assert scaled([20, 3], 0.01) == [1, 1]
    assert scaled([3], 2 / 3) == [2]


# Batch norm


def test_prediction_norms_by_the_running_statistics():
    net, images = small_net("cifar-batchnorm"), images_of("cifar-batchnorm", 6)
    net(images_of("cifar-batchnorm", 8, 1))
    net.norm2.eval()
    before = copy.deepcopy(net)
    whole = predict(net, images, samples=0)
    one = torch.cat([predict(net, image[None], samples=0) for image in images], 1)
    torch.testing.assert_close(one, whole)  # an image's prediction does not depend on the others
    assert accuracy(net, images, whole[0].argmax(1), batch_size=4) == 1
    assert same_state(net, before)
    assert [name for name, module in net.named_modules() if not module.training] == ["norm2"]
    assert not torch.allclose(net(images).softmax(1), whole[0], atol=1e-3)


@pytest.mark.parametrize(
    ("name", "numbers"),  # weights and biases; those before a batch norm have no bias
    [
        ("mnist", 3 * (49 + 1) + 4 * (3 * 25 + 1)),
        ("cifar-batchnorm", 3 * 3 * 49 + 25 * (3 * 4 + 4 * 5 + 5 * 6)),
    ],
)
def test_the_penalty_is_of_the_convolutions_alone(name, numbers):
    net = small_net(name)
    for parameter in net.parameters():
        parameter.data.fill_(2.0)
    assert l2_penalty(net).item() == 4 * numbers


# Training


@pytest.mark.parametrize("name", ["mnist", "cifar-batchnorm", "shapes"])
def test_source_nets_learn_and_equal_themselves(name):
    settings = {"network": name, "filters": SMALL[name], "epochs": 6, "batch_size": 20}
    settings |= {"learning_rate": 0.01, "l2": 1e-4, "precision": "float32"}
    data = data_of(name)
    net, records, metrics = train_source_nets(data, settings, [1])[0]
    with torch.no_grad():
        right = net.eval()(data.test_images / 255).argmax(1) == data.test_targets
    assert metrics["test_accuracy"] == pytest.approx(right.float().mean().item())
    assert min(metrics["test_accuracy"], metrics["train_accuracy"]) > 0.9
    assert [record["step"] for record in records] == list(range(5, 35, 5))  # one an epoch
    assert records[-1]["cross_entropy"] < 0.3 * records[0]["cross_entropy"] < 1
    if name == "cifar-batchnorm":
        assert net.norm1.num_batches_tracked == 30
    again, *others = train_source_nets(data, settings, [1])[0]
    assert others == [records, metrics]
    assert same_state(again, net)


def test_a_file_of_ones_own_may_hold_data_classes(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n\n\n"
        "@dataclass\nclass Own:\n    size: int = 3\n"
    )
    assert find_class("thing", f"{file}:Own", {}, ["size"])().size == 3
