"""Source nets: where the kernels come from."""

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dwp.data.tensors import ImageTensors, to_unit
from dwp.devices import products
from dwp.nn.bayesian import prediction
from dwp.nn.networks import build_network, initialise_xavier
from dwp.seeds import generator
from dwp.training.loop import optimise


def l2_penalty(net: nn.Module, runs: int = 1) -> Tensor:
    """Return the sum of squares of all convolution weights and biases of each run's net (R,).

    Args:
        net: a net, or a stack of R of them (see `dwp.nn.stack`).
        runs: the number R of runs.
    """
    squares = [
        parameter.square().unflatten(0, (runs, -1))
        for module in net.modules()
        if isinstance(module, nn.Conv2d)
        for parameter in module.parameters()
    ]
    return sum(values.sum(tuple(range(1, values.dim()))) for values in squares)


def accuracy(net: nn.Module, images: Tensor, targets: Tensor, batch_size: int = 500) -> float:
    """Return the fraction of images (n, c, h, w) in [0, 1] that the net classifies right."""
    with torch.no_grad(), prediction(net, sampling=False):
        right = sum(
            (net(x).argmax(1) == y).sum().item()
            for x, y in zip(images.split(batch_size), targets.split(batch_size), strict=True)
        )
    return right / len(images)


def train_source_net(
    data: ImageTensors,
    settings: Mapping[str, Any],
    seed: int,
    *,
    device: str = "cpu",
    checkpoint: str | os.PathLike | None = None,
    identity: Mapping[str, Any] | None = None,
) -> tuple[nn.Module, list[dict[str, float]], dict[str, float]]:
    """Train one source net: mean cross-entropy plus L2 on the convolutions.

    Args:
        data: the source data set.
        settings: `network`, `filters`, `epochs`, `batch_size`, `learning_rate`, `l2` (weight of
            the sum of squares), `precision` (see `dwp.devices.products`).
        seed: seeds the initial weights and the batch order.
        device: where to train.
        checkpoint: see `dwp.training.loop.optimise`.
        identity: see `dwp.training.loop.optimise`.

    Returns:
        The net, the training records, and its final accuracies (fractions).
    """
    classes = int(data.train_targets.max()) + 1
    net = build_network(settings["network"], filters=settings["filters"], classes=classes)
    initialise_xavier(net, generator("source", seed))
    net.to(device, memory_format=torch.channels_last)
    images = to_unit(data.train_images).to(device, memory_format=torch.channels_last)
    targets = data.train_targets.to(device)

    def objective(batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        logits = net(images[batch[0]])
        cross_entropy = F.cross_entropy(logits.float(), targets[batch[0]])
        penalty = l2_penalty(net)
        loss = cross_entropy + settings["l2"] * penalty
        return loss, {"cross_entropy": cross_entropy.detach(), "l2": penalty.detach()}

    per_epoch = -(-len(images) // settings["batch_size"])
    with products(settings["precision"], device):
        (records,) = optimise(
            net,
            objective,
            n=len(images),
            batch_size=settings["batch_size"],
            steps=settings["epochs"] * per_epoch,
            learning_rate=settings["learning_rate"],
            seeds=[("source", seed)],
            record_every=per_epoch,
            checkpoint=checkpoint,
            identity=identity,
            label=f"source net {seed}",
        )
    metrics = {
        "train_accuracy": accuracy(net, images, targets),
        "test_accuracy": accuracy(
            net, to_unit(data.test_images).to(device), data.test_targets.to(device)
        ),
    }
    return net, records, metrics
