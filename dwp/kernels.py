"""Kernels of trained nets: collected, pruned by norm, split and described."""

import os
from collections.abc import Iterable
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from dwp.errors import UserError, reading
from dwp.files import load_tensors
from dwp.seeds import generator

SAME = 0.1
"""Kernels count as the same within this share of their median norm."""


def check_kernels(kernels: ArrayLike | Tensor, kernel_size: int | None = None) -> Tensor:
    """Return kernels as a tensor (n, k, k) of torch's default type.

    Args:
        kernels: a tensor or an array of NumPy, (n, k, k) or (n, 1, k, k), of floating-point
            numbers.
        kernel_size: k; None: any.

    Raises:
        UserError: another shape, size or type, no kernels, or values that are not finite.
    """
    given = kernels if isinstance(kernels, Tensor) else np.asarray(kernels)
    dtype = given.dtype
    if not (dtype.is_floating_point if isinstance(dtype, torch.dtype) else dtype.kind == "f"):
        raise UserError(f"kernels: expected floating-point numbers, found {dtype}; convert them")
    kernels = given if isinstance(given, Tensor) else torch.from_numpy(given.astype(np.float64))
    if kernels.dim() == 4 and kernels.shape[1] == 1:
        kernels = kernels[:, 0]
    if kernels.dim() != 3 or kernels.shape[1] != kernels.shape[2] or kernels.numel() == 0:
        shape = tuple(kernels.shape)
        raise UserError(f"kernels: expected shape (n, k, k) or (n, 1, k, k), found {shape}")
    k, size = kernel_size, kernels.shape[1]
    if k is not None and size != k:
        raise UserError(f"kernels: the prior is over {k} x {k} kernels, found {size} x {size}")
    kernels = kernels.to(torch.get_default_dtype())
    if not torch.isfinite(kernels).all():
        raise UserError("kernels: expected finite values, found NaN or infinity")
    return kernels


def load_kernels(
    path: str | os.PathLike, part: Literal["train", "test"], kernel_size: int | None = None
) -> Tensor:
    """Read a part of a file of kernels as `check_kernels`.

    Raises:
        UserError: the file is missing or unreadable, or holds no kernels, or kernels of another
            size than `kernel_size`.
    """
    with reading(path, "kernels"):
        return check_kernels(load_tensors(path, kind="kernels")[0][part], kernel_size)


def collect(weights: Iterable[Tensor]) -> Tensor:
    """Return the kernels (n, k, k) of convolution weights, each (out, in, k, k)."""
    return torch.cat([weight.flatten(0, 1) for weight in weights])


def norms(kernels: Tensor) -> Tensor:
    """Return the Euclidean norm (n,) of kernels (n, k, k)."""
    return kernels.flatten(1).norm(dim=1)


def mean_share(kernels: Tensor) -> float:
    """Return the share of a kernel's energy in its mean weight, averaged over kernels (n, k, k).

    Of white noise it is 1 / k^2, of constant kernels 1: it says how smooth kernels are, whatever
    their norm. None of them may be 0.
    """
    k = kernels.shape[-1]
    return float((kernels.sum((1, 2)) / (k * norms(kernels))).square().mean())


def count_different(kernels: Tensor, distance: float) -> int:
    """Return how many kernels (n, k, k) remain if each takes away those nearer than a distance.

    The first takes away all kernels near it, then the first of the rest, and so on.
    """
    left, count = kernels.flatten(1), 0
    while len(left):
        first, left = left[0], left[1:]
        left = left[(left - first).norm(dim=1) >= distance]
        count += 1
    return count


def variety(kernels: Tensor, most: int = 200) -> float:
    """Return the share of kernels (n, k, k) that differ by more than a tenth of the median norm.

    Args:
        kernels: of a layer.
        most: compare only this many, evenly spaced.
    """
    some = kernels[:: -(-len(kernels) // most)]
    return count_different(some, SAME * float(norms(some).median())) / len(some)


def pruning_threshold(kernel_norms: Tensor, quantile: float) -> float:
    """Return the norm below which a fraction of kernels, in [0, 1), lies.

    The L2 penalty drives the kernels that a net does not use to almost 0.

    Args:
        kernel_norms: (n,).
        quantile: the fraction of kernels to drop.
    """
    ordered = kernel_norms.sort().values
    return float(ordered[int(quantile * len(ordered) + 1e-9)])  # .29 * 100 is 28.999...


def split(kernels: Tensor, test_fraction: float, *seed: object) -> tuple[Tensor, Tensor]:
    """Shuffle kernels (n, k, k) and return a train and a test part, neither empty.

    Raises:
        UserError: there are fewer than two kernels.
    """
    if len(kernels) < 2:
        raise UserError(
            f"kernels: {len(kernels)} left after pruning, expected at least 2; lower the threshold "
            "or train more or longer source nets"
        )
    order = torch.randperm(len(kernels), generator=generator("kernels", *seed))
    tests = min(max(1, round(test_fraction * len(kernels))), len(kernels) - 1)
    return kernels[order[tests:]], kernels[order[:tests]]


def thin(kernel_norms: Tensor, most: int = 100_000) -> Tensor:
    """Return norms (n,) in order, and of more than `most` only so many, evenly spaced in it.

    They have the distribution of all, in a smaller file.
    """
    ordered = kernel_norms.sort().values
    if len(ordered) <= most:
        return ordered
    return ordered[torch.linspace(0, len(ordered) - 1, most, dtype=torch.double).round().long()]


def describe(kernel_norms: Tensor, threshold: float, nets: int, train: int, test: int) -> dict:
    """Return counts, sums of squares and the distribution of norms of kernels, for JSON.

    Args:
        kernel_norms: of all kernels, (n,).
        threshold: norm below which kernels are dropped; "cut" in the file.
        nets: how many nets they come from.
        train: how many kernels are to fit priors to.
        test: how many are held out.
    """
    kept = kernel_norms[kernel_norms >= threshold]
    return {
        "nets": nets,
        "collected": len(kernel_norms),
        "cut": threshold,
        "kept": len(kept),
        "kept_fraction": len(kept) / len(kernel_norms),
        "train": train,
        "test": test,
        "squares_collected": float(kernel_norms.square().sum()),
        "squares_kept": float(kept.square().sum()),
        "norms_collected": _quantiles(kernel_norms),
        "norms_kept": _quantiles(kept),
    }


def _quantiles(values: Tensor) -> dict[str, float]:
    shares = {"least": 0, "lower_quartile": 0.25, "median": 0.5, "upper_quartile": 0.75, "most": 1}
    found = np.quantile(values.numpy(), list(shares.values()), method="nearest")
    return dict(zip(shares, found.tolist(), strict=True))
