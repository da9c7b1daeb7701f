"""Convergence: how fast a whole net trains from where its kernels start."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dwp.data.tensors import ImageTensors, to_unit
from dwp.errors import UserError
from dwp.fast import visible
from dwp.isolated import isolated, seed_globally
from dwp.nn.image_vae import ImageVAE
from dwp.nn.init import initialise
from dwp.nn.networks import build_network
from dwp.priors import KernelPrior
from dwp.seeds import generator
from dwp.study.settings import ConvergenceTraining, validated
from dwp.training.loop import Records, optimise
from dwp.training.source import accuracy

_DRAWN = 8  # images of a snapshot


@isolated()
def train_from(
    data: ImageTensors,
    settings: ConvergenceTraining | Mapping[str, Any],
    *,
    seed: int,
    init: Mapping[str, KernelPrior] | None,
    device: str = "cpu",
    **options: Any,
) -> tuple[nn.Module, Records, Tensor | None]:
    """Train a net, nothing frozen, and evaluate it on the test images on the way, from step 0.

    Args:
        data: the data set.
        settings: of the training, with the `network` of a classifier.
        seed: seeds the initial weights, the batch order and the noise.
        init: what the kernels of named layers are drawn from, those of an image VAE as
            `ImageVAE.kernels_of` has it; None: Xavier-normal.
        device: where to train.
        **options: how to keep and resume the training, and its name: `checkpoint`,
            `checkpoint_seconds`, `deadline`, `identity` and `label` of
            `dwp.training.loop.optimise`.

    Returns:
        The net; records with `step` and `test_accuracy` (a fraction) or `test_elbo` (mean nats an
        image); and, of an image VAE, mean images decoded from codes that are the same for all
        seeds and inits (sample_steps, 8, h, w).

    Raises:
        UserError: a setting does not fit, a loss is not finite, or an image VAE is given other
            images than 28 x 28 grey.
        OutOfTime: the deadline has passed.
    """
    settings = validated(ConvergenceTraining, settings)
    images, tests = (to_unit(part).to(device) for part in (data.train_images, data.test_images))
    targets, truth = data.train_targets.to(device), data.test_targets.to(device)
    noise = generator("convergence", "noise", seed, device=device)
    drawing, drawn_steps = settings.kind == "image-vae", settings.sample_steps or []
    seed_globally("convergence", seed)
    if drawing:
        shape = tuple(images.shape[1:])
        if shape != (1, 28, 28):
            raise UserError(f"image-vae: expected images of shape (1, 28, 28), found {shape}")
        net: nn.Module = ImageVAE(settings.filters, settings.latent)
        init = init and {layer: init[like] for layer, like in net.kernels_of.items()}
        # a buffer, so that a checkpoint holds what has been drawn
        net.register_buffer("drawn", torch.zeros(len(drawn_steps), _DRAWN, *shape[1:]))
    else:
        net = build_network(settings.network or "", filters=settings.filters, classes=data.classes)
    initialise(net, init, generator("convergence", "initial", seed))
    net.to(device, memory_format=torch.channels_last)
    if not drawing:
        images = visible(net, images)
        tests = tests[..., : images.shape[2], : images.shape[3]]

    def objective(batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        (chosen,) = batch
        if drawing:
            return -net.elbo(images[chosen], noise).mean(), {}
        return F.cross_entropy(net(images[chosen]), targets[chosen]), {}

    @torch.no_grad()
    def evaluate(step: int) -> list[dict[str, float]]:
        if not drawing:
            return [{"test_accuracy": accuracy(net, tests, truth)}]
        draws = generator("convergence", "evaluation", seed, step, device=device)
        bounds = torch.cat([net.elbo(some, draws) for some in tests.split(500)])
        if step in drawn_steps:
            codes = torch.randn((_DRAWN, net.latent), generator=generator("codes"))
            net.drawn[drawn_steps.index(step)] = net.decode(codes.to(device)).sigmoid()[:, 0]
        return [{"test_elbo": float(bounds.double().mean())}]

    start = {"step": 0, **evaluate(0)[0]}
    (records,) = optimise(
        net,
        objective,
        n=len(images),
        batch_size=settings.batch_size,
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        seeds=[("convergence", seed)],
        noise=[noise],
        record_every=settings.evaluate_every,
        evaluate=evaluate,
        **options,
    )
    drawn = net._buffers.pop("drawn").cpu() if drawing else None
    return net, [start, *records], drawn
