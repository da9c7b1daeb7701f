"""Kernels and images as tiles, the latent space of kernels, and the distribution of their norms."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dwp.plots import style

if TYPE_CHECKING:
    from torch import Tensor

_BLOCKS_PER_ROW = 4
_IMAGES_PER_ROW = 4
_PAIRS = (8, 4)  # rows, columns
_TILE_PIXELS = 48
_BARS = 60


def numbers(values: "Tensor | np.ndarray") -> np.ndarray:
    """Return the values of a tensor, on any device, or of an array as float32."""
    if hasattr(values, "detach"):
        values = values.detach().float().cpu().numpy()
    return np.asarray(values, np.float32)


@style.styled
def kernels_and_samples(
    real: "Tensor | None", samples: "Mapping[str, Tensor]", tiles: int = 6
) -> Figure:
    """Draw real kernels and samples of priors: one titled block of square tiles per source.

    Blue is negative, white zero, red positive.

    Args:
        real: (m, k, k), real kernels, drawn first; None leaves them out.
        samples: (m, k, k) per prior's name. The first `tiles`^2 kernels of each are drawn, so
            shuffle before if their order matters.
        tiles: tiles per side of a block.

    Raises:
        ValueError: nothing to draw.
    """
    blocks = {} if real is None else {"real kernels": real}
    blocks |= {style.look(prior).label: kernels for prior, kernels in samples.items()}
    if not blocks:
        raise ValueError("nothing to draw: no real kernels and no samples")
    rows = math.ceil(len(blocks) / _BLOCKS_PER_ROW)
    columns = math.ceil(len(blocks) / rows)
    width = style.SINGLE_COLUMN if columns <= 2 else style.DOUBLE_COLUMN
    figure, panels = style.canvas(width, rows * (width / columns + 0.04), rows, columns)
    for panel in panels.flat:
        panel.set_axis_off()
    for panel, (title, kernels) in zip(panels.flat, blocks.items(), strict=False):
        _show(panel, mosaic(_filled(numbers(kernels), tiles, tiles)))
        panel.set_title(title, pad=2)
    return figure


@style.styled
def reconstruction_pairs(real: "Tensor", decoded: "Tensor", error: float, spread: float) -> Figure:
    """Draw pairs of tiles: left a real kernel, right its reconstruction.

    A pair is divided by the largest magnitude in it, so that a weak reconstruction looks pale.

    Args:
        real: (m, k, k); the first 32 are drawn.
        decoded: (m, k, k), their reconstructions.
        error: for the title, as the spread; see `dwp.evaluation.study.reconstruct`.
        spread: of the real kernels.
    """
    k = real.shape[-1]
    left, right = (numbers(kernels).reshape(-1, k, k) for kernels in (real, decoded))
    gap = np.full((len(left), k, 1), np.nan)
    image = mosaic(_filled(np.concatenate([left, gap, right], 2), *_PAIRS))
    height = style.SINGLE_COLUMN * image.shape[0] / image.shape[1] + 0.35
    figure, ((panel,),) = style.canvas(style.SINGLE_COLUMN, height)
    _show(panel, image)
    panel.set_axis_off()
    title = f"real | reconstructed: error {error:.3g}, kernels' spread {spread:.3g}"
    panel.set_title(title, pad=2)
    return figure


@style.styled
def images_by_step(images: "Mapping[str, Tensor]", steps: Sequence[int]) -> Figure:
    """Draw images in [0, 1] after several steps of training: a row per initialisation.

    Args:
        images: (steps, n, h, w) per initialisation, n a multiple of 4.
        steps: of the columns.
    """
    inits = style.in_order(images)
    rows = next(iter(images.values())).shape[1] // _IMAGES_PER_ROW
    side = style.DOUBLE_COLUMN / len(steps)
    height = len(inits) * (side * rows / _IMAGES_PER_ROW + 0.06) + 0.2
    figure, panels = style.canvas(style.DOUBLE_COLUMN, height, len(inits), len(steps))
    for panel, step in zip(panels[0], steps, strict=True):
        panel.set_title(f"step {step:,}", pad=2)
    for row, init in zip(panels, inits, strict=True):
        for panel, drawn in zip(row, numbers(images[init]), strict=True):
            tiles = drawn.reshape(rows, _IMAGES_PER_ROW, *drawn.shape[1:])
            image = mosaic(tiles, "block") * drawn.max()
            _show(panel, image, cmap="gray_r", vmin=0)
        # a row may be lower than the label is long
        row[0].set_ylabel(style.look(init).label.replace(" ", "\n"))
    return figure


@style.styled
def latent_space(grid: "Tensor", reach: float, codes: "Tensor | None" = None) -> Figure:
    """Draw decoded kernels on the two-dimensional latent plane.

    Args:
        grid: (g, g, k, k), decoded mean kernels; `grid[i, j]` belongs to the i-th value of the
            second latent coordinate and the j-th of the first, evenly spaced from -reach to reach.
        reach: see `grid`.
        codes: (m, 2), codes of real kernels, drawn in a second panel of the same part of the plane
            (those outside are not shown).
    """
    edge = reach + reach / (len(grid) - 1)
    size = (style.SINGLE_COLUMN, 3.35, 1, 1) if codes is None else (style.DOUBLE_COLUMN, 3.55, 1, 2)
    figure, (panels,) = style.canvas(*size)
    # The mosaic's first row is at the top of an image, the plane's lowest row at the bottom.
    image = mosaic(numbers(grid)[::-1])
    extent = (-edge, edge, -edge, edge)
    panels[0].imshow(image, "RdBu_r", vmin=-1, vmax=1, interpolation="none", extent=extent)
    panels[0].set_title("decoded kernels")
    panels[0].grid(False)
    if codes is not None:
        x, y = numbers(codes).T
        panels[1].scatter(x, y, s=2, color="0.2", alpha=0.35, linewidths=0, rasterized=True)
        panels[1].set_title("codes of real kernels")
    for panel in panels:
        panel.set(xlim=extent[:2], ylim=extent[2:], aspect="equal", xlabel="$z_1$", ylabel="$z_2$")
    return figure


@style.styled
def latent_traversal(
    grid: "Tensor", values: Sequence[float], codes: "Tensor | None" = None
) -> Figure:
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
        deviations = numbers(codes).std(0, ddof=1)
        names = [f"{name} (sd {sd:.2f})" for name, sd in zip(names, deviations, strict=True)]
    figure, ((panel,),) = style.canvas(style.DOUBLE_COLUMN, 0.3 + 0.69 * rows)
    image = mosaic(numbers(grid), "block")
    _show(panel, image)
    height, width = image.shape[0] / rows, image.shape[1] / columns
    panel.set_xticks((np.arange(columns) + 0.5) * width - 0.5, [f"{v:g}" for v in values])
    panel.set_yticks((np.arange(rows) + 0.5) * height - 0.5, names)
    panel.tick_params(length=0)
    panel.set_xlabel("value of the coordinate")
    return figure


@style.styled
def norm_histogram(norms: "Tensor", threshold: float, kept: int, collected: int | None) -> Figure:
    """Draw the distribution of norms, with a logarithmic count, and the pruning threshold.

    Args:
        norms: (m,), Euclidean norms of the kernels before pruning, or of a part of them with the
            same distribution.
        threshold: norm below which kernels are dropped.
        kept: how many kernels were kept.
        collected: how many there were before pruning; None if unknown: then the norms are of the
            kept ones and `threshold` is their least norm.
    """
    values = numbers(norms).astype(float)
    figure, ((axes,),) = style.canvas(style.SINGLE_COLUMN, 2.1)
    edges = np.linspace(0.0, max(values.max(), threshold) * 1.001, _BARS + 1)
    weights = np.full(len(values), (collected or kept) / len(values))
    axes.hist(values, edges, weights=weights, color=style.look("log-uniform").colour)
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.7)
    if collected is None:
        line, count = f"least norm {threshold:.3g}", f"{kept:,} released, pruned already"
    else:
        share = f"{100 * kept / collected:.3g} %"
        line, count = f"threshold {threshold:.3g}", f"kept {kept:,} of {collected:,} ({share})"
    axes.axvline(threshold, color=style.look("dwp").colour, linestyle="--", label=line)
    axes.plot([], [], " ", label=count)
    axes.set_xlim(edges[0] - 0.01 * edges[-1], edges[-1])
    axes.set(xlabel="kernel norm", ylabel="kernels")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def mosaic(kernels: np.ndarray, scale: Literal["tile", "block"] = "tile") -> np.ndarray:
    """Return kernels laid out as one image with gaps.

    Args:
        kernels: (rows, columns, height, width) of a tile; NaN stays empty.
        scale: "tile" divides each kernel by its own largest magnitude, which shows shapes best but
            not that one kernel is larger than another; "block" divides all by the largest of all.

    Returns:
        (height, width), values in [-1, 1], NaN in the gaps. Each tile is centred in its cell.
    """
    if scale not in ("tile", "block"):
        raise ValueError(f"scale: expected 'tile' or 'block', found '{scale}'")
    kernels = np.asarray(kernels, np.float32)
    magnitude = np.nan_to_num(np.abs(kernels))
    largest = magnitude.max((-2, -1), keepdims=True) if scale == "tile" else magnitude.max()
    scaled = kernels / np.maximum(largest, np.finfo(np.float32).tiny)
    enlarge = max(1, _TILE_PIXELS // kernels.shape[-1])
    tiles = scaled.repeat(enlarge, -2).repeat(enlarge, -1)
    gap = max(1, tiles.shape[-1] // 14)
    around = (0, 0), (0, 0), (gap, gap), (gap, gap)
    tiles = np.pad(tiles, around, constant_values=np.nan)
    rows, columns, height, width = tiles.shape
    return tiles.swapaxes(1, 2).reshape(rows * height, columns * width)


def _filled(kernels: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Return the first kernels (n, h, w) as (rows, columns, h, w), NaN where there are too few."""
    grid = np.full((rows * columns, *kernels.shape[1:]), np.nan, np.float32)
    grid[: len(kernels)] = kernels[: rows * columns]
    return grid.reshape(rows, columns, *kernels.shape[1:])


def _show(panel: Axes, image: np.ndarray, cmap: str = "RdBu_r", vmin: float = -1) -> None:
    """Draw an image without ticks or frame."""
    panel.imshow(image, cmap, vmin=vmin, vmax=1, interpolation="none")
    panel.set(xticks=[], yticks=[])
    panel.spines[:].set_visible(False)
    panel.grid(False)
