"""Predictions of a net by samples of its weights."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dwp.devices import Precision, products
from dwp.errors import UserError, check_count
from dwp.fast import faster
from dwp.nn.prediction import prediction
from dwp.seeds import Source


@torch.no_grad()
def predict(
    net: nn.Module,
    images: Tensor,
    *,
    samples: int,
    generator: Source = None,
    batch_size: int | None = None,
    runs: int = 1,
    members: int = 1,
    precision: Precision = "float32",
) -> Tensor:
    """Return class probabilities (max(samples, 1), n, classes) of images (n, c, h, w).

    The members of an ensemble take the role of samples: (members, n, classes). The single logit of
    a binary classifier gives the probabilities of its two classes: 1 - sigmoid(z), sigmoid(z).

    The draws of a sample are shared between batches (see `dwp.nn.bayesian.prediction`): for each
    image the samples are independent and have the distribution of any others; the images of
    different batches are not independent of each other given the net.

    Those of a stack (see `dwp.nn.stack`) are (max(samples, 1), n, R * classes): every run sees the
    same images.

    Args:
        net: a plain or a Bayesian net, or a stack. It maps (n, c, h, w) to logits (n, classes).
        images: inputs in the range the net was trained on. The net gets copies, in their memory
            format.
        samples: draws of the weights, by local reparametrisation; 0: the mean weights, once.
        generator: where the draws come from, a generator or a seed; for a stack one for each run.
        batch_size: images at once; None: 50 on a CPU, where maps stay in the cache, 1,000 on a GPU.
        runs: the number R of runs in the stack.
        members: the number of nets in a run, if the stack is one of ensembles.
        precision: of the net's products (see `dwp.devices.products`); the softmax is at least in
            float32.

    Raises:
        UserError: a count is not a whole number in its range, or the net's outputs are no logits.
    """
    device = next(net.parameters(), images).device
    if batch_size is None:
        batch_size = 50 if device.type == "cpu" else 1000
    check_count("samples", samples, least=0)
    check_count("batch_size", batch_size)
    nets, parts = runs * members, []
    with (
        faster(),
        products(precision, device),
        prediction(net, sampling=samples > 0, generator=generator) as draws,
    ):
        for batch in images.split(batch_size):
            batch = torch.cat([batch.to(device)] * nets, 1)
            inputs, logits = None, []
            for sample in range(max(samples, 1)):
                if inputs is None or not torch.equal(inputs, batch):  # the net has changed them
                    inputs = batch.clone()
                    draws.see(inputs)
                draws.begin(sample)
                logits.append(_checked(net(inputs), len(batch), nets).cpu())
            parts.append(torch.stack(logits))
    # (samples, n, R, members, classes)
    logits = torch.cat(parts, 1).unflatten(2, (runs, members, -1))
    if logits.shape[4] == 1:
        logits = F.pad(logits, (1, 0))
    return logits.softmax(4).movedim(3, 1).flatten(0, 1).flatten(2)


def _checked(outputs: Any, n: int, nets: int) -> Tensor:
    """Return logits (n, nets * classes) in float32 or float64."""
    shape, found = tuple(getattr(outputs, "shape", ())), type(outputs).__name__
    if len(shape) == 2 and shape[0] == n and shape[1] > 0 and shape[1] % nets == 0:
        return outputs.to(torch.promote_types(outputs.dtype, torch.float32))
    raise UserError(
        f"net: expected logits ({n}, {nets} * classes) of {n} images, found a {found} {shape}; "
        "wrap it in a net that returns a vector an image"
    )
