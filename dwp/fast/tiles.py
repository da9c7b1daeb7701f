"""Convolutions on a CPU as products of polynomials, tile by tile (see `dwp.fast.toom_cook`).

A tile of 8 x 8 inputs takes 64 products a pair of channels: for 5 x 5 kernels, whose outputs it
gives 16 of, instead of 400. One of 7 x 7 takes 49 for 9 of them, and wastes less where the outputs
are 6 x 6, say. Comments call the number of a tile's places across p.
"""

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from dwp.devices import full_width
from dwp.fast.once import differentiable_once
from dwp.fast.toom_cook import valid_convolution

_PLACES = 7, 8  # of a tile, across and down
_AT_ONCE = 128  # tiles, whose values stay in the cache


def by_tiles(inputs: Tensor, weight: Tensor, bias: Tensor | None, groups: int = 1) -> Tensor:
    """Return a convolution's outputs (n, out, h', w'), channels last, without padding or strides.

    Exact but for rounding: in float32 the outputs are within 6e-6 of those in double precision, in
    the mean square (direct convolutions: 4e-7). Under `torch.autocast` they are in float32 all the
    same. Differentiable once.

    Args:
        inputs: (n, in, h, w).
        weight: (out, in / groups, k, k), k at most 7.
        bias: (out,), or None.
        groups: G.
    """
    outputs = _ByTiles.apply(inputs, weight, groups)
    return outputs if bias is None else outputs + bias[:, None, None]


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


class _ByTiles(torch.autograd.Function):
    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(ctx, inputs: Tensor, weight: Tensor, groups: int) -> Tensor:
        tiles = _Tiles(inputs, weight, groups)
        kernel, into, out = _matrices(tiles.places, tiles.taps, inputs.dtype)
        outputs = inputs.new_empty(len(inputs), *tiles.size, len(weight))
        needs_inputs, needs_weight, _ = ctx.needs_input_grad
        blocks = []
        with full_width():
            taps = weight.unflatten(0, (groups, -1)).permute(3, 4, 0, 2, 1)  # (k, k, G, c, o)
            kernels = kernel @ taps.flatten(2).flatten(0, 1)
            kernels = kernels.view(-1, *taps.shape[3:])  # (p^2 * G, c, o)
            parts = zip(inputs.split(tiles.images), outputs.split(tiles.images), strict=True)
            for block, result in parts:
                values = into @ tiles.read(block)
                values = values.view(len(kernels), -1, kernels.shape[1])  # (p^2 * G, tiles, c)
                products = torch.bmm(values, kernels)  # (p^2 * G, tiles, o)
                result.copy_(tiles.joined(out @ products.view(len(kernel), -1), len(result)))
                blocks.append(values if needs_weight else None)
        ctx.tiles, ctx.blocks = tiles, blocks
        ctx.kernels = kernels if needs_inputs else None
        return outputs.permute(0, 3, 1, 2)

    @staticmethod
    @differentiable_once("a layer that is a torch.nn.Conv2d itself has them")
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        tiles, kernels = ctx.tiles, ctx.kernels
        kernel, into, out = _matrices(tiles.places, tiles.taps, gradient.dtype)
        of_inputs = of_weight = None
        if kernels is not None:
            of_inputs = gradient.new_zeros(len(gradient), *tiles.padded, tiles.inputs)
            parts = of_inputs.split(tiles.images)
        with full_width():
            for number, values in enumerate(ctx.blocks):
                block = gradient[number * tiles.images :][: tiles.images]
                products = out.T @ tiles.parted(block)
                products = products.view(tiles.places**2 * tiles.groups, -1, tiles.outputs)
                if values is not None:
                    change = torch.bmm(values.transpose(1, 2), products)  # (p^2 * G, c, o)
                    of_weight = change if of_weight is None else of_weight.add_(change)
                if kernels is not None:
                    change = torch.bmm(products, kernels.transpose(1, 2))  # (p^2 * G, tiles, c)
                    tiles.add_to(parts[number], into.T @ change.view(tiles.places**2, -1))
            if of_weight is not None:
                shape = tiles.groups, *of_weight.shape[1:]
                of_weight = kernel.T @ of_weight.view(tiles.places**2, -1)
                of_weight = of_weight.view(tiles.taps, tiles.taps, *shape)  # (k, k, G, c, o)
                of_weight = of_weight.permute(2, 4, 3, 0, 1).flatten(0, 1)
        if of_inputs is not None:
            height, width = tiles.whole
            of_inputs = of_inputs[:, :height, :width].permute(0, 3, 1, 2)
        return of_inputs, of_weight, None


class _Tiles:
    """How images are cut into tiles, and tiles put together."""

    def __init__(self, inputs: Tensor, weight: Tensor, groups: int) -> None:
        self.taps, self.groups = weight.shape[2], groups
        self.inputs, self.outputs = inputs.shape[1], len(weight) // groups  # all, of a group
        self.whole = inputs.shape[2:]
        self.size = [pixels - self.taps + 1 for pixels in self.whole]
        self.places = _best_places((self.outputs, *weight.shape[1:]), *self.size)
        self.step = self.places - self.taps + 1
        self.grid = [-(-pixels // self.step) for pixels in self.size]
        self.padded = [tiles * self.step + self.taps - 1 for tiles in self.grid]
        self.images = max(1, _AT_ONCE // (self.grid[0] * self.grid[1]))  # at once

    def read(self, block: Tensor) -> Tensor:
        """Return the tiles of images as columns (p^2, G * tiles * c)."""
        maps = _grown(block.permute(0, 2, 3, 1), self.padded)
        windows = maps.unfold(1, self.places, self.step).unfold(2, self.places, self.step)
        windows = windows.unflatten(3, (self.groups, -1))  # (n, down, across, G, c, p, p)
        return windows.permute(5, 6, 3, 0, 1, 2, 4).reshape(self.places**2, -1)

    def joined(self, results: Tensor, images: int) -> Tensor:
        """Return outputs (n, h', w', out) of the columns (step^2, G * tiles * o)."""
        down, across = self.grid
        shape = self.step, self.step, self.groups, images, down, across, self.outputs
        maps = results.view(shape).permute(3, 4, 0, 5, 1, 2, 6)
        maps = maps.reshape(images, down * self.step, across * self.step, -1)
        return maps[:, : self.size[0], : self.size[1]]

    def parted(self, block: Tensor) -> Tensor:
        """Return outputs (n, out, h', w') as columns, as `joined` takes them."""
        down, across = self.grid
        maps = _grown(block.permute(0, 2, 3, 1), [down * self.step, across * self.step])
        shape = len(block), down, self.step, across, self.step, self.groups, self.outputs
        return maps.reshape(shape).permute(2, 4, 5, 0, 1, 3, 6).reshape(self.step**2, -1)

    def add_to(self, maps: Tensor, columns: Tensor) -> None:
        """Add columns, as of `read`, to images (n, h, w, in) at their places."""
        down, across = self.grid
        shape = self.places, self.places, self.groups, len(maps), down, across, -1
        parts = columns.view(shape).permute(4, 5, 3, 0, 1, 2, 6)  # (down, across, n, p, p, G, c)
        maps = maps.unflatten(3, (self.groups, -1))
        for row in range(down):
            for column in range(across):
                top, left = row * self.step, column * self.step
                maps[:, top : top + self.places, left : left + self.places] += parts[row, column]


def _grown(maps: Tensor, size: list[int]) -> Tensor:
    """Return maps (n, h, w, c) with rows and columns of zeros after theirs."""
    height, width = (wanted - found for wanted, found in zip(size, maps.shape[1:3], strict=True))
    return F.pad(maps, (0, 0, 0, width, 0, height)) if height or width else maps
