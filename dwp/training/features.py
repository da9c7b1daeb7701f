"""Random feature extraction: a classifier on convolutions that stay as they were initialised."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dwp.data.tensors import ImageTensors, to_unit
from dwp.fast import visible
from dwp.isolated import isolated, seed_globally
from dwp.nn.init import initialise
from dwp.nn.networks import build_network, scaled
from dwp.priors import KernelPrior
from dwp.seeds import generator
from dwp.study.settings import FeatureTraining, validated
from dwp.training.loop import by_epochs, optimise
from dwp.training.source import in_batches

_MOST_FEATURES = 2**32  # bytes of features to keep; more are computed again at every step


def trained_state(net: nn.Module) -> dict[str, Tensor]:
    """Return the state of a net but for its frozen parameters."""
    frozen = {name for name, parameter in net.named_parameters() if not parameter.requires_grad}
    return {name: value for name, value in net.state_dict().items() if name not in frozen}


@isolated()
def train_on_features(
    data: ImageTensors,
    settings: FeatureTraining | Mapping[str, Any],
    *,
    scale: float,
    seed: int,
    init: Mapping[str, KernelPrior] | None,
    device: str = "cpu",
    most_features: int = _MOST_FEATURES,
    **options: Any,
) -> tuple[nn.Module, dict[str, float]]:
    """Train all of a net but its convolutions on the whole training set (mean cross-entropy).

    If nothing before the classifier is trained or random, the features of all images are computed
    once. Batch norms are trained and dropout draws; then they are computed at every step.

    Args:
        data: the data set.
        settings: of the training; `filters` are those at scale 1.
        scale: what the numbers of filters are multiplied by.
        seed: seeds the initial weights, the batch order and dropout.
        init: what the kernels of named layers are drawn from; None: Xavier-normal.
        device: where to train.
        most_features: bytes that the training set's features may take to be computed once.
        **options: how to keep and resume the training, and its name: `checkpoint`,
            `checkpoint_seconds`, `deadline`, `identity` and `label` of
            `dwp.training.loop.optimise`.

    Returns:
        The net, and `<part>_accuracy` (a fraction) and `<part>_nll` (mean nats) of the training and
        the test part.
    """
    settings = validated(FeatureTraining, settings)
    filters = scaled(settings.filters, scale)
    seed_globally("features", seed)
    net = build_network(settings.network, filters=filters, classes=data.classes)
    initialise(net, init, generator("features", "initial", seed))
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            layer.requires_grad_(False)
    net.to(device, memory_format=torch.channels_last)
    images, tests = (to_unit(part).to(device) for part in (data.train_images, data.test_images))
    images = visible(net, images)
    tests = tests[..., : images.shape[2], : images.shape[3]]
    targets = data.train_targets.to(device)

    part, trains = net, [name for name, p in net.named_parameters() if p.requires_grad]
    if all(name.startswith("classifier.") for name in trains):
        probe = copy.deepcopy(net)
        trained, tested = (in_batches(probe.train(m).features, images[:2]) for m in (True, False))
        size = len(images) * tested[0].numel() * tested.element_size()
        if torch.equal(trained, tested) and size <= most_features:
            net.eval()
            images, tests = (in_batches(net.features, each) for each in (images, tests))
            part = net.classifier

    def objective(batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss = F.cross_entropy(part(images[batch[0]]), targets[batch[0]])
        return loss, {"cross_entropy": loss.detach()}

    net.train()
    schedule = by_epochs(settings, len(images))
    optimise(part, objective, seeds=[("features", seed)], **schedule, **options)
    net.eval()
    metrics = {}
    tested = {"train": (images, targets), "test": (tests, data.test_targets.to(device))}
    for name, (inputs, truth) in tested.items():
        logits = in_batches(part, inputs)
        metrics[f"{name}_accuracy"] = float((logits.argmax(1) == truth).double().mean())
        metrics[f"{name}_nll"] = float(F.cross_entropy(logits.double(), truth))
    return net, metrics
