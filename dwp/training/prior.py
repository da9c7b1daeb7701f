"""Fitting priors to kernels."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dwp.devices import products
from dwp.errors import UserError
from dwp.kernels import check_kernels
from dwp.priors import KernelPrior, prior_class
from dwp.seeds import generator
from dwp.training.loop import optimise


def fit_prior(
    kind: str,
    kernel_size: int,
    kernels: Tensor | None,
    arguments: Mapping[str, Any],
    training: Mapping[str, Any],
    *,
    device: str = "cpu",
    **options: Any,
) -> tuple[KernelPrior, list[dict[str, float]]]:
    """Fit a prior of some kind to kernels: by its own `fit`, or by gradient steps on its loss.

    Args:
        kind: a key of `dwp.priors.KINDS`.
        kernel_size: k.
        kernels: (n, k, k) or (n, 1, k, k); None for kinds that fit nothing.
        arguments: the hyperparameters of the kind (see `dwp.priors.KINDS`).
        training: `epochs`, `batch_size`, `learning_rate`, `seed`; to fit a random part of the
            kernels, `kernels` (how many); if not float32, `precision` (see
            `dwp.devices.products`). Unused by kinds that are not trained by gradient steps.
        device: where to train.
        **options: how to keep and resume the training, and its name: `checkpoint`,
            `checkpoint_seconds`, `deadline`, `identity` and `label` of
            `dwp.training.loop.optimise`.

    Returns:
        The frozen prior and the training records (loss in nats per kernel).

    Raises:
        UserError: the kind is unknown, or the kernels do not suit it or are too few.
        OutOfTime: the deadline has passed.
    """
    kind_class = prior_class(kind)
    if not kind_class.needs_kernels:
        return kind_class(kernel_size), []
    if kernels is None:
        raise UserError(f"prior kind '{kind}' is fitted to kernels, found none")
    kernels = check_kernels(kernels, kernel_size)
    if not kind_class.trained:
        return kind_class.fit(kernels, **arguments), []
    seed = training["seed"]
    if (most := training.get("kernels")) is not None:
        if most > len(kernels):
            raise UserError(
                f"training.kernels: expected at most {len(kernels)}, found {most}; lower it, or "
                "collect more kernels"
            )
        order = torch.randperm(len(kernels), generator=generator("prior", "kernels", seed))
        kernels = kernels[order[:most]]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator("prior", "weights", seed).initial_seed())
        prior = kind_class(kernel_size, **arguments)
    prior.prepare(kernels)
    prior.to(device)
    kernels = kernels.to(device)
    noise = generator("prior", "noise", seed, device=device)

    def objective(batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss = prior.loss(kernels[batch[0]], noise).mean()
        return loss, {"loss": loss.detach()}

    per_epoch = -(-len(kernels) // training["batch_size"])
    with products(training.get("precision", "float32"), device):
        (records,) = optimise(
            prior,
            objective,
            n=len(kernels),
            batch_size=training["batch_size"],
            steps=training["epochs"] * per_epoch,
            learning_rate=training["learning_rate"],
            seeds=[("prior", seed)],
            noise=[noise],
            record_every=per_epoch,
            **{"label": "prior", **options},
        )
    return prior.requires_grad_(False), records
