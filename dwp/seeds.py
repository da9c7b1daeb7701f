"""Seeds: every random draw in dwp comes from a generator made here or handed in."""

import hashlib

import torch


def derive_seed(*parts: object) -> int:
    """Return a seed in [0, 2**63) that depends on every part and on nothing else.

    `derive_seed(0, "batches", 3)` and `derive_seed(0, "noise", 3)` are unrelated, on every
    machine and in every process (unlike `hash`).
    """
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*parts: object, device: str = "cpu") -> torch.Generator:
    """Return a fresh generator seeded with `derive_seed(*parts)` on `device`."""
    return torch.Generator(device).manual_seed(derive_seed(*parts))
