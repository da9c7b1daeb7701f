"""Convolutions on a CPU as products of polynomials, tile by tile (see `dwp.fast.toom_cook`).

A tile of 8 x 8 inputs takes 64 products a pair of channels: for 5 x 5 kernels, whose outputs it
gives 16 of, instead of 400. One of 7 x 7 takes 49 for 9 of them, and wastes less where the outputs
are 6 x 6, say. Comments call the size of a tile p and that of its outputs s.
"""

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from dwp.fast.toom_cook import valid_convolution
from dwp.fast.windows import windows

_PLACES = 7, 8  # of a tile, across and down
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
    places = _best_places((outputs, *weight.shape[1:]), height, width)
    step = places - taps + 1
    down, across = -(-height // step), -(-width // step)
    missing = down * step - height, across * step - width
    maps = F.pad(inputs, (0, missing[1], 0, missing[0])) if any(missing) else inputs
    results = []
    with torch.autocast("cpu", enabled=False):
        maps = maps.to(weight.dtype).permute(0, 2, 3, 1).unflatten(3, (groups, -1))
        kernel, into, out = _matrices(places, taps, weight.dtype)
        kernels = weight.unflatten(0, (groups, -1)).permute(3, 4, 0, 2, 1)  # (k, k, G, c, o)
        shape = places**2 * groups, *kernels.shape[3:]
        kernels = (kernel @ kernels.reshape(taps**2, -1)).view(shape)  # (p^2 * G, c, o)
        for block in maps.split(max(1, _AT_ONCE // (down * across))):
            tiles = windows(block, places, places, step)  # (n, down, across, G, c, p, p)
            tiles = tiles.permute(5, 6, 3, 0, 1, 2, 4).reshape(places**2, -1)
            values = (into @ tiles).view(len(kernels), -1, kernels.shape[1])
            products = torch.bmm(values, kernels).view(places**2, -1)  # (p^2, G * n * tiles * o)
            result = out @ products
            result = result.view(step, step, groups, len(block), down, across, outputs)
            results.append(result.permute(3, 4, 0, 5, 1, 2, 6))  # (n, down, s, across, s, G, o)
        whole = torch.cat(results).view(-1, down * step, across * step, len(weight))
        whole = whole[:, :height, :width].contiguous()
        return (whole if bias is None else whole.add_(bias)).permute(0, 3, 1, 2)


def share_of_products(layer_shape: tuple[int, ...], height: int, width: int) -> float:
    """Return how many products `by_tiles` takes, as a share of a direct convolution's.

    Those that evaluate polynomials are counted, too.

    Args:
        layer_shape: of the weight, (out, in / groups, k, k).
        height: of the outputs.
        width: of the outputs.
    """
    places = _best_places(layer_shape, height, width)
    direct = height * width * math.prod(layer_shape)
    return _products(places, layer_shape, height, width) / direct


def _best_places(layer_shape: tuple[int, ...], height: int, width: int) -> int:
    fitting = [places for places in _PLACES if places > layer_shape[2]]
    return min(fitting, key=lambda places: _products(places, layer_shape, height, width))


def _products(places: int, layer_shape: tuple[int, ...], height: int, width: int) -> int:
    outputs, inputs, taps, _ = layer_shape
    step = places - taps + 1
    tiles = -(-height // step) * -(-width // step)
    evaluations = places**2 * inputs + step**2 * outputs
    return tiles * places**2 * (inputs * outputs + evaluations)


@functools.cache
def _matrices(places: int, taps: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    return tuple(matrix.to(dtype) for matrix in valid_convolution(places, taps))
