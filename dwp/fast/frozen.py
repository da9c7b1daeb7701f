"""Kernel VAEs with frozen weights, and gradients with respect to their input only.

A kernel VAE convolves maps of 3 to 7 pixels. Evaluated as products of polynomials (see
`dwp.fast.toom_cook`), a 3 x 3 convolution from 5 x 5 to 5 x 5 pixels with padding takes 49 products
a pair of channels instead of 225, one from 5 x 5 to 3 x 3 or back 25 instead of 81. Exact but for
rounding.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dwp.devices import has_bfloat16, has_matrix_units
from dwp.errors import UserError
from dwp.fast.door import entered
from dwp.fast.toom_cook import POINTS, matrices

# between them maps are (n, pixels, channels) by rows, else (pixels, n, channels)
Product = Callable[[Tensor], Tensor]
Products = tuple[Product, Product]
"""A convolution without its bias, and the gradient with respect to its input."""

_BLOCK = 2**18  # bytes
_ELU_BACKWARD = torch.ops.aten.elu_backward.grad_input


def in_parts(plain: Callable[..., Tensor], rows: Tensor, noise: Tensor, *arguments: Any) -> Tensor:
    """Return values (n,) of rows (n, ...), given noise (n, S, ...) for each, part by part.

    Memory does not grow with n: the gradient with respect to the rows is found with the values.

    Args:
        plain: computes the values of rows, each by itself, from rows, noise and the arguments.
        rows: what the values are differentiable in.
        noise: S draws a row.
        *arguments: the others of `plain`.
    """
    # made first: what is kept of every part would lie between its maps and tear the heap
    values, gradients = rows.new_empty(len(rows)), torch.zeros_like(rows)
    wanted = rows.requires_grad and torch.is_grad_enabled()
    size = max(1, _at_once(rows) // noise.shape[1])
    for start in range(0, len(rows), size):
        own = slice(start, start + size)
        part = rows[own].detach().requires_grad_(wanted)
        result = plain(part, noise[own], *arguments)
        values[own] = result.detach()
        if wanted:
            gradients[own] = torch.autograd.grad(result.sum(), part)[0]
    return _WithGradients.apply(rows, values, gradients)


class _WithGradients(torch.autograd.Function):
    """Values (n,), whose gradients with respect to rows (n, ...) are known."""

    @staticmethod
    def forward(ctx, rows: Tensor, values: Tensor, gradients: Tensor) -> Tensor:
        ctx.save_for_backward(gradients)
        return values.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        _refuse_second()
        (gradients,) = ctx.saved_tensors
        return gradients * gradient.view(-1, *[1] * (gradients.dim() - 1)), None, None


def _refuse_second() -> None:
    # torch's once_differentiable refuses only where the incoming gradient depends on something; of
    # a constant one, second derivatives would silently be without this part
    if torch.is_grad_enabled():  # as under create_graph=True alone
        raise UserError(
            "second derivatives: take dwp.fast.faster(False), or the prior's requires_grad_(True)"
        )


def run(
    plain: Callable[..., Tensor], layers: nn.Sequential, heads: Sequence[nn.Conv2d], maps: Tensor
) -> Tensor:
    """Return maps (n, out, size', size') after layers and heads, those of `plain`.

    By `frozen_stack` if no parameter is to be trained, which is kept while the parameters stay the
    same; on a GPU in float32 only, as with less precision its matrix units make its library's
    convolutions the faster ones.

    Args:
        plain: computes the same from the other arguments.
        layers: see `frozen_stack`.
        heads: see `frozen_stack`.
        maps: (n, in, size, size).
    """
    own = [p for module in (layers, *heads) for p in module.parameters()]
    reduced = torch.is_autocast_enabled("cuda") or torch.backends.cuda.matmul.allow_tf32
    stack = functools.partial(plain, layers, heads)
    if len(maps) and not any(p.requires_grad for p in own) and not (maps.is_cuda and reduced):
        dtype, versions = torch.bfloat16 if _half(maps) else None, [p._version for p in own]
        key = dtype, maps.shape[-1], own[0].dtype, own[0].device
        kept = entered().kept.setdefault(layers, {})
        known, tensors, prepared = kept.get(key, (None, own, None))
        # the tensors are kept, so that no others can come to be where they are
        if versions != known or not all(map(Tensor.is_set_to, own, tensors)):
            prepared = frozen_stack(layers, heads, maps.shape[-1], dtype)
            kept[key] = versions, [p.detach() for p in own], prepared
        stack = prepared or stack
    return torch.cat([stack(part) for part in maps.split(_at_once(maps))])


def _at_once(kernels: Tensor) -> int:
    """Return how many kernels fit the cache, suffice for half precision, or fill a GPU."""
    return 16384 if not kernels.is_cpu else 1024 if _half(kernels) else 256


def _half(values: Tensor) -> bool:
    wanted = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return wanted and values.is_cpu and values.dtype == torch.float32 and has_bfloat16()


def frozen_stack(
    layers: nn.Sequential, heads: Sequence[nn.Conv2d], size: int, dtype: torch.dtype | None = None
) -> Callable[[Tensor], Tensor] | None:
    """Prepare a stack of layers whose weights stay as they are.

    Args:
        layers: `torch.nn.Conv2d` and `torch.nn.ConvTranspose2d` of square kernels, the latter
            without padding, and `torch.nn.ELU` after each of them.
        heads: 1 x 1 convolutions, each of what the layers give; their results are concatenated.
        size: height and width of the maps that go in.
        dtype: of the products and of the maps between them; None: that of the weights. In
            `torch.bfloat16` convolutions are dense products of rows, zeros included, if the
            processor has matrix units, which do such products many times faster (AMX); without
            them transposed ones to 7 pixels and all of 8 pixels stay in the weights' precision.

    Returns:
        A function from maps (n, in, size, size) to maps (n, out, size', size'), differentiable
        once, in its argument only; None for other layers, for which nothing is written here.
    """
    by_rows, steps = dtype == torch.bfloat16 and has_matrix_units(), []
    for layer, elu in itertools.zip_longest(layers[::2], layers[1::2]):
        found = _convolution(layer, size, dtype, by_rows)
        if found is None or type(elu) is not nn.ELU or elu.alpha != 1:
            return None
        products, size = found
        steps.append((*products, layer.bias.detach()))
    weight, bias = (torch.cat([getattr(h, k) for h in heads]).detach() for k in ("weight", "bias"))
    steps.append((*_pointwise(weight[:, :, 0, 0].T, dtype), bias))
    order = (0, 1) if by_rows else (1, 0)

    def apply(maps: Tensor) -> Tensor:
        flat = maps.flatten(2).transpose(1, 2).permute(*order, 2)
        with torch.autocast(maps.device.type, enabled=False):
            result = _Run.apply(flat.to(dtype).contiguous(), steps).to(maps.dtype)
        return result.permute(*order, 2).transpose(1, 2).unflatten(2, (size, size))

    return apply


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(ctx, maps: Tensor, steps: list[tuple[Product, Product, Tensor]]) -> Tensor:
        *layers, (heads, _, bias) = ctx.steps = steps
        kept = [maps]
        for forward, _, own in layers:
            kept.append(_elu_(forward(kept[-1]), own))
        ctx.save_for_backward(*kept[1:])
        return heads(kept[-1]).add_(bias)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        _refuse_second()
        *layers, (_, heads, _) = ctx.steps
        gradient = heads(gradient.contiguous())
        for (_, backward, _), maps in zip(layers[::-1], ctx.saved_tensors[::-1], strict=True):
            gradient = gradient.to(maps)  # in place: the step after this one made it
            _ELU_BACKWARD(gradient, 1, 1, 1, True, maps, grad_input=gradient)
            gradient = backward(gradient)
        return gradient, None


def _elu_(maps: Tensor, bias: Tensor) -> Tensor:
    """Add a bias and take the ELU, in place, in blocks that stay in the cache, in the bias's type.

    On a CPU torch's own ELU takes expm1, and so twice the time.
    """
    if maps.is_cuda:
        return F.elu(maps.add_(bias), inplace=True)
    for block in maps.split(max(1, _BLOCK // maps[0].nbytes)):
        values = block.to(bias.dtype).add_(bias)
        torch.maximum(values, values.clamp_max(0).exp_().sub_(1), out=values)
        block.copy_(values)
    return maps


def _convolution(
    layer: nn.Module, size: int, dtype: torch.dtype | None, by_rows: bool
) -> tuple[Products, int] | None:
    """Return a layer's products, forward and back, and its maps' size; None: it has none here."""
    full = isinstance(layer, nn.ConvTranspose2d)
    plain = (full or isinstance(layer, nn.Conv2d)) and layer.padding_mode == "zeros"
    if not plain or {*layer.stride, *layer.dilation, layer.groups} != {1}:
        return None
    taps, padding = layer.kernel_size[0], layer.padding[0]
    weight = layer.weight.detach()
    weight = weight.permute(2, 3, 0, 1) if full else weight.permute(2, 3, 1, 0)  # (k, k, in, out)
    points = size + taps - 1 if full else size + 2 * padding
    result = points if full else points - taps + 1
    if taps == 1:
        return _pointwise(weight[0, 0], dtype), result
    if by_rows or min(size, result, layer.in_channels) == 1:
        # which pixels of a kernel lead from where to where: (size^2, k^2, size'^2)
        pixels = torch.eye(size**2).to(weight).view(-1, 1, size, size)
        leads = F.unfold(pixels, taps, padding=taps - 1 if full else padding).double()
        leads = (leads.flip(1) if full else leads).transpose(1, 2)
        dense = torch.tensordot(leads, weight.flatten(0, 1).double(), 1).transpose(1, 2)
        dense = dense.to(weight).to(dtype)  # (size^2, in, size'^2, out)
        way = _all_at_once
        if by_rows:
            dense = dense.unflatten(2, (result, -1)).unflatten(0, (size, -1))
            way, dense = _by_rows, dense.flatten(4).flatten(1, 2)
        return (way(dense), way(dense.permute(2, 3, 0, 1))), result
    if points not in POINTS:
        return None
    if points > (5 if full else 7):  # its maps are differences of larger numbers
        dtype = None
    return _toom_cook(weight, size, padding, full, dtype), result


def _pointwise(weight: Tensor, dtype: torch.dtype | None) -> Products:
    """A 1 x 1 convolution; weight (in, out)."""
    weight = weight.to(dtype).contiguous()
    return lambda maps: maps.to(weight) @ weight, lambda maps: maps.to(weight) @ weight.T


def _all_at_once(dense: Tensor) -> Product:
    """A convolution as a dense product a pixel: for maps of one pixel or of one channel.

    The matrix is (pixels, channels, pixels after, channels after).
    """
    matrices = dense.permute(2, 0, 1, 3).flatten(1, 2).contiguous()

    def apply(maps: Tensor) -> Tensor:
        flat = maps.to(matrices).transpose(0, 1).flatten(1)  # (n, pixels * channels)
        if matrices.shape[2] == 1:
            return (matrices[:, :, 0] @ flat.T)[:, :, None]
        return torch.bmm(flat.expand(len(matrices), -1, -1), matrices)

    return apply


def _by_rows(dense: Tensor) -> Product:
    """A convolution as a dense product a row, of all rows that it reads.

    The matrix is (rows, numbers in a row, rows after, numbers in a row after).
    """
    parts, (_, width, rows, after) = [], dense.shape
    for row in dense.unbind(2):
        read = row.flatten(1).any(1).nonzero()[:, 0].tolist() or [0]
        window = slice(read[0] * width, (read[-1] + 1) * width)
        parts.append((window, row.flatten(0, 1)[window].contiguous()))

    def apply(maps: Tensor) -> Tensor:
        flat = maps.flatten(1)
        sums = flat.new_empty(len(flat), rows, after)
        for row, (window, part) in enumerate(parts):
            torch.mm(flat[:, window], part, out=sums[:, row])
        return sums.view(len(flat), rows**2, -1)

    return apply


def _toom_cook(
    weight: Tensor, size: int, padding: int, full: bool, dtype: torch.dtype | None
) -> Products:
    """A convolution by products of polynomials; `full`: the transposed convolution."""
    kernel, into, out = matrices(size, len(weight), padding, full)
    products = torch.tensordot(kernel, weight.double().cpu().flatten(0, 1), 1)  # (p^2, in, out)
    into, out, products = (m.to(weight).to(dtype).contiguous() for m in (into, out, products))

    def apply(before: Tensor, products: Tensor, after: Tensor, maps: Tensor) -> Tensor:
        n = maps.shape[1]
        values = (before @ maps.to(before).view(len(maps), -1)).view(len(before), n, -1)
        values = torch.bmm(values, products)
        return (after @ values.view(len(values), -1)).view(len(after), n, -1)

    back = products.transpose(1, 2).contiguous()
    forward = functools.partial(apply, into, products, out)
    return forward, functools.partial(apply, out.T, back, into.T)
