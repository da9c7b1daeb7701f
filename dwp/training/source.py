"""Source nets: where the kernels come from."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dwp.data.tensors import ImageTensors, to_unit
from dwp.devices import products
from dwp.fast import graphs, visible
from dwp.isolated import isolated, seed_globally
from dwp.nn.elbo import cross_entropy
from dwp.nn.networks import build_network, initialise_xavier
from dwp.nn.predict import evaluating
from dwp.nn.stack import OneAfterAnother, stack, unstack
from dwp.seeds import generator
from dwp.study.settings import SourceTraining, validated
from dwp.training.loop import Records, by_epochs, one_by_one, optimise


def l2_penalty(net: nn.Module, runs: int = 1, kind: type[nn.Module] = nn.Conv2d) -> Tensor:
    """Return the sum of squares of all weights and biases of the convolutions, by run (R,).

    Args:
        net: a net, or a stack of R of them (see `dwp.nn.stack`).
        runs: the number R of runs.
        kind: or of the layers of another kind.
    """
    parameters = [p for m in net.modules() if isinstance(m, kind) for p in m.parameters()]
    squares = [parameter.square().unflatten(0, (runs, -1)) for parameter in parameters]
    return sum(values.sum(tuple(range(1, values.dim()))) for values in squares)


def logits_of_runs(stacked: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Return the logits (R, batch, classes) of a stack of nets for images (R, batch, c, h, w)."""
    inputs = images.transpose(0, 1).flatten(1, 2)  # (batch, R * c, h, w)
    logits = stacked(inputs.to(memory_format=torch.channels_last)).float()
    return logits.unflatten(1, (len(images), -1)).transpose(0, 1)


def accuracy(net: nn.Module, images: Tensor, targets: Tensor, batch_size: int = 500) -> float:
    """Return the fraction of images (n, c, h, w) in [0, 1] that the net classifies right."""
    with evaluating(net):
        right = in_batches(net, images, batch_size).argmax(1) == targets
    return int(right.sum()) / len(images)


@torch.no_grad()
def in_batches(
    function: Callable[[Tensor], Tensor], images: Tensor, batch_size: int = 250
) -> Tensor:
    """Return the outputs (n, ...) of a function of images (n, ...), computed in batches."""
    return torch.cat([function(batch) for batch in images.split(batch_size)])


def nets_together(settings: SourceTraining, device: str) -> int:
    """Return how many source nets to train as one stack.

    A wide net fills a GPU by itself; a narrow net leaves most of it idle. So a GPU gets as many
    nets as have half the weights of the paper's (256 and 512 filters), a CPU one. On an H200 a step
    took 0.99 ms a net for one of the paper's nets, 1.23 ms for two together; for nets of 64 and 64
    filters 0.30 ms a net for one, 0.20 for four, 0.14 for eight.
    """
    pairs = zip([1, *settings.filters], settings.filters, strict=False)
    return 1 if device == "cpu" else max(1, 65536 // max(a * b for a, b in pairs))


@isolated()
def train_source_nets(
    data: ImageTensors,
    settings: SourceTraining | Mapping[str, Any],
    seeds: Sequence[int],
    *,
    device: str = "cpu",
    **options: Any,
) -> list[tuple[nn.Module, Records, dict[str, float]]]:
    """Train source nets, all together as one stack: mean cross-entropy plus L2 on convolutions.

    A net's result does not depend on the others but for rounding. Nets that cannot compute side by
    side (see `dwp.nn.stack`) are trained one after another.

    Args:
        data: the source data set, best on the device already if more calls follow.
        settings: of the training.
        seeds: for each net, what seeds its initial weights, its batch order and its noise.
        device: where to train.
        **options: how to keep and resume the training of all nets, and its name: `checkpoint`,
            `checkpoint_seconds`, `deadline`, `identity` and `label` of
            `dwp.training.loop.optimise`.

    Returns:
        For each seed the net, the training records, and its final accuracies (fractions).

    Raises:
        UserError: a setting does not fit, or a loss is not finite.
        OutOfTime: the deadline has passed.
    """
    settings, data = validated(SourceTraining, settings), data.to(device)
    nets = []
    for seed in seeds:
        seed_globally("source", seed)
        net = build_network(settings.network, filters=settings.filters, classes=data.classes)
        initialise_xavier(net, generator("source", seed))
        nets.append(net.to(device, memory_format=torch.channels_last))
    stacked = stack(nets)
    if isinstance(stacked, OneAfterAnother):
        train = functools.partial(train_source_nets, data, settings, device=device)
        return one_by_one(train, seeds, options)
    stacked.to(memory_format=torch.channels_last)
    images, targets = visible(nets[0], to_unit(data.train_images)), data.train_targets
    forward = graphs.fused(stacked) if len(nets) == 1 else stacked

    def objective(batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        data = cross_entropy(logits_of_runs(forward, images[batch]), targets[batch])
        penalty = l2_penalty(stacked, len(nets))
        scalars = {"cross_entropy": data.detach(), "l2": penalty.detach()}
        loss = data + settings.l2 * penalty
        if settings.l2_classifier:
            loss = loss + settings.l2_classifier * l2_penalty(stacked, len(nets), nn.Linear)
        return loss, scalars

    with products(settings.precision, device):
        records = optimise(
            stacked,
            objective,
            seeds=[("source", seed) for seed in seeds],
            names=[f"seed {seed}" for seed in seeds],
            **by_epochs(settings, len(images)),
            **options,
        )
    tests = to_unit(data.test_images)[..., : images.shape[2], : images.shape[3]]
    metrics = []
    for net, state in zip(nets, unstack(stacked, len(nets)), strict=True):
        net.load_state_dict(state)
        train = accuracy(net, images, targets)
        test = accuracy(net, tests, data.test_targets)
        metrics.append({"train_accuracy": train, "test_accuracy": test})
    return list(zip(nets, records, metrics, strict=True))
