"""Predictions of a net by samples of its weights."""

import torch
from torch import Tensor, nn

from dwp.nn.bayesian import prediction


@torch.no_grad()
def predict(
    net: nn.Module,
    images: Tensor,
    *,
    samples: int,
    generator: torch.Generator | None = None,
    batch_size: int = 50,
) -> Tensor:
    """Return class probabilities (max(samples, 1), n, classes) of images (n, c, h, w).

    Args:
        net: a plain or a Bayesian net.
        images: inputs in the range the net was trained on.
        samples: draws of the weights, by local reparametrisation; 0: the mean weights, once.
        generator: where the draws come from.
        batch_size: images at once; a small one keeps the maps in the cache.
    """
    device = next(net.parameters()).device
    parts = []
    for batch in images.split(batch_size):
        inputs = batch.to(device, memory_format=torch.channels_last)
        with prediction(net, sampling=samples > 0, generator=generator):
            draws = [net(inputs).softmax(1).cpu() for _ in range(max(samples, 1))]
        parts.append(torch.stack(draws))
    return torch.cat(parts, 1)
