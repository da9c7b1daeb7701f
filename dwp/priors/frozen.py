"""Convolutions and ELUs with frozen weights, and the gradient with respect to their input only.

A kernel VAE convolves maps of 3 to 7 pixels. Evaluated as products of polynomials (Toom and Cook;
Winograd, "Arithmetic Complexity of Computations", 1980), a 3 x 3 convolution from 5 x 5 to 5 x 5
pixels with padding takes 49 products a pair of channels instead of 225, one from 5 x 5 to 3 x 3 or
back 25 instead of 81. Exact but for rounding.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Step = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]

# Where polynomials are evaluated, by how many places there are; the last is infinity. The released
# VAEs' gradients are then within 7e-6 of those in double precision (direct convolutions: 3e-6).
_POINTS = {5: (0.0, 1.0, -1.0, -2.0), 7: (0.0, 0.5, -0.5, 1.25, -1.25, -2.5)}


def frozen_stack(
    layers: Iterable[nn.Module], heads: Sequence[nn.Conv2d], size: int
) -> Callable[[Tensor], Tensor] | None:
    """Prepare a stack of layers whose weights stay as they are.

    Args:
        layers: `torch.nn.Conv2d` and `torch.nn.ConvTranspose2d` (square, stride 1, no groups, the
            latter without padding), and `torch.nn.ELU` after any of them.
        heads: 1 x 1 convolutions, each of what the layers give; their results are concatenated.
        size: height and width of the maps that go in.

    Returns:
        A function from maps (n, in, size, size) to maps (n, out, size', size'), differentiable
        once, in its argument only; None for other layers, for which nothing is written here.
    """
    weight = torch.cat([head.weight for head in heads])[:, :, 0, 0].T.detach()  # (in, out)
    bias = torch.cat([head.bias for head in heads]).detach()
    steps: list[Step | None] = []  # None: an ELU
    try:
        for layer in layers:
            if isinstance(layer, nn.ELU) and layer.alpha == 1 and steps:
                steps.append(None)
            else:
                step, size = _convolution(layer, size)
                steps.append(step)
    except NotImplementedError:
        return None
    steps.append(_pointwise(weight.contiguous(), bias))

    def run(maps: Tensor) -> Tensor:
        places_first = maps.permute(2, 3, 0, 1).flatten(0, 1).contiguous()
        result = _Run.apply(places_first, steps)  # (size' * size', n, out)
        return result.view(size, size, len(maps), -1).permute(2, 3, 0, 1)

    return run


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(ctx, maps: Tensor, steps: list[Step | None]) -> Tensor:
        ctx.steps, kept = steps, []
        for step in steps:
            if step is None:
                kept.append(F.elu_(maps))
            else:
                maps = step[0](maps)
        ctx.save_for_backward(*kept)
        return maps

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        kept = list(ctx.saved_tensors)
        gradient = gradient.contiguous()
        for step in reversed(ctx.steps):
            if step is None:
                gradient = torch.ops.aten.elu_backward(gradient, 1, 1, 1, True, kept.pop())
            else:
                gradient = step[1](gradient)
        return gradient, None


def _convolution(layer: nn.Module, size: int) -> tuple[Step, int]:
    full = isinstance(layer, nn.ConvTranspose2d)
    known = (full or isinstance(layer, nn.Conv2d)) and layer.padding_mode == "zeros"
    square = known and layer.kernel_size[0] == layer.kernel_size[1]
    if not square or {*layer.stride, *layer.dilation, layer.groups} != {1}:
        raise NotImplementedError
    taps, padding = layer.kernel_size[0], layer.padding[0]
    if layer.padding != (padding, padding) or (full and padding):
        raise NotImplementedError
    weight, bias = layer.weight.detach(), layer.bias.detach()
    weight = weight.permute(2, 3, 0, 1) if full else weight.permute(2, 3, 1, 0)  # (k, k, in, out)
    result = size + taps - 1 if full else size + 2 * padding - taps + 1
    places = size + taps - 1 if full else size + 2 * padding
    if taps == 1:
        return _pointwise(weight[0, 0].contiguous(), bias), result
    if places in _POINTS and min(size, result, weight.shape[2]) > 1:
        return _toom_cook(weight, bias, size, padding, full), result
    return _dense(weight, bias, size, result, padding, full), result


def _pointwise(weight: Tensor, bias: Tensor) -> Step:
    """A 1 x 1 convolution; weight (in, out)."""

    def forward(maps: Tensor) -> Tensor:
        return torch.addmm(bias, maps.flatten(0, 1), weight).view(*maps.shape[:2], -1)

    def backward(gradient: Tensor) -> Tensor:
        return (gradient.flatten(0, 1) @ weight.T).view(*gradient.shape[:2], -1)

    return forward, backward


def _dense(weight: Tensor, bias: Tensor, size: int, result: int, padding: int, full: bool) -> Step:
    """A convolution as one matrix from all places and channels to all places and channels."""
    inputs, outputs = weight.shape[2:]
    matrix = weight.new_zeros(size, size, inputs, result, result, outputs)
    for y, x, v, u in torch.cartesian_prod(*map(torch.arange, (size, size, result, result))):
        i, j = (v - y, u - x) if full else (y - v + padding, x - u + padding)
        if 0 <= i < len(weight) and 0 <= j < len(weight):
            matrix[y, x, :, v, u] = weight[i, j]
    matrix = matrix.view(size**2 * inputs, result**2 * outputs)
    bias = bias.repeat(result**2)

    def forward(maps: Tensor) -> Tensor:
        rows = maps.transpose(0, 1).flatten(1)  # (n, size^2 * in)
        rows = torch.addmm(bias, rows, matrix).view(len(rows), result**2, outputs)
        return rows.transpose(0, 1).contiguous()

    def backward(gradient: Tensor) -> Tensor:
        rows = gradient.transpose(0, 1).flatten(1)  # (n, result^2 * out)
        rows = (rows @ matrix.T).view(len(rows), size**2, inputs)
        return rows.transpose(0, 1).contiguous()

    return forward, backward


def _toom_cook(weight: Tensor, bias: Tensor, size: int, padding: int, full: bool) -> Step:
    """A convolution by products of polynomials; `full`: the transposed convolution."""
    taps = len(weight)
    places = size + taps - 1 if full else size + 2 * padding
    kernel, square = _evaluation(places, taps), _evaluation(places, places)
    if full:
        into, out = _evaluation(places, size), torch.linalg.inv(square)
    else:  # the transpose of the full product
        into = torch.linalg.inv(square).T[:, padding : padding + size]
        out = _evaluation(places, places - taps + 1).T
    scale = into.abs().sum(1, keepdim=True)
    kernel, into, out = (torch.kron(m, m) for m in (kernel * scale, into / scale, out))
    weight64 = weight.double().cpu().flatten(0, 1)  # (k * k, in, out)
    products = torch.tensordot(kernel, weight64, 1)  # (places^2, in, out)
    into, out, products = (m.to(weight).contiguous() for m in (into, out, products))
    back = products.transpose(1, 2).contiguous()

    def apply(before: Tensor, products: Tensor, after: Tensor, maps: Tensor) -> Tensor:
        n = maps.shape[1]
        values = (before @ maps.view(len(maps), -1)).view(len(before), n, -1)
        values = torch.bmm(values, products)
        return (after @ values.view(len(values), -1)).view(len(after), n, -1)

    def forward(maps: Tensor) -> Tensor:
        return apply(into, products, out, maps).add_(bias)

    def backward(gradient: Tensor) -> Tensor:
        return apply(out.T, back, into.T, gradient)

    return forward, backward


def _evaluation(places: int, coefficients: int) -> Tensor:
    """Return the matrix (places, coefficients) that evaluates a polynomial at the places."""
    points = torch.tensor(_POINTS[places], dtype=torch.double)
    infinity = torch.zeros(1, coefficients, dtype=torch.double)
    infinity[0, -1] = 1
    return torch.cat([points[:, None] ** torch.arange(coefficients), infinity])
