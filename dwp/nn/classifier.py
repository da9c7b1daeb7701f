"""The net of a few-shot run, plain or Bayesian, or an ensemble of plain ones."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from dwp.nn.bayesian import make_bayesian
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
    settings: Mapping[str, Any], classes: int, priors: Mapping[str, KernelPrior] | None
) -> nn.Module:
    """Build a net by itself; its weights are not those of a run yet.

    Args:
        settings: `network`, `filters`, `log_variance`; for a plain net, if there is to be any, the
            rate of `dropout` before its classifier.
        classes: number of classes.
        priors: of the layers to be Bayesian, by name; their kind decides the kind of posterior.
            None: a plain net.
    """
    net = build_network(settings["network"], filters=settings["filters"], classes=classes)
    if "dropout" in settings:
        net.classifier = nn.Sequential(Dropout(settings["dropout"]), net.classifier)
    if priors is not None:
        for name, prior in priors.items():
            make_bayesian(
                net,
                [name],
                posterior=prior.posterior_kind,
                log_variance=settings["log_variance"],
            )
    return net
