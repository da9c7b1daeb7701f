"""Convolutions and max-pools by other algorithms than torch's, where these are faster."""

import functools
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dwp.devices import has_matrix_units
from dwp.fast.tiles import by_tiles, least_share, windows

_FEW = 8  # channels; the matrix units take multiples of so many numbers
_SHARE = 0.5  # of the products; small ones are slower than one large convolution
_HALF_SHARE = 0.3  # the same, where the large one is in bfloat16


def conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> Tensor:
    """Return `torch.conv2d` of the same arguments.

    On a GPU a convolution in groups (the runs of a stack; see `dwp.nn.stack`), or of fewer than 8
    channels, becomes one product for each group: of the patches of the inputs and the kernels. It
    is faster there than cuDNN's kernels (docs/gpu.md), and takes as much more memory as a kernel
    has pixels. On a CPU one of many channels becomes products of polynomials, in float32 also
    where `dwp.devices.products` asks for less but the processor has no matrix units; but not one
    without negative weights, as of a Bayesian layer's variances: the rounding errors are those of
    the largest numbers of a tile, and small sums might come out negative. Elsewhere, and with
    strides and the like, it is torch's.
    """
    plain = {*_pair(stride), *_pair(dilation)} == {1} and input.dim() == 4 and padding != "same"
    by_others = None
    if plain and input.shape[1] == groups * weight.shape[1]:
        if input.is_cuda:
            by_others = by_products if groups > 1 or weight.shape[1] < _FEW else None
        elif input.device.type == "cpu" and not torch.compiler.is_compiling():
            by_others = by_tiles if _pays(input, weight, _pair(padding), groups) else None
    if by_others is None:
        return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
    last = _channels_last(input) or _channels_last(weight)  # torch's own rule
    down, across = _pair(padding)
    if down or across:
        input = F.pad(input, (across, across, down, down))
    outputs = by_others(input, weight, bias, groups)
    return outputs if last else outputs.clone(memory_format=torch.contiguous_format)


def _pair(value: int | tuple[int, ...] | str) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    return (0, 0) if value == "valid" else (value[0], value[-1])


def _channels_last(maps: Tensor) -> bool:
    """Return whether torch takes the layout for channels last; of one channel that is ambiguous."""
    (_, channels, _, width), (_, own, down, across) = maps.shape, maps.stride()
    return own == 1 and across >= channels and down >= width * across


def _pays(inputs: Tensor, weight: Tensor, padding: tuple[int, int], groups: int) -> bool:
    """Return whether products of polynomials are faster on a CPU, and as good."""
    half, taps = torch.is_autocast_enabled("cpu"), weight.shape[2]
    if weight.dtype not in (torch.float32, torch.float64) or (half and has_matrix_units()):
        return False
    size = [n + 2 * p - taps + 1 for n, p in zip(inputs.shape[2:], padding, strict=True)]
    square = weight.shape[3] == taps and 1 < taps < 8 and min(*size, len(inputs)) > 0
    if not square or not (half or inputs.dtype == weight.dtype):
        return False
    share, _ = least_share((len(weight) // groups, *weight.shape[1:]), *size)
    # of a kernel first, which has one mostly
    return share < (_HALF_SHARE if half else _SHARE) and any(
        bool(part.min() < 0) for part in (weight[0, 0].detach(), weight.detach())
    )


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
    maps = inputs.permute(0, 2, 3, 1).unflatten(3, (groups, -1))
    patches = windows(maps, *weight.shape[2:])  # (n, h', w', G, c, k, l)
    outer, columns = patches.shape[:3], patches.permute(3, 0, 1, 2, 5, 6, 4).flatten(4)
    columns = columns.flatten(1, 3)  # (G, n * h' * w', width)
    kernels = weight.unflatten(0, (groups, -1)).permute(0, 1, 3, 4, 2).flatten(2)  # (G, o, width)
    missing = -columns.shape[2] % _FEW
    if missing:  # rows that start where the matrix units can read them
        columns, kernels = F.pad(columns, (0, missing)), F.pad(kernels, (0, missing))
    if groups == 1:
        outputs = F.linear(columns[0], kernels[0], bias)[None]
    elif bias is None:
        outputs = torch.bmm(columns, kernels.transpose(1, 2))
    else:
        outputs = torch.baddbmm(bias.view(groups, 1, -1), columns, kernels.transpose(1, 2))
    outputs = outputs.unflatten(1, outer).permute(1, 2, 3, 0, 4)  # (n, h', w', G, o)
    return outputs.flatten(3).contiguous().permute(0, 3, 1, 2)


def max_pool2d(
    input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False
) -> Any:
    """Return `torch.nn.functional.max_pool2d` of the same arguments.

    On a CPU maps with channels last, of which no gradient is wanted, become maxima of whole rows.
    """
    options = stride or kernel_size, padding, dilation, ceil_mode, return_indices
    if (
        options != (kernel_size, 0, 1, False, False)
        or not isinstance(kernel_size, int)
        or (torch.is_grad_enabled() and input.requires_grad)
        or input.device.type != "cpu"
        or input.dim() != 4
        or min(input.shape[2:]) < kernel_size
        or not _channels_last(input)
    ):
        return F.max_pool2d(input, kernel_size, *options)
    down, across = (pixels // kernel_size * kernel_size for pixels in input.shape[2:])
    maps = input.permute(0, 2, 3, 1)[:, :down, :across]  # (n, h, w, c)
    for dimension in (1, 2):
        rows = maps.unflatten(dimension, (-1, kernel_size)).unbind(dimension + 1)
        maps = functools.reduce(torch.maximum, rows)
    return maps.permute(0, 3, 1, 2)
