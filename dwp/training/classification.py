"""Training a net on few examples under a prior over its kernels."""

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dwp.data.subsets import few_shot_subset
from dwp.data.tensors import ImageTensors, to_unit
from dwp.nn.bayesian import bayesian_layers, initialise_from, kl_by_layer
from dwp.nn.classifier import build_classifier
from dwp.nn.networks import initialise_xavier
from dwp.nn.predict import predict
from dwp.priors import KernelPrior
from dwp.seeds import generator
from dwp.training.loop import optimise
from dwp.training.source import l2_penalty


def bayesian_objective(
    logits: Tensor, targets: Tensor, n: int, kl: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """Return the loss N/B * (summed cross-entropy) + sum of the layers' KL, and its first term.

    Both are in nats; their negative is an unbiased estimate of the variational lower bound.

    Args:
        logits: (batch, classes).
        targets: (batch,).
        n: size N of the training set.
        kl: of each Bayesian layer, in nats.
    """
    data = n / len(targets) * F.cross_entropy(logits, targets, reduction="sum")
    return data + sum(kl.values()), data


def train_classifier(
    target: ImageTensors,
    settings: Mapping[str, Any],
    *,
    n: int,
    split: int,
    seed: int,
    priors: Mapping[str, KernelPrior] | None,
    init: Mapping[str, KernelPrior] | None,
    device: str = "cpu",
    checkpoint: str | os.PathLike | None = None,
    identity: Mapping[str, Any] | None = None,
    label: str = "classifier",
) -> tuple[nn.Module, list[dict[str, float]]]:
    """Train one net on a stratified subset of the target data set.

    Runs that share `init`, `split` and `seed` start from the same weights and see the same
    images, whatever their prior.

    Args:
        target: the target data set.
        settings: `network`, `filters`, `epochs`, `batch_size`, `learning_rate`, `log_variance`,
            `kernels_per_step`, `validation`, `samples`, `evaluate_every` (epochs), `l2` (for a net
            without priors).
        n: training examples.
        split: which subset of the training set.
        seed: of the initial weights, the batches and the noise.
        priors: of the layers to be Bayesian, by name; None trains a deterministic net on the mean
            cross-entropy plus `l2` times the sum of squares of the convolutions.
        init: what the kernels of named layers start from; None: Xavier-normal.
        device: where to train.
        checkpoint: see `dwp.training.loop.optimise`.
        identity: see `dwp.training.loop.optimise`.
        label: name shown with the progress.

    Returns:
        The net, and the records over time: the terms of the loss, and `validation_accuracy` and
        `validation_nll` (mean nats) of the ensemble of weight samples.
    """
    classes = int(target.train_targets.max()) + 1
    net = build_classifier(settings, classes, priors)
    start = generator("classification", "initial", split, seed)
    initialise_xavier(net, start)
    if init is not None:
        initialise_from(net, init, start)
    net.to(device, memory_format=torch.channels_last)
    if priors is not None:
        priors = {name: prior.to(device) for name, prior in priors.items()}

    chosen, held_out = few_shot_subset(target.train_targets, n, split, settings["validation"])
    images = to_unit(target.train_images[chosen])
    images = images.to(device, memory_format=torch.channels_last)
    targets = target.train_targets[chosen].to(device)
    noise = generator("classification", "noise", split, seed, device=device)
    for layer in bayesian_layers(net).values():
        layer.generator = noise

    def objective(batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        logits = net(images[batch])
        if priors is None:
            data = F.cross_entropy(logits, targets[batch])
            return data + settings["l2"] * l2_penalty(net), {"train_nll": data.detach()}
        kl = kl_by_layer(net, priors, noise, settings["kernels_per_step"])
        loss, data = bayesian_objective(logits, targets[batch], n, kl)
        scalars = {f"kl_{name}": value.detach() for name, value in kl.items()}
        return loss, {"loss": loss.detach(), "train_nll": data.detach() / n, **scalars}

    validation = to_unit(target.train_images[held_out])
    truth = target.train_targets[held_out]
    samples = settings["samples"] if priors is not None else 0

    def evaluate(step: int) -> dict[str, float]:
        draws = generator("classification", "validation", split, seed, step, device=device)
        probabilities = predict(net, validation, samples=samples, generator=draws).mean(0)
        return {
            "validation_accuracy": float((probabilities.argmax(1) == truth).float().mean()),
            "validation_nll": float(F.nll_loss(probabilities.clamp_min(1e-30).log(), truth)),
        }

    per_epoch = -(-n // settings["batch_size"])
    records = optimise(
        net,
        objective,
        n=n,
        batch_size=settings["batch_size"],
        steps=settings["epochs"] * per_epoch,
        learning_rate=settings["learning_rate"],
        seed=("classification", split, seed),
        noise=noise,
        record_every=settings["evaluate_every"] * per_epoch,
        evaluate=evaluate,
        evaluate_every=settings["evaluate_every"] * per_epoch,
        checkpoint=checkpoint,
        identity=identity,
        label=label,
    )
    return net, records
