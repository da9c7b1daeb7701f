"""Fitting priors to kernels, as studies do."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dwp.devices import products
from dwp.errors import UserError
from dwp.isolated import isolated, seed_globally
from dwp.kernels import check_kernels, norms, pruning_threshold
from dwp.priors import KernelPrior, prior_class
from dwp.seeds import generator as make_generator
from dwp.training.loop import Records, by_epochs, optimise


@isolated()
def fit_prior(
    kind: str,
    kernel_size: int,
    kernels: Tensor | None,
    arguments: Mapping[str, Any],
    training: Any,
    *,
    device: str = "cpu",
    **options: Any,
) -> tuple[KernelPrior, Records]:
    """Fit a prior to kernels as a study does: by its own `fit`, or by gradient steps on its loss.

    Args:
        kind: a key of `dwp.priors.KINDS`.
        kernel_size: k.
        kernels: (n, k, k) or (n, 1, k, k); None for kinds that fit nothing.
        arguments: the kind's hyperparameters.
        training: how to train a kind that is trained by gradient steps, as
            `dwp.study.settings.FitTraining` or a mapping; None: the defaults.
        device: where to train.
        **options: how to keep and resume the training, and how to show it: `checkpoint`,
            `checkpoint_seconds`, `deadline`, `identity`, `label` and `progress` of
            `dwp.training.loop.optimise`.

    Returns:
        The frozen prior and the training records (loss in nats per kernel).

    Raises:
        UserError: the kind is unknown, a setting does not fit, or the kernels do not suit the kind
            or are too few.
        OutOfTime: the deadline has passed.
    """
    kind_class = prior_class(kind)
    if not kind_class.needs_kernels:
        return kind_class(kernel_size), []
    kernels = check_kernels(kernels, kernel_size)
    if not kind_class.trained:
        return kind_class.fit(kernels, **arguments), []
    if training is None or isinstance(training, Mapping):
        from dwp.study.settings import FitTraining, validated  # pydantic: the core has none

        training = validated(FitTraining, training or {})
    if training.quantile:
        own = norms(kernels)
        kernels = kernels[own >= pruning_threshold(own, training.quantile)]
    seed, count = training.seed, training.kernels or len(kernels)
    if count > len(kernels):
        raise UserError(
            f"training.kernels: expected at most {len(kernels)}, found {count}; lower it, or "
            "collect more kernels"
        )
    if training.kernels is not None:
        order = torch.randperm(len(kernels), generator=make_generator("prior", "kernels", seed))
        kernels = kernels[order[:count]]
    seed_globally("prior", "weights", seed)
    prior = kind_class(kernel_size, **arguments)
    prior.prepare(kernels)
    prior.to(device)
    kernels = kernels.to(device)
    noise = make_generator("prior", "noise", seed, device=device)

    def objective(batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss = prior.loss(kernels[batch[0]], noise).mean()
        return loss, {"loss": loss.detach()}

    with products(training.precision, device):
        schedule = by_epochs(training, len(kernels))
        (records,) = optimise(
            prior, objective, seeds=[("prior", seed)], noise=[noise], **schedule, **options
        )
    return prior.requires_grad_(False), records
