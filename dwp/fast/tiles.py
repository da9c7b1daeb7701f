"""Convolutions on a CPU as products of polynomials, tile by tile (see `dwp.fast.toom_cook`).

A tile of 8 x 8 inputs takes 64 products a pair of channels: for 5 x 5 kernels, whose outputs it
gives 16 of, instead of 400. One of 7 x 7 takes 49 for 9 of them, and wastes less where the outputs
are 6 x 6, say. Comments call the size of a tile p and that of its outputs s.
"""

import functools
import itertools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from dwp.fast.toom_cook import matrices

_SIZES = 7, 8  # of a tile
_AT_ONCE = 128  # tiles, whose values stay in the cache


def by_tiles(inputs: Tensor, weight: Tensor, bias: Tensor | None, groups: int = 1) -> Tensor:
    """Return a convolution's outputs (n, out, h', w'), channels last, without padding or strides.

    Exact but for rounding: in float32 the outputs are within 6e-6 of those in double precision, in
    the mean square (direct convolutions: 4e-7). Under `torch.autocast` they are in float32 all the
    same.

    Args:
        inputs: (n, in, h, w).
        weight: (out, in / groups, k, k), k at most 7.
        bias: (out,), or None.
        groups: G.
    """
    taps, outputs = weight.shape[2], len(weight) // groups
    height, width = (pixels - taps + 1 for pixels in inputs.shape[2:])
    _, size = least_share((outputs, *weight.shape[1:]), height, width)
    step = size - taps + 1
    down, across = -(-height // step), -(-width // step)
    missing = down * step - height, across * step - width
    maps = F.pad(inputs, (0, missing[1], 0, missing[0])) if any(missing) else inputs
    results = []
    with torch.autocast("cpu", enabled=False):
        maps = maps.to(weight.dtype).permute(0, 2, 3, 1).unflatten(3, (groups, -1))
        kernel, into, out = _matrices(size, taps, weight.dtype)
        kernels = weight.unflatten(0, (groups, -1)).permute(3, 4, 0, 2, 1)  # (k, k, G, c, o)
        shape = size**2 * groups, *kernels.shape[3:]
        kernels = (kernel @ kernels.reshape(taps**2, -1)).view(shape)  # (p^2 * G, c, o)
        for block in maps.split(max(1, _AT_ONCE // (down * across))):
            tiles = windows(block, size, size, step)  # (n, down, across, G, c, p, p)
            tiles = tiles.permute(5, 6, 3, 0, 1, 2, 4).reshape(size**2, -1)
            values = (into @ tiles).view(len(kernels), -1, kernels.shape[1])
            products = torch.bmm(values, kernels).view(size**2, -1)  # (p^2, G * n * tiles * o)
            result = out @ products
            result = result.view(step, step, groups, len(block), down, across, outputs)
            results.append(result.permute(3, 4, 0, 5, 1, 2, 6))  # (n, down, s, across, s, G, o)
        whole = torch.cat(results).view(-1, down * step, across * step, len(weight))
        whole = whole[:, :height, :width].contiguous()
        return (whole if bias is None else whole.add_(bias)).permute(0, 3, 1, 2)


def least_share(weight: tuple[int, ...], height: int, width: int) -> tuple[float, int]:
    """Return how many of a direct convolution's products `by_tiles` takes, and the size of tiles.

    Those that evaluate polynomials are counted, too.

    Args:
        weight: the shape of a group's, (out, in / groups, k, k).
        height: of the outputs.
        width: of the outputs.
    """
    (outputs, inputs, taps, _), found = weight, []
    for size in (each for each in _SIZES if each > taps):
        step = size - taps + 1
        tiles = -(-height // step) * -(-width // step)
        evaluations = size**2 * inputs + step**2 * outputs
        found.append((tiles * size**2 * (inputs * outputs + evaluations), size))
    products, size = min(found)
    return products / (height * width * math.prod(weight)), size


@functools.cache
def _matrices(size: int, taps: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    return tuple(matrix.to(dtype) for matrix in matrices(size, taps))


def windows(maps: Tensor, rows: int, columns: int, step: int = 1) -> Tensor:
    """Return windows (n, down, across, ..., rows, columns) of maps (n, h, w, ...), `step` apart."""
    return _Windows.apply(maps, (rows, columns, step))


def _views(maps: Tensor, rows: int, columns: int, step: int) -> Tensor:
    return maps.unfold(1, rows, step).unfold(2, columns, step)


class _Windows(torch.autograd.Function):
    """The gradient is added up by windows, or by their pixels, whichever are fewer."""

    @staticmethod
    def forward(ctx, maps: Tensor, sizes: tuple[int, int, int]) -> Tensor:
        ctx.shape, ctx.sizes = maps.shape, sizes
        return _views(maps, *sizes)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        result = gradient.new_zeros(ctx.shape)
        views, (down, across), pixels = _views(result, *ctx.sizes), gradient.shape[1:3], ctx.sizes
        by_windows = down * across < pixels[0] * pixels[1]
        count = (down, across) if by_windows else pixels[:2]
        for y, x in itertools.product(*map(range, count)):
            part = (slice(None), y, x) if by_windows else (..., y, x)
            views[part] += gradient[part]
        return result, None
