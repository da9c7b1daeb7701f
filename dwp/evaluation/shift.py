"""Predictions of rotated test images: uncertainty under a shift of the distribution."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from dwp.data.tensors import ImageTensors, to_unit
from dwp.evaluation.metrics import classification_metrics
from dwp.isolated import isolated
from dwp.nn.predict import predict
from dwp.priors import KernelPrior
from dwp.seeds import generator
from dwp.study.settings import RunSettings
from dwp.training.classification import build_classifier, member_seeds

METRICS = ("accuracy", "nll", "ece", "entropy")
"""Of the ensemble of weight samples: fractions, and nats an image (`nll`, mean `entropy`)."""

MOST = 2000
"""Test images that are rotated; of more every second, third ... so that no more are left."""


def rotate(images: Tensor, degrees: float) -> Tensor:
    """Return images (n, c, h, w) rotated counterclockwise about their centre, zeros around them."""
    angle = math.radians(degrees)
    turn = [[math.cos(angle), -math.sin(angle), 0.0], [math.sin(angle), math.cos(angle), 0.0]]
    maps = torch.tensor(turn, dtype=images.dtype, device=images.device).expand(len(images), 2, 3)
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


@isolated()
def metrics_by_angle(
    state: Mapping[str, Tensor],
    run: tuple[int, int],
    target: ImageTensors,
    angles: Sequence[float],
    *,
    settings: RunSettings,
    priors: Mapping[str, KernelPrior] | None,
    device: str = "cpu",
) -> list[dict[str, float]]:
    """Return, for each angle, `METRICS` of a trained net on rotated test images, at most `MOST`.

    Args:
        state: of the net.
        run: its split and seed.
        target: the target data set.
        angles: in degrees.
        settings: of the training.
        priors: of the Bayesian layers, by name; None: a plain net.
        device: where to compute.
    """
    net = build_classifier(settings, target.classes, priors)
    net.load_state_dict(state)
    net.to(device, memory_format=torch.channels_last)
    found, seeds = [], member_seeds(run, settings.members)
    every = -(-len(target.test_images) // MOST)
    images, truth = to_unit(target.test_images[::every]), target.test_targets[::every]
    for angle in angles:
        probabilities = predict(
            net,
            rotate(images, angle),
            samples=settings.samples if priors else 0,
            generator=[generator("shift", *own, device=device) for own in seeds],
            members=settings.members,
            precision=settings.test_precision,
        ).mean(0)
        metrics = classification_metrics(probabilities, truth)
        metrics["entropy"] = float(torch.special.entr(probabilities).sum(1).mean())
        found.append({name: metrics[name] for name in METRICS})
    return found
