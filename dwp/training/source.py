"""Source nets: where the kernels come from."""

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dwp.data.tensors import ImageTensors, to_unit
from dwp.devices import products
from dwp.fast import graphs
from dwp.nn.modes import evaluating
from dwp.nn.networks import build_network, initialise_xavier
from dwp.nn.stack import stack, unstack
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


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy (R,) of logits (R, batch, classes), in nats an example."""
    values = F.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="none")
    return values.view(targets.shape).mean(-1)


def accuracy(net: nn.Module, images: Tensor, targets: Tensor, batch_size: int = 500) -> float:
    """Return the fraction of images (n, c, h, w) in [0, 1] that the net classifies right."""
    with torch.no_grad(), evaluating(net):
        right = sum(
            (net(x).argmax(1) == y).sum()
            for x, y in zip(images.split(batch_size), targets.split(batch_size), strict=True)
        )
    return int(right) / len(images)


def nets_together(settings: Mapping[str, Any], device: str) -> int:
    """Return how many source nets to train as one stack.

    A wide net fills a GPU by itself; a narrow net leaves most of it idle. So a GPU gets as many
    nets as have half the weights of the paper's (256 and 512 filters), a CPU one. On an H200 a step
    took 0.99 ms a net for one of the paper's nets, 1.23 ms for two together; for nets of 64 and 64
    filters 0.30 ms a net for one, 0.20 for four, 0.14 for eight.

    Args:
        settings: `filters`.
        device: where to train.
    """
    filters = settings["filters"]
    widest = max(map(operator.mul, [1, *filters], filters))
    return 1 if device == "cpu" else max(1, 65536 // widest)


def train_source_nets(
    data: ImageTensors,
    settings: Mapping[str, Any],
    seeds: Sequence[int],
    *,
    device: str = "cpu",
    **options: Any,
) -> list[tuple[nn.Module, list[dict[str, float]], dict[str, float]]]:
    """Train source nets, all together as one stack: mean cross-entropy plus L2 on convolutions.

    A net's result does not depend on the others but for rounding.

    Args:
        data: the source data set, best on the device already if more calls follow.
        settings: `network`, `filters`, `epochs`, `batch_size`, `learning_rate`, `l2` (weight of
            the sum of squares), `precision` (see `dwp.devices.products`).
        seeds: for each net, what seeds its initial weights and its batch order.
        device: where to train.
        **options: how to keep and resume the training of all nets, and its name: `checkpoint`,
            `checkpoint_seconds`, `deadline`, `identity` and `label` of
            `dwp.training.loop.optimise`.

    Returns:
        For each seed the net, the training records, and its final accuracies (fractions).

    Raises:
        UserError: a loss is not finite.
        OutOfTime: the deadline has passed.
    """
    data = data.to(device)
    runs, nets = len(seeds), []
    for seed in seeds:
        net = build_network(settings["network"], filters=settings["filters"], classes=data.classes)
        initialise_xavier(net, generator("source", seed))
        nets.append(net.to(device, memory_format=torch.channels_last))
    stacked = stack(nets).to(memory_format=torch.channels_last)
    images, targets = to_unit(data.train_images), data.train_targets
    forward = graphs.fused(stacked) if runs == 1 else stacked

    def objective(batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        inputs = images[batch].transpose(0, 1).flatten(1, 2)  # (batch, R * c, h, w)
        logits = forward(inputs.to(memory_format=torch.channels_last)).float()
        logits = logits.unflatten(1, (runs, -1)).transpose(0, 1)  # (R, batch, classes)
        data = cross_entropy(logits, targets[batch])
        penalty = l2_penalty(stacked, runs)
        loss = data + settings["l2"] * penalty
        return loss, {"cross_entropy": data.detach(), "l2": penalty.detach()}

    per_epoch = -(-len(images) // settings["batch_size"])
    with products(settings["precision"], device):
        records = optimise(
            stacked,
            objective,
            n=len(images),
            batch_size=settings["batch_size"],
            steps=settings["epochs"] * per_epoch,
            learning_rate=settings["learning_rate"],
            seeds=[("source", seed) for seed in seeds],
            record_every=per_epoch,
            **{"label": "source nets", **options},
            names=[f"seed {seed}" for seed in seeds],
        )
    test = to_unit(data.test_images), data.test_targets
    results = []
    for net, state, history in zip(nets, unstack(stacked, runs), records, strict=True):
        net.load_state_dict(state)
        metrics = {
            "train_accuracy": accuracy(net, images, targets),
            "test_accuracy": accuracy(net, *test),
        }
        results.append((net, history, metrics))
    return results
