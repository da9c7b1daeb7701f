"""Convolutions by other algorithms than torch's, where these are faster."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dwp.devices import has_matrix_units
from dwp.fast.once import differentiable_once
from dwp.fast.pool import FastMaxPool2d
from dwp.fast.tiles import by_tiles, share_of_products

_FEW = 8  # channels; the matrix units take multiples of so many numbers
_SHARE = 0.5  # of the products; small ones are slower than one large convolution
_HALF_SHARE = 0.3  # the same, where the large one is in bfloat16


class ProductConv2d(nn.Conv2d):
    """A convolution by `convolve`."""

    def _conv_forward(self, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return convolve(self, inputs, weight, bias)


def use_fast_layers(net: nn.Module) -> nn.Module:
    """Have a net's plain convolutions and max-pools computed by `convolve` and `dwp.fast.pool`.

    In place; return the net.
    """
    faster = {nn.Conv2d: ProductConv2d, nn.MaxPool2d: FastMaxPool2d}
    for module in net.modules():
        module.__class__ = faster.get(type(module), type(module))
    return net


def convolve(
    layer: nn.Conv2d,
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    polynomials: bool = True,
) -> Tensor:
    """Return the outputs of a convolution, with these weights and biases in place of its own.

    On a GPU a convolution in groups (the runs of a stack; see `dwp.nn.stack`), or of fewer than 8
    channels, becomes one product for each group: of the patches of the inputs and the kernels. It
    is faster there than cuDNN's kernels (docs/gpu.md), and takes as much more memory as a kernel
    has pixels. On a CPU one of many channels becomes products of polynomials, in float32 also
    where `dwp.devices.products` asks for less but the processor has no matrix units. Elsewhere, and
    with strides and the like, it is torch's.

    Args:
        layer: what convolution it is.
        inputs: (n, in, h, w).
        weight: (out, in / groups, k, l).
        bias: (out,), or None.
        polynomials: whether they may be taken. Their rounding errors are as large at small outputs
            as at the large ones beside them, and sums of positive numbers may come out negative.
    """
    padding = layer.padding
    simple = {*layer.stride, *layer.dilation} == {1} and layer.padding_mode == "zeros"
    if not simple or isinstance(padding, str) or inputs.dim() != 4:
        return nn.Conv2d._conv_forward(layer, inputs, weight, bias)
    if inputs.is_cuda:
        by_others = by_products if layer.groups > 1 or weight.shape[1] < _FEW else None
    else:
        by_others = by_tiles if polynomials and _pays(layer, inputs, weight) else None
    if by_others is None:
        return nn.Conv2d._conv_forward(layer, inputs, weight, bias)
    if any(padding):
        inputs = F.pad(inputs, (padding[1], padding[1], padding[0], padding[0]))
    return by_others(inputs, weight, bias, layer.groups)


def _pays(layer: nn.Conv2d, inputs: Tensor, weight: Tensor) -> bool:
    """Whether products of polynomials are faster on a CPU."""
    taps, across = weight.shape[2:]
    size = [n + 2 * p - taps + 1 for n, p in zip(inputs.shape[2:], layer.padding, strict=True)]
    if inputs.device.type != "cpu" or weight.dtype not in (torch.float32, torch.float64):
        return False
    if taps != across or not 1 < taps < 8 or min(*size, len(inputs)) < 1:
        return False
    half = torch.is_autocast_enabled("cpu")
    if half and has_matrix_units():
        return False
    outputs = len(weight) // layer.groups
    share = share_of_products((outputs, *weight.shape[1:]), *size)
    return share < (_HALF_SHARE if half else _SHARE)


def by_products(inputs: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
    """Return a convolution's outputs (n, out, h', w'), channels last, as products of patches.

    Args:
        inputs: (n, in, h, w).
        weight: (out, in / groups, k, l).
        bias: (out,), or None.
        groups: G.
    """
    if torch.is_autocast_enabled(inputs.device.type):
        inputs = inputs.to(torch.get_autocast_dtype(inputs.device.type))
    kernel = weight.shape[2:]
    patches = _Patches.apply if inputs.requires_grad else _patches
    columns = patches(inputs, *kernel, groups)  # (G, n, h', w', k * l * in / G)
    places, most = columns.shape[1:4], -columns.shape[4] % _FEW
    kernels = weight.unflatten(0, (groups, -1)).permute(0, 1, 3, 4, 2).flatten(2)  # (G, o, width)
    if most:  # rows that start where the matrix units can read them
        columns, kernels = F.pad(columns, (0, most)), F.pad(kernels, (0, most))
    columns = columns.flatten(1, 3)  # (G, n * h' * w', width)
    if groups == 1:
        outputs = F.linear(columns[0], kernels[0], bias)[None]
    elif bias is None:
        outputs = torch.bmm(columns, kernels.transpose(1, 2))
    else:
        outputs = torch.baddbmm(bias.view(groups, 1, -1), columns, kernels.transpose(1, 2))
    outputs = outputs.unflatten(1, places).permute(1, 2, 3, 0, 4)  # (n, h', w', G, o)
    return outputs.flatten(3).contiguous().permute(0, 3, 1, 2)


def _patches(inputs: Tensor, rows: int, columns: int, groups: int) -> Tensor:
    """Return the patches (G, n, h', w', k * l * in / G) of inputs (n, in, h, w)."""
    windows = inputs.unflatten(1, (groups, -1)).unfold(3, rows, 1).unfold(4, columns, 1)
    # (n, G, c, h', w', k, l)
    return windows.permute(1, 0, 3, 4, 5, 6, 2).flatten(4)


class _Patches(torch.autograd.Function):
    """`_patches`, with a gradient that adds up the kernel's pixels one after another."""

    @staticmethod
    def forward(ctx, inputs: Tensor, rows: int, columns: int, groups: int) -> Tensor:
        ctx.shape, ctx.kernel = inputs.shape, (rows, columns)
        return _patches(inputs, rows, columns, groups)

    @staticmethod
    @differentiable_once("a layer that is a torch.nn.Conv2d itself has them")
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        n, channels, height, width = ctx.shape
        rows, columns = ctx.kernel
        groups, _, down, across = gradient.shape[:4]
        parts = gradient.unflatten(4, (rows, columns, -1))  # (G, n, h', w', k, l, c)
        result = gradient.new_zeros(groups, n, height, width, channels // groups)
        for row in range(rows):
            for column in range(columns):
                place = result[:, :, row : row + down, column : column + across]
                place += parts[:, :, :, :, row, column]
        # channels last
        result = result.permute(1, 2, 3, 0, 4).flatten(3).permute(0, 3, 1, 2)
        return result, None, None, None
