"""The test of a few-shot run."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dwp.data.subsets import few_shot_subset
from dwp.data.tensors import ImageTensors, to_unit
from dwp.devices import products
from dwp.evaluation.classifier import evaluate_classifier
from dwp.isolated import isolated, seed_globally
from dwp.priors import KernelPrior
from dwp.seeds import generator
from dwp.study.settings import RunSettings, validated
from dwp.training.classification import build_classifier, estimation_of, member_seeds


@isolated()
def evaluate_run(
    state: Mapping[str, Tensor],
    run: tuple[int, int],
    target: ImageTensors,
    source: ImageTensors,
    *,
    settings: RunSettings | Mapping[str, Any],
    n: int,
    priors: Mapping[str, KernelPrior] | None,
    device: str = "cpu",
) -> dict[str, float | None]:
    """Return the metrics of a run that `train_classifiers` trained (see `evaluate_classifier`).

    Args:
        state: of the net. If it has NaN, as that of a run that diverged, all metrics are None.
        run: its split and seed.
        target: the target data set.
        source: out-of-distribution images: its test images.
        settings: of the training.
        n: training images.
        priors: of the Bayesian layers, by name; None: a plain net.
        device: where to compute.
    """
    settings = validated(RunSettings, settings)
    seed_globally("evaluation", *run)
    net = build_classifier(settings, target.classes, priors)
    net.load_state_dict({name: tensor.nan_to_num() for name, tensor in state.items()})
    net.to(device, memory_format=torch.channels_last)
    images, _ = few_shot_subset(target.train_targets, n, run[0], settings.validation)
    seeds = member_seeds(run, settings.members)
    with products("float32", device):
        metrics = evaluate_classifier(
            net,
            train=(to_unit(target.train_images[images]), target.train_targets[images]),
            test=(to_unit(target.test_images), target.test_targets),
            out_of_domain=to_unit(source.test_images),
            samples=settings.samples if priors else 0,
            generator=[generator("evaluation", *own, device=device) for own in seeds],
            members=settings.members,
            precision=settings.test_precision,
            estimation=estimation_of(settings),
        )
    diverged = any(tensor.isnan().any() for tensor in state.values())
    return dict.fromkeys(metrics) if diverged else dict(metrics)
