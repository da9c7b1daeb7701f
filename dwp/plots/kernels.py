"""Kernels and images as tiles, the latent space of kernels, and the distribution of their norms."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional

from dwp.plots import style

_PER_ROW = 4  # blocks of a figure, images or pairs of a block
_PAIRS = 32
_TILE_PIXELS = 48
_BARS = 60
_COLOURS = {"cmap": "RdBu_r", "vmin": -1, "vmax": 1, "interpolation": "none"}


@style.styled
def kernels_and_samples(
    real: Tensor | None, samples: Mapping[str, Tensor], tiles: int = 6
) -> Figure:
    """Draw real kernels and samples of priors: one titled block of square tiles per source.

    Blue is negative, white zero, red positive.

    Args:
        real: (m, k, k), real kernels, drawn first; None leaves them out.
        samples: (m, k, k) per prior's name. The first `tiles`^2 kernels of each are drawn, so
            shuffle before if their order matters.
        tiles: tiles per side of a block.
    """
    blocks = {} if real is None else {"real kernels": real}
    blocks |= {style.look(prior)["label"]: kernels for prior, kernels in samples.items()}
    images = {title: mosaic(kernels[: tiles**2], tiles) for title, kernels in blocks.items()}
    return _blocks(images, math.ceil(len(images) / math.ceil(len(images) / _PER_ROW)))


@style.styled
def reconstruction_pairs(real: Tensor, decoded: Tensor, error: float, spread: float) -> Figure:
    """Draw pairs of tiles: left a real kernel, right its reconstruction.

    A pair is divided by the largest magnitude in it, so that a weak reconstruction looks pale.

    Args:
        real: (m, k, k); the first 32 are drawn.
        decoded: (m, k, k), their reconstructions.
        error: for the title, as the spread; see `dwp.evaluation.study.reconstruct`.
        spread: of the real kernels.
    """
    k = real.shape[-1]
    left, right = (kernels[:_PAIRS].reshape(-1, k, k) for kernels in (real, decoded))
    gap = left.new_full((len(left), k, 1), torch.nan)
    image = mosaic(torch.cat([left, gap, right], 2), _PER_ROW)
    title = f"real | reconstructed: error {error:.3g}, kernels' spread {spread:.3g}"
    return _blocks({title: image}, 1)


@style.styled
def images_by_step(images: Mapping[str, Tensor], steps: Sequence[int]) -> Figure:
    """Draw images in [0, 1] after several steps of training: a row per initialisation.

    Args:
        images: (steps, n, h, w) per initialisation.
        steps: of the columns.
    """
    blocks = {
        f"{style.look(init)['label']}, step {step:,}": mosaic(drawn, _PER_ROW, largest=1)
        for init in style.in_order(images)
        for step, drawn in zip(steps, images[init], strict=True)
    }
    return _blocks(blocks, len(steps), cmap="gray_r", vmin=0)


def _blocks(images: Mapping[str, np.ndarray], columns: int, **shown: Any) -> Figure:
    """Draw images of one size, by title, in rows."""
    rows = math.ceil(len(images) / columns)
    width = style.SINGLE_COLUMN if columns <= 2 else style.DOUBLE_COLUMN
    height, across = next(iter(images.values())).shape
    height = rows * (width / columns * height / across + 0.15)
    figure, panels = style.canvas(width, height, rows, columns)
    for panel in panels.flat:
        panel.set_axis_off()
    for panel, (title, image) in zip(panels.flat, images.items(), strict=False):
        panel.imshow(image, **_COLOURS | shown)
        panel.set_title(title, pad=2)
    return figure


@style.styled
def latent_space(grid: Tensor, values: Sequence[float], codes: Tensor | None = None) -> Figure:
    """Draw decoded kernels on the two-dimensional latent plane.

    Args:
        grid: (v, v, k, k), decoded mean kernels; `grid[i, j]` belongs to the i-th value of the
            second latent coordinate and the j-th of the first.
        values: v values of a coordinate, evenly spaced around 0.
        codes: (m, 2), codes of real kernels, drawn in a second panel of the same part of the plane
            (those outside are not shown).
    """
    edge = values[-1] + (values[1] - values[0]) / 2
    width = style.SINGLE_COLUMN if codes is None else style.DOUBLE_COLUMN
    figure, (panels,) = style.canvas(width, 3.5, columns=1 if codes is None else 2)
    # The mosaic's first row is at the top of an image, the plane's lowest row at the bottom.
    extent = (-edge, edge, -edge, edge)
    panels[0].imshow(mosaic(grid.flip(0).flatten(0, 1), len(grid)), extent=extent, **_COLOURS)
    panels[0].set_title("decoded kernels")
    panels[0].grid(False)
    if codes is not None:
        dots = {"s": 2, "color": "0.2", "alpha": 0.35, "linewidths": 0, "rasterized": True}
        panels[1].scatter(*codes.T.tolist(), **dots)
        panels[1].set_title("codes of real kernels")
    for panel in panels:
        panel.axis(extent)
        panel.set(aspect="equal", xlabel="$z_1$", ylabel="$z_2$")
    return figure


@style.styled
def latent_traversal(grid: Tensor, values: Sequence[float], codes: Tensor | None = None) -> Figure:
    """Draw kernels decoded along each latent coordinate, the others at zero: a row each.

    Args:
        grid: (latent, v, k, k), decoded mean kernels.
        values: v values of the coordinate, evenly spaced.
        codes: (m, latent), codes of real kernels: the label of a row has their standard deviation
            along its coordinate. Near 0 the coordinate is not used, near 1 it is.
    """
    rows, columns = grid.shape[:2]
    names = [f"$z_{{{row + 1}}}$" for row in range(rows)]
    if codes is not None:
        deviations = codes.std(0).tolist()
        names = [f"{name} (sd {sd:.2f})" for name, sd in zip(names, deviations, strict=True)]
    figure, ((panel,),) = style.canvas(style.DOUBLE_COLUMN, 0.3 + 0.69 * rows)
    image = mosaic(grid.flatten(0, 1), columns, float(grid.abs().max()))
    panel.imshow(image, extent=(0, columns, rows, 0), **_COLOURS)
    panel.grid(False)
    panel.set_xticks(np.arange(columns) + 0.5, [f"{v:g}" for v in values])
    panel.set_yticks(np.arange(rows) + 0.5, names)
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    panel.set_xlabel("value of the coordinate")
    return figure


@style.styled
def norm_histogram(norms: Tensor, threshold: float, kept: int, collected: int | None) -> Figure:
    """Draw the distribution of norms, with a logarithmic count, and the pruning threshold.

    Args:
        norms: (m,), Euclidean norms of the kernels before pruning, or of a part of them with the
            same distribution.
        threshold: norm below which kernels are dropped.
        kept: how many kernels were kept.
        collected: how many there were before pruning; None if unknown: then the norms are of the
            kept ones and `threshold` is their least norm.
    """
    values = norms.tolist()
    figure, ((axes,),) = style.canvas(style.SINGLE_COLUMN, 2.1)
    bins = {"bins": _BARS, "range": (0, max(*values, threshold))}
    weights = np.full(len(values), (collected or kept) / len(values))
    axes.hist(values, weights=weights, color=style.look("log-uniform")["color"], **bins)
    if collected is None:
        title = f"least norm {threshold:.3g}: {kept:,} released, pruned already"
    else:
        share = f"{100 * kept / collected:.3g} %"
        title = f"threshold {threshold:.3g}: kept {kept:,} of {collected:,} ({share})"
    axes.axvline(threshold, color=style.look("dwp")["color"], linestyle="--")
    axes.margins(x=0.01)
    axes.set(xlabel="kernel norm", ylabel="kernels", yscale="log", title=title)
    axes.set_ylim(bottom=0.7)
    return figure


def mosaic(kernels: Tensor, columns: int, largest: float | None = None) -> np.ndarray:
    """Return kernels laid out in rows as one image with gaps.

    Args:
        kernels: (n, height, width) of a tile; NaN stays empty.
        columns: kernels in a row; the last row may have fewer.
        largest: the magnitude to divide by; None: each tile by its own largest magnitude, which
            shows shapes best but not that one kernel is larger than another.

    Returns:
        (height, width), NaN in the gaps. Each tile is centred in its cell.
    """
    kernels = kernels.detach().float().cpu()
    own = kernels.abs().nan_to_num().amax((1, 2), keepdim=True).clamp(min=1e-38)
    scaled = kernels / (own if largest is None else largest)
    enlarge = max(1, _TILE_PIXELS // kernels.shape[-1])
    tiles = functional.interpolate(scaled[None], scale_factor=enlarge)[0]  # (n, height, width)
    rows, gap = math.ceil(len(tiles) / columns), max(1, tiles.shape[-1] // 14)
    around = gap, gap, gap, gap, 0, rows * columns - len(tiles)
    tiles = functional.pad(tiles, around, value=torch.nan)  # (rows * columns, height, width)
    return tiles.unflatten(0, (rows, columns)).swapaxes(1, 2).flatten(2).flatten(0, 1).numpy()
