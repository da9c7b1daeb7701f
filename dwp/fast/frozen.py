"""Convolutions and ELUs with frozen weights, and the gradient with respect to their input only.

A kernel VAE convolves maps of 3 to 7 pixels. Evaluated as products of polynomials (see
`dwp.fast.toom_cook`), a 3 x 3 convolution from 5 x 5 to 5 x 5 pixels with padding takes 49 products a
pair of channels instead of 225, one from 5 x 5 to 3 x 3 or back 25 instead of 81. Exact but for
rounding.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dwp.devices import full_width, has_matrix_units
from dwp.fast.once import differentiable_once
from dwp.fast.toom_cook import POINTS, balanced, evaluation

FROZEN = "call requires_grad_(True) on the prior"  # of second derivatives
_BLOCK = 2**18  # bytes
_ELU_BACKWARD = torch.ops.aten.elu_backward.grad_input


@dataclass
class Step:
    """A convolution without its bias, the gradient with respect to its input, and what follows it.

    By rows maps are (n, places, channels), else (places, n, channels).
    """

    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor], Tensor]
    bias: Tensor
    elu: bool = False


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
            `torch.bfloat16` convolutions are dense products of rows, zeros included, if the
            processor has matrix units, which do such products many times faster (AMX); without
            them transposed ones to 7 pixels and all of 8 places stay in the weights' precision.

    Returns:
        A function from maps (n, in, size, size) to maps (n, out, size', size'), differentiable
        once, in its argument only; None for other layers, for which nothing is written here.
    """
    weight = torch.cat([head.weight for head in heads]).detach()[:, :, 0, 0].T  # (in, out)
    bias = torch.cat([head.bias for head in heads]).detach()
    by_rows = dtype == torch.bfloat16 and has_matrix_units()
    steps: list[Step] = []
    try:
        for layer in layers:
            if isinstance(layer, nn.ELU) and layer.alpha == 1 and steps and not steps[-1].elu:
                steps[-1].elu = True
            else:
                step, size = _convolution(layer, size, dtype, by_rows)
                steps.append(step)
    except NotImplementedError:
        return None
    steps.append(_pointwise(weight.to(dtype).contiguous(), bias))
    order = (0, 1) if by_rows else (1, 0)

    def run(maps: Tensor) -> Tensor:
        flat = maps.flatten(2).transpose(1, 2).permute(*order, 2)
        result = _Run.apply(flat.to(dtype).contiguous(), steps).to(maps.dtype)
        return result.permute(*order, 2).transpose(1, 2).unflatten(2, (size, size))

    return run


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(ctx, maps: Tensor, steps: list[Step]) -> Tensor:
        ctx.steps, kept = steps, []
        with full_width():
            for step in steps:
                maps = step.forward(maps)
                if step.elu:
                    kept.append(_elu_(maps, step.bias))
                else:
                    maps += step.bias
        ctx.save_for_backward(*kept)
        return maps

    @staticmethod
    @differentiable_once(FROZEN)
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        kept = list(ctx.saved_tensors)
        gradient = gradient.contiguous()
        with full_width():
            for step in reversed(ctx.steps):
                if step.elu:
                    # in place: a step before, the heads if no other, has made the gradient anew
                    maps = kept.pop()
                    gradient = gradient.to(maps)
                    arguments = gradient, 1, 1, 1, True, maps
                    gradient = _ELU_BACKWARD(*arguments, grad_input=gradient)
                gradient = step.backward(gradient)
        return gradient, None


def _elu_(maps: Tensor, bias: Tensor) -> Tensor:
    """Add a bias and take the ELU, in place, in blocks that stay in the cache, in the bias's type.

    On a CPU torch's own ELU takes expm1, and so twice the time.
    """
    if maps.is_cuda:
        return F.elu(maps.add_(bias), inplace=True)
    rows = max(1, _BLOCK // maps[0].nbytes)
    for block in maps.split(rows):
        values = block.to(bias.dtype).add_(bias)
        torch.maximum(values, values.clamp_max(0).exp_().sub_(1), out=values)
        block.copy_(values)
    return maps


def _convolution(
    layer: nn.Module, size: int, dtype: torch.dtype | None, by_rows: bool
) -> tuple[Step, int]:
    full = isinstance(layer, nn.ConvTranspose2d)
    known = (full or isinstance(layer, nn.Conv2d)) and layer.padding_mode == "zeros"
    square = known and layer.kernel_size[0] == layer.kernel_size[1]
    if not square or {*layer.stride, *layer.dilation, layer.groups} != {1}:
        raise NotImplementedError
    taps, padding = layer.kernel_size[0], layer.padding[0]
    if layer.padding != (padding, padding) or padding >= taps or (full and padding):
        raise NotImplementedError
    weight, bias = layer.weight.detach(), layer.bias.detach()
    weight = weight.permute(2, 3, 0, 1) if full else weight.permute(2, 3, 1, 0)  # (k, k, in, out)
    result = size + taps - 1 if full else size + 2 * padding - taps + 1
    places = size + taps - 1 if full else size + 2 * padding
    if taps == 1:
        return _pointwise(weight[0, 0].to(dtype).contiguous(), bias), result
    many = min(size, result, weight.shape[2]) > 1
    if many and not by_rows:
        if places not in POINTS:
            raise NotImplementedError
        if places > (5 if full else 7):  # its maps are differences of larger numbers
            dtype = None
        return _toom_cook(weight, bias, size, padding, full, dtype), result
    dense = _by_rows if by_rows else _all_at_once
    return dense(weight.to(dtype), bias, size, result, padding, full), result


def _pointwise(weight: Tensor, bias: Tensor) -> Step:
    """A 1 x 1 convolution; weight (in, out)."""
    return Step(
        lambda maps: maps.to(weight) @ weight, lambda gradient: gradient.to(weight) @ weight.T, bias
    )


def _all_at_once(
    weight: Tensor, bias: Tensor, size: int, result: int, padding: int, full: bool
) -> Step:
    """A convolution as a dense product a place: for maps of one pixel or of one channel."""
    matrix = _dense(weight, size, result, padding, full).flatten(3, 4).flatten(0, 1)

    def product(matrix: Tensor) -> Callable[[Tensor], Tensor]:
        # matrix (places, channels, places after, channels after)
        matrices = matrix.permute(2, 0, 1, 3).flatten(1, 2).contiguous()

        def apply(maps: Tensor) -> Tensor:
            flat = maps.to(matrices).transpose(0, 1).flatten(1)  # (n, places * channels)
            if matrices.shape[2] == 1:
                return (matrices[:, :, 0] @ flat.T)[:, :, None]
            return torch.bmm(flat.expand(len(matrices), -1, -1), matrices)

        return apply

    return Step(product(matrix), product(matrix.permute(2, 3, 0, 1)), bias)


def _by_rows(
    weight: Tensor, bias: Tensor, size: int, result: int, padding: int, full: bool
) -> Step:
    """A convolution as a dense product a row: of all rows that it reads."""
    matrix = _dense(weight, size, result, padding, full).flatten(4).flatten(1, 2)
    used = [
        (y, v)
        for y in range(size)
        for v in range(result)
        if 0 <= (v - y if full else y - v + padding) < len(weight)
    ]

    def product(matrix: Tensor, used: list[tuple[int, int]]) -> Callable[[Tensor], Tensor]:
        _, width, rows, width_after = matrix.shape  # rows * numbers in a row
        parts = []
        for row in range(rows):
            read = [before for before, after in used if after == row]
            window = slice(read[0] * width, (read[-1] + 1) * width)
            parts.append((window, matrix[read, :, row].flatten(0, 1)))

        def apply(maps: Tensor) -> Tensor:
            flat = maps.flatten(1)
            sums = flat.new_empty(len(flat), rows, width_after)
            for row, (window, part) in enumerate(parts):
                torch.mm(flat[:, window], part, out=sums[:, row])
            return sums.view(len(flat), rows * rows, -1)

        return apply

    back = [(v, y) for y, v in used]
    return Step(product(matrix, used), product(matrix.permute(2, 3, 0, 1), back), bias)


def _dense(weight: Tensor, size: int, result: int, padding: int, full: bool) -> Tensor:
    """Return a convolution as a matrix (size, size, in, result, result, out)."""
    inputs, outputs = weight.shape[2:]
    matrix = weight.new_zeros(size, size, inputs, result, result, outputs)
    for y, x, v, u in itertools.product(range(size), range(size), range(result), range(result)):
        i, j = (v - y, u - x) if full else (y - v + padding, x - u + padding)
        if 0 <= i < len(weight) and 0 <= j < len(weight):
            matrix[y, x, :, v, u] = weight[i, j]
    return matrix


def _toom_cook(
    weight: Tensor, bias: Tensor, size: int, padding: int, full: bool, dtype: torch.dtype | None
) -> Step:
    """A convolution by products of polynomials; `full`: the transposed convolution."""
    taps = len(weight)
    places = size + taps - 1 if full else size + 2 * padding
    kernel, square = evaluation(places, taps), evaluation(places, places)
    if full:
        into, out = evaluation(places, size), torch.linalg.inv(square)
    else:  # the transpose of the full product
        into = torch.linalg.inv(square).T[:, padding : padding + size]
        out = evaluation(places, places - taps + 1).T
    kernel, into, out = balanced(kernel, into, out)
    weight64 = weight.double().cpu().flatten(0, 1)  # (k * k, in, out)
    products = torch.tensordot(kernel, weight64, 1)  # (places^2, in, out)
    into, out, products = (m.to(weight).to(dtype).contiguous() for m in (into, out, products))
    back = products.transpose(1, 2).contiguous()

    def apply(before: Tensor, products: Tensor, after: Tensor, maps: Tensor) -> Tensor:
        n = maps.shape[1]
        values = (before @ maps.to(before).view(len(maps), -1)).view(len(before), n, -1)
        values = torch.bmm(values, products)
        return (after @ values.view(len(values), -1)).view(len(after), n, -1)

    return Step(
        lambda maps: apply(into, products, out, maps),
        lambda gradient: apply(out.T, back, into.T, gradient),
        bias,
    )
