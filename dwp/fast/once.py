"""Gradients that have no derivatives of their own."""

import functools
from collections.abc import Callable
from typing import Any

import torch

from dwp.errors import UserError


def differentiable_once(remedy: str) -> Callable[[Callable], Callable]:
    """Have the `backward` of a `torch.autograd.Function` refuse to be differentiated.

    `torch.autograd.function.once_differentiable` does so only where the incoming gradient depends
    on something; of a constant one, second derivatives would silently be without this part.

    Args:
        remedy: what to do instead, for the message of the `UserError`.
    """

    def decorate(backward: Callable) -> Callable:
        @functools.wraps(backward)
        def once(ctx: Any, *gradients: torch.Tensor) -> Any:
            if torch.is_grad_enabled():  # as under create_graph=True alone
                raise UserError(f"second derivatives: not available here; {remedy}")
            return backward(ctx, *gradients)

        return once

    return decorate
