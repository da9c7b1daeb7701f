"""Seeds: every random draw in dwp comes from a generator made here or handed in."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from dwp.recompute import repeatable

Source = torch.Generator | Sequence[torch.Generator] | None
"""Where draws come from: one generator, one for each run of a stack, or torch's global one."""


def derive_seed(*parts: object) -> int:
    """Return a seed in [0, 2**63) that depends on every part and on nothing else.

    `derive_seed(0, "batches", 3)` and `derive_seed(0, "noise", 3)` are unrelated, on every
    machine and in every process (unlike `hash`). A number of numpy's or torch's counts as Python's.

    Raises:
        TypeError: a part is an array, whose text does not tell all of it.
    """
    plain = tuple(part.item() if getattr(part, "shape", None) == () else part for part in parts)
    if any(hasattr(part, "shape") for part in plain):
        raise TypeError("a seed is of numbers and strings, found an array")
    digest = hashlib.sha256(repr(plain).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*parts: object, device: str = "cpu") -> torch.Generator:
    """Return a fresh generator seeded with `derive_seed(*parts)` on `device`."""
    return torch.Generator(device).manual_seed(derive_seed(*parts))


def standard_normal(shape: Sequence[int], source: Source, like: Tensor) -> Tensor:
    """Return standard normal numbers of a shape, of the type and on the device of `like`.

    With one generator a run, the first dimension holds the runs' equal blocks one after another,
    and each block is what its run's generator gives for a tensor of the block's shape alone.
    """
    options = {"dtype": like.dtype, "device": like.device}
    if source is None:  # alone what `torch.vmap` and `torch.compile` can take
        return torch.randn(tuple(shape), **options)
    if isinstance(source, torch.Generator):
        return torch.randn(tuple(shape), generator=repeatable(source), **options)
    numbers = torch.empty(tuple(shape), **options)
    for block, generator in zip(numbers.view(len(source), -1), source, strict=True):
        block.normal_(generator=repeatable(generator))
    return numbers
