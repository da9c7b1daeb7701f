"""Norms of kernels and the cut that prunes them."""

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from dwp.plots.style import SINGLE_COLUMN, look, styled

_BARS = 60


@styled
def norm_histogram(norms: Tensor, cut: float, kept: int, collected: int | None) -> Figure:
    """Draw how many kernels have which norm, with a logarithmic count, and the pruning cut.

    Args:
        norms: (m,), Euclidean norms of the kernels before pruning, or of a part of them with the
            same distribution.
        cut: norm below which kernels are dropped.
        kept: how many kernels were kept.
        collected: how many there were before pruning; None: nobody knows, the norms are of the kept
            ones and `cut` is the least of them.
    """
    values = norms.detach().cpu().double().numpy()
    figure = Figure(figsize=(SINGLE_COLUMN, 2.1), layout="constrained")
    axes = figure.subplots()
    edges = np.linspace(0.0, max(values.max(), cut) * 1.001, _BARS + 1)
    axes.hist(
        values,
        edges,
        weights=np.full(len(values), (collected or kept) / len(values)),
        color=look("log-uniform").colour,
    )
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.7)
    if collected is None:
        line, count = f"least {cut:.3g}", f"{kept:,} released, pruned already"
    else:
        share = f"{100 * kept / collected:.3g} %"
        line, count = f"cut {cut:.3g}", f"kept {kept:,} of {collected:,} ({share})"
    axes.axvline(cut, color=look("dwp").colour, linestyle="--", label=line)
    axes.plot([], [], " ", label=count)
    axes.set_xlim(edges[0] - 0.01 * edges[-1], edges[-1])
    axes.set_xlabel("kernel norm")
    axes.set_ylabel("kernels")
    figure.legend(loc="outside upper center", ncols=2)
    return figure
