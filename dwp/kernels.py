"""Kernels of trained nets: collected, pruned by norm, split and described."""

import os
from collections.abc import Iterable

import torch
from torch import Tensor

from dwp.errors import UserError
from dwp.files import load_tensors
from dwp.seeds import generator


def check_kernels(kernels: Tensor, kernel_size: int | None = None) -> Tensor:
    """Return kernels as float32 (n, k, k), accepting (n, k, k) and (n, 1, k, k).

    Raises:
        UserError: another shape, another kernel size than `kernel_size`, or values not finite.
    """
    if kernels.dim() == 4 and kernels.shape[1] == 1:
        kernels = kernels[:, 0]
    if kernels.dim() != 3 or kernels.shape[1] != kernels.shape[2] or len(kernels) == 0:
        shape = tuple(kernels.shape)
        raise UserError(f"kernels: expected shape (n, k, k) or (n, 1, k, k), found {shape}")
    if kernel_size is not None and kernels.shape[1] != kernel_size:
        size = kernels.shape[1]
        raise UserError(
            f"kernels: the prior is over {kernel_size} x {kernel_size} kernels, "
            f"found {size} x {size}"
        )
    if not torch.isfinite(kernels).all():
        raise UserError("kernels: expected finite values, found NaN or infinity")
    return kernels.to(torch.float32)


def load_kernels(path: str | os.PathLike, part: str, kernel_size: int | None = None) -> Tensor:
    """Read the "train" or "test" part of a file of kernels, float32 (n, k, k).

    Raises:
        UserError: the file is missing or unreadable, or holds other than finite kernels, or of
            another size than `kernel_size`.
    """
    kernels = load_tensors(path, kind="kernels")[0][part]
    try:
        return check_kernels(kernels, kernel_size)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def collect(weights: Iterable[Tensor]) -> Tensor:
    """Return the kernels (n, k, k) of convolution weights, each (out, in, k, k)."""
    return torch.cat([weight.flatten(0, 1) for weight in weights])


def norms(kernels: Tensor) -> Tensor:
    """Return the Euclidean norm (n,) of kernels (n, k, k)."""
    return kernels.flatten(1).norm(dim=1)


def cut_norm(
    kernel_norms: Tensor, *, threshold: float | None = None, quantile: float | None = None
) -> float:
    """Return the norm below which kernels are dropped.

    The L2 penalty drives the kernels a net does not use to almost 0; what is left are the others.

    Args:
        kernel_norms: (n,).
        threshold: the norm itself.
        quantile: the fraction of kernels to drop, in [0, 1).

    Raises:
        UserError: neither or both of `threshold` and `quantile` are given.
    """
    if (threshold is None) == (quantile is None):
        raise UserError("kernels: expected either a threshold or a quantile to prune by")
    if threshold is not None:
        return float(threshold)
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

    They have the distribution of all, in a file of bearable size.
    """
    ordered = kernel_norms.sort().values
    if len(ordered) <= most:
        return ordered
    return ordered[torch.linspace(0, len(ordered) - 1, most, dtype=torch.double).round().long()]


def describe(kernel_norms: Tensor, cut: float, nets: int, train: int, test: int) -> dict:
    """Return counts and the distribution of norms of a kernel data set, for JSON."""
    kept = kernel_norms[kernel_norms >= cut]
    return {
        "nets": nets,
        "collected": len(kernel_norms),
        "cut": cut,
        "kept": len(kept),
        "kept_fraction": len(kept) / len(kernel_norms),
        "train": train,
        "test": test,
        "norms_collected": _quantiles(kernel_norms),
        "norms_kept": _quantiles(kept),
    }


def _quantiles(values: Tensor) -> dict[str, float]:
    ordered = values.sort().values
    places = {"least": 0, "lower_quartile": 0.25, "median": 0.5, "upper_quartile": 0.75, "most": 1}
    return {k: float(ordered[round(q * (len(ordered) - 1))]) for k, q in places.items()}
