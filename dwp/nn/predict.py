"""Predictions of a net by samples of its weights."""

import torch
from torch import Tensor, nn

from dwp.devices import Precision, products
from dwp.fast import faster
from dwp.nn.bayesian import prediction
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

    Those of the members of an ensemble stand in place of samples: (members, n, classes).

    The draws of a sample are shared between batches (see `dwp.nn.bayesian.prediction`): for each
    image the samples are independent and have the distribution of any others; the images of
    different batches are not independent of each other given the net.

    Those of a stack (see `dwp.nn.stack`) are (max(samples, 1), n, R * classes): every run sees the
    same images.

    Args:
        net: a plain or a Bayesian net, or a stack.
        images: inputs in the range the net was trained on.
        samples: draws of the weights, by local reparametrisation; 0: the mean weights, once.
        generator: where the draws come from; for a stack one for each run.
        batch_size: images at once; None: 50 on a CPU, where maps stay in the cache, 1,000 on a GPU.
        runs: the number R of runs in the stack.
        members: the number of nets in a run, if the stack is one of ensembles.
        precision: of the net's products (see `dwp.devices.products`); the softmax is in float32.
    """
    device = next(net.parameters()).device
    if batch_size is None:
        batch_size = 50 if device.type == "cpu" else 1000
    parts = []
    with (
        faster(),
        products(precision, device),
        prediction(net, sampling=samples > 0, generator=generator) as draws,
    ):
        for batch in images.split(batch_size):
            inputs, logits = _repeated(batch, device, runs * members), []
            version = inputs._version
            for sample in range(max(samples, 1)):
                if inputs._version != version:  # the net has changed them in place
                    inputs = _repeated(batch, device, runs * members)
                    version = inputs._version
                draws.begin(sample)
                logits.append(net(inputs).float().cpu())
            parts.append(torch.stack(logits))
    # (samples, n, R, members, classes)
    probabilities = torch.cat(parts, 1).unflatten(2, (runs, members, -1)).softmax(4)
    return probabilities.movedim(3, 1).flatten(0, 1).flatten(2)


@torch.inference_mode(False)  # whose tensors do not tell whether they were changed
def _repeated(batch: Tensor, device: torch.device, times: int) -> Tensor:
    inputs = batch.to(device).repeat(1, times, 1, 1)
    return inputs.to(memory_format=torch.channels_last)
