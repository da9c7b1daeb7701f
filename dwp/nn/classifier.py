"""The net of a few-shot run, plain or Bayesian, or an ensemble of plain ones."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from dwp.nn.bayesian import bayesianize
from dwp.nn.dropout import Dropout
from dwp.nn.networks import build_network
from dwp.nn.stack import stack
from dwp.priors.base import KernelPrior


def build_classifier(
    settings: Mapping[str, Any], classes: int, priors: Mapping[str, KernelPrior] | None
) -> nn.Module:
    """Build the net of a run: the stack (see `dwp.nn.stack`) of the `members` of an ensemble.

    For the arguments see `build_member`; `members` may be absent from the settings: one.
    """
    return stack(
        [build_member(settings, classes, priors) for _ in range(settings.get("members", 1))]
    )


def build_member(
    settings: Mapping[str, Any],
    classes: int,
    priors: Mapping[str, KernelPrior] | None,
    initialise: Callable[[nn.Module], object] | None = None,
) -> nn.Module:
    """Build a net by itself.

    Args:
        settings: `network`, `filters`, `log_variance`; if wanted, `posterior` ("codes": over the
            kernels' codes under VAE priors, else "weights") and the rate of `dropout` before the
            classifier.
        classes: number of classes.
        priors: of the layers to be Bayesian, by name; their kind decides the kind of posterior.
            None: a plain net.
        initialise: sets the weights of the net before its layers turn Bayesian.
    """
    net = build_network(settings["network"], filters=settings["filters"], classes=classes)
    if "dropout" in settings:
        net.classifier = nn.Sequential(Dropout(settings["dropout"]), net.classifier)
    if initialise is not None:
        initialise(net)
    if priors is not None:
        codes = "codes" if settings.get("posterior") == "codes" else None
        bayesianize(net, priors, posterior=codes, log_variance=settings["log_variance"])
    return net


def member_places(run: tuple[int, int], members: int) -> list[tuple[int, ...]]:
    """Return what the seeds of a run's members are made of; the first is the run by itself."""
    return [run, *((*run, member) for member in range(1, members))]
