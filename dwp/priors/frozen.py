"""Convolutions and ELUs with frozen weights, and the gradient with respect to their input only.

A kernel VAE convolves maps of 3 to 7 pixels. Evaluated as products of polynomials (Toom and Cook;
Winograd, "Arithmetic Complexity of Computations", 1980), a 3 x 3 convolution from 5 x 5 to 5 x 5
pixels with padding takes 49 products a pair of channels instead of 225, one from 5 x 5 to 3 x 3 or
back 25 instead of 81. Exact but for rounding.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

_BLOCK = 65536  # numbers
_ELU_BACKWARD = torch.ops.aten.elu_backward.grad_input
Step = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]

# Where polynomials are evaluated, by how many places there are; the last is infinity. The released
# VAEs' gradients are then within 7e-6 of those in double precision (direct convolutions: 3e-6).
_POINTS = {5: (0.0, 1.0, -1.0, -2.0), 7: (0.0, 0.5, -0.5, 1.25, -1.25, -2.5)}


def frozen_stack(
    layers: Iterable[nn.Module],
    heads: Sequence[nn.Conv2d],
    size: int,
    dtype: torch.dtype | None = None,
) -> Callable[[Tensor], Tensor] | None:
    """Prepare a stack of layers whose weights stay as they are.

    Args:
        layers: `torch.nn.Conv2d` and `torch.nn.ConvTranspose2d` (square, stride 1, no groups, the
            latter without padding), and `torch.nn.ELU` after any of them.
        heads: 1 x 1 convolutions, each of what the layers give; their results are concatenated.
        size: height and width of the maps that go in.
        dtype: of the products and of the maps between them; None: that of the weights. In
            `torch.bfloat16` convolutions are dense products of rows, zeros included: for
            processors whose matrix units do such products many times faster (AMX).

    Returns:
        A function from maps (n, in, size, size) to maps (n, out, size', size'), differentiable
        once, in its argument only; None for other layers, for which nothing is written here.
    """
    weight = (
        torch.cat([head.weight for head in heads])[:, :, 0, 0].T.to(dtype).detach()
    )  # (in, out)
    bias = torch.cat([head.bias for head in heads]).to(dtype).detach()
    steps: list[Step | None] = []  # None: an ELU
    try:
        for layer in layers:
            if isinstance(layer, nn.ELU) and layer.alpha == 1 and steps:
                steps.append(None)
            else:
                step, size = _convolution(layer, size, dtype)
                steps.append(step)
    except NotImplementedError:
        return None
    steps.append(_pointwise(weight.contiguous(), bias))

    def run(maps: Tensor) -> Tensor:
        places_first = maps.permute(2, 3, 0, 1).flatten(0, 1).to(dtype).contiguous()
        result = _Run.apply(places_first, steps).to(maps.dtype)  # (size' * size', n, out)
        return result.view(size, size, len(maps), -1).permute(2, 3, 0, 1)

    return run


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(ctx, maps: Tensor, steps: list[Step | None]) -> Tensor:
        ctx.steps, kept = steps, []
        for step in steps:
            if step is None:
                kept.append(_elu_(maps))
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
                # in place: a step before, the heads if no other, has made the gradient anew
                gradient = _ELU_BACKWARD(gradient, 1, 1, 1, True, kept.pop(), grad_input=gradient)
            else:
                gradient = step[1](gradient)
        return gradient, None


def _elu_(maps: Tensor) -> Tensor:
    """ELU in place, in blocks that stay in the cache; torch's own takes expm1, 4 times slower."""
    rows = max(1, _BLOCK // maps[0].numel())
    for block in maps.split(rows):
        values = block.float() if block.dtype == torch.bfloat16 else block
        negative = values.clamp_max(0).exp_().sub_(1)
        torch.maximum(block, negative.to(block.dtype), out=block)
    return maps


def _convolution(layer: nn.Module, size: int, dtype: torch.dtype) -> tuple[Step, int]:
    full = isinstance(layer, nn.ConvTranspose2d)
    known = (full or isinstance(layer, nn.Conv2d)) and layer.padding_mode == "zeros"
    square = known and layer.kernel_size[0] == layer.kernel_size[1]
    if not square or {*layer.stride, *layer.dilation, layer.groups} != {1}:
        raise NotImplementedError
    taps, padding = layer.kernel_size[0], layer.padding[0]
    if layer.padding != (padding, padding) or (full and padding):
        raise NotImplementedError
    weight, bias = layer.weight.detach().to(dtype), layer.bias.detach().to(dtype)
    weight = weight.permute(2, 3, 0, 1) if full else weight.permute(2, 3, 1, 0)  # (k, k, in, out)
    result = size + taps - 1 if full else size + 2 * padding - taps + 1
    places = size + taps - 1 if full else size + 2 * padding
    if taps == 1:
        return _pointwise(weight[0, 0].contiguous(), bias), result
    exact = dtype != torch.bfloat16
    if exact and places in _POINTS and min(size, result, weight.shape[2]) > 1:
        return _toom_cook(weight, bias, size, padding, full), result
    return _by_rows(weight, bias, size, result, padding, full), result


def _pointwise(weight: Tensor, bias: Tensor) -> Step:
    """A 1 x 1 convolution; weight (in, out)."""

    def forward(maps: Tensor) -> Tensor:
        return torch.addmm(bias, maps.flatten(0, 1), weight).view(*maps.shape[:2], -1)

    def backward(gradient: Tensor) -> Tensor:
        return (gradient.flatten(0, 1) @ weight.T).view(*gradient.shape[:2], -1)

    return forward, backward


def _by_rows(
    weight: Tensor, bias: Tensor, size: int, result: int, padding: int, full: bool
) -> Step:
    """A convolution as dense products of rows: one matrix for each row of the kernel."""
    inputs, outputs = weight.shape[2:]
    bands = []  # matrix (size * in, result * out), first row read, first row written, how many
    for i in range(len(weight)):
        matrix = weight.new_zeros(size, inputs, result, outputs)
        for x, u in torch.cartesian_prod(torch.arange(size), torch.arange(result)):
            j = u - x if full else x - u + padding
            if 0 <= j < len(weight):
                matrix[x, :, u] = weight[i, j]
        shift = i if full else padding - i
        rows = [y for y in range(size) if 0 <= y + shift < result]
        if rows:
            matrix = matrix.flatten(2).flatten(0, 1)
            bands.append((matrix, rows[0], rows[0] + shift, len(rows)))
    bias = bias.repeat(result)

    def forward(maps: Tensor) -> Tensor:
        rows = _to_rows(maps)  # (size, n, size * in)
        sums = bias.repeat(result, rows.shape[1], 1)  # (result, n, result * out)
        for matrix, y, v, count in bands:
            sums[v : v + count].view(-1, len(bias)).addmm_(
                rows[y : y + count].flatten(0, 1), matrix
            )
        return _to_places(sums)

    def backward(gradient: Tensor) -> Tensor:
        rows = _to_rows(gradient)
        sums = rows.new_zeros(size, rows.shape[1], size * inputs)
        for matrix, y, v, count in bands:
            part = sums[y : y + count].view(-1, size * inputs)
            part.addmm_(rows[v : v + count].flatten(0, 1), matrix.T)
        return _to_places(sums)

    return forward, backward


def _to_rows(maps: Tensor) -> Tensor:
    """Return maps (s * s, n, c) as (s, n, s * c)."""
    return maps.unflatten(0, (math.isqrt(len(maps)), -1)).transpose(1, 2).flatten(2)


def _to_places(rows: Tensor) -> Tensor:
    """Return maps (s, n, s * c) as (s * s, n, c)."""
    return rows.unflatten(2, (len(rows), -1)).transpose(1, 2).flatten(0, 1)


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
