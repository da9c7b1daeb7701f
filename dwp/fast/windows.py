"""Windows of maps, with a gradient that is faster than torch's."""

import torch
from torch import Tensor


def windows(maps: Tensor, rows: int, columns: int, step: int = 1) -> Tensor:
    """Return windows (n, down, across, ..., rows, columns) of maps (n, h, w, ...), `step` apart."""
    return (_Windows.apply if maps.requires_grad else _windows)(maps, rows, columns, step)


def _windows(maps: Tensor, rows: int, columns: int, step: int) -> Tensor:
    return maps.unfold(1, rows, step).unfold(2, columns, step)


class _Windows(torch.autograd.Function):
    """The gradient is added up by windows, or by their pixels, whichever are fewer."""

    @staticmethod
    def forward(ctx, maps: Tensor, rows: int, columns: int, step: int) -> Tensor:
        ctx.shape, ctx.step = maps.shape, step
        return _windows(maps, rows, columns, step)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        result, step = gradient.new_zeros(ctx.shape), ctx.step
        (down, across), (rows, columns) = gradient.shape[1:3], gradient.shape[-2:]
        if down * across < rows * columns:
            parts = gradient.movedim((-2, -1), (3, 4))  # (n, down, across, rows, columns, ...)
            for y in range(down):
                for x in range(across):
                    top, left = y * step, x * step
                    result[:, top : top + rows, left : left + columns] += parts[:, y, x]
            return result, None, None, None
        bottom, right = step * (down - 1) + 1, step * (across - 1) + 1
        for y in range(rows):
            for x in range(columns):
                result[:, y : y + bottom : step, x : x + right : step] += gradient[..., y, x]
        return result, None, None, None
