"""Seeds: every random draw in dwp comes from a generator made here or handed in."""

import hashlib
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from dwp.errors import UserError, check_count
from dwp.recompute import repeatable

Source = torch.Generator | int | Sequence[torch.Generator | int] | None
"""Where draws come from: a generator, which every draw moves on; or a seed, a whole number, which
stands for `dwp.generator(seed)` and so gives the same draws in every call; or one of these for each
run of a stack. None: torch's global generator, where a function allows it.
"""


def derive_seed(*parts: Any) -> int:
    """Return a seed in [0, 2**63) that depends on every part and on nothing else.

    `derive_seed(0, "batches", 3)` and `derive_seed(0, "noise", 3)` are unrelated, on every
    machine and in every process (unlike `hash`). A number of numpy's or torch's counts as Python's.

    Raises:
        TypeError: a part is an array, whose text leaves numbers out.
    """
    plain = tuple(part.item() if getattr(part, "shape", None) == () else part for part in parts)
    if any(hasattr(part, "shape") for part in plain):
        raise TypeError("expected numbers and strings to make a seed of, found an array")
    digest = hashlib.sha256(repr(plain).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*parts: Any, device: str = "cpu") -> torch.Generator:
    """Return a fresh generator seeded with `derive_seed(*parts)` on `device`."""
    return torch.Generator(device).manual_seed(derive_seed(*parts))


def seeded(source: Any, device: torch.device | str = "cpu") -> Any:
    """Return where to draw from: fresh generators on a device in place of seeds, else the same.

    A function that draws more than once begins with it.

    Args:
        source: a `Source`.
        device: where the numbers are wanted.
    """
    if isinstance(source, Integral):
        return generator(source, device=str(device))
    if isinstance(source, Sequence) and any(isinstance(each, Integral) for each in source):
        return [seeded(each, device) for each in source]
    return source


def check_draws(n: int, source: object, device: torch.device | str = "cpu") -> torch.Generator:
    """Return the generator to draw some numbers from.

    Args:
        n: how many are to be drawn.
        source: a `torch.Generator` or a seed.
        device: where the generator of a seed is to be.

    Raises:
        UserError: `n` is no whole number above 0, or `source` no generator and no seed.
    """
    check_count("n", n)
    source = seeded(source, device)
    if not isinstance(source, torch.Generator):
        raise _no_generator(source)
    return source


def _no_generator(source: object) -> UserError:
    return UserError(
        f"generator: expected a torch.Generator or a seed, found {type(source).__name__} {source}; "
        "make one by dwp.generator(0)"
    )


def standard_normal(shape: Sequence[int], source: Source, like: Tensor) -> Tensor:
    """Return standard normal numbers of a shape, of the type and on the device of `like`.

    With one generator a run, the first dimension holds the runs' equal blocks one after another,
    and each block is what its run's generator gives for a tensor of the block's shape alone.

    Raises:
        UserError: `source` is something else.
    """
    options = {"dtype": like.dtype, "device": like.device}
    if source is None:  # alone what `torch.vmap` and `torch.compile` can take
        return torch.randn(tuple(shape), **options)
    found: Any = seeded(source, like.device)
    if isinstance(found, torch.Generator):
        return torch.randn(tuple(shape), generator=repeatable(found), **options)
    if not isinstance(found, Sequence):
        raise _no_generator(found)
    numbers = torch.empty(tuple(shape), **options)
    for block, generator in zip(numbers.view(len(found), -1), found, strict=True):
        block.normal_(generator=repeatable(generator))
    return numbers
