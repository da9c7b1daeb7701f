"""Kernels and images as tiles, the latent space of kernels, and the distribution of their norms."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

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


def _numbers(values: "Tensor") -> np.ndarray:
    """Return the values of a tensor on any device as float32."""
    return values.detach().float().cpu().numpy()


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
    """
    blocks = {} if real is None else {"real kernels": real}
    blocks |= {style.look(prior).label: kernels for prior, kernels in samples.items()}
    rows = math.ceil(len(blocks) / _BLOCKS_PER_ROW)
    columns = math.ceil(len(blocks) / rows)
    width = style.SINGLE_COLUMN if columns <= 2 else style.DOUBLE_COLUMN
    figure, panels = style.canvas(width, rows * (width / columns + 0.04), rows, columns)
    for panel in panels.flat:
        panel.set_axis_off()
    for panel, (title, kernels) in zip(panels.flat, blocks.items(), strict=False):
        _show(panel, mosaic(_filled(_numbers(kernels), tiles, tiles)))
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
    left, right = (_numbers(kernels).reshape(-1, k, k) for kernels in (real, decoded))
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
        for panel, drawn in zip(row, _numbers(images[init]), strict=True):
            tiles = drawn.reshape(rows, _IMAGES_PER_ROW, *drawn.shape[1:])
            _show(panel, mosaic(tiles, largest=1), cmap="gray_r", vmin=0)
        # a row may be lower than the label is long
        row[0].set_ylabel(style.look(init).label.replace(" ", "\n"))
    return figure


@style.styled
def latent_space(grid: "Tensor", values: Sequence[float], codes: "Tensor | None" = None) -> Figure:
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
    _show(panels[0], mosaic(_numbers(grid)[::-1]), extent=(-edge, edge, -edge, edge))
    panels[0].set_title("decoded kernels")
    if codes is not None:
        dots = {"s": 2, "color": "0.2", "alpha": 0.35, "linewidths": 0, "rasterized": True}
        panels[1].scatter(*_numbers(codes).T, **dots)
        panels[1].set_title("codes of real kernels")
    for panel in panels:
        panel.set(xlim=(-edge, edge), ylim=(-edge, edge), aspect="equal")
        panel.set(xlabel="$z_1$", ylabel="$z_2$")
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
    kernels = _numbers(grid)
    rows, columns = kernels.shape[:2]
    names = [f"$z_{{{row + 1}}}$" for row in range(rows)]
    if codes is not None:
        deviations = _numbers(codes).std(0, ddof=1)
        names = [f"{name} (sd {sd:.2f})" for name, sd in zip(names, deviations, strict=True)]
    figure, ((panel,),) = style.canvas(style.DOUBLE_COLUMN, 0.3 + 0.69 * rows)
    _show(panel, mosaic(kernels, np.abs(kernels).max()), extent=(0, columns, rows, 0))
    panel.set_xticks(np.arange(columns) + 0.5, [f"{v:g}" for v in values])
    panel.set_yticks(np.arange(rows) + 0.5, names)
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
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
    values = _numbers(norms)
    figure, ((axes,),) = style.canvas(style.SINGLE_COLUMN, 2.1)
    bins = {"bins": _BARS, "range": (0, max(values.max(), threshold))}
    weights = np.full(len(values), (collected or kept) / len(values))
    axes.hist(values, weights=weights, color=style.look("log-uniform").colour, **bins)
    if collected is None:
        line, count = f"least norm {threshold:.3g}", f"{kept:,} released, pruned already"
    else:
        share = f"{100 * kept / collected:.3g} %"
        line, count = f"threshold {threshold:.3g}", f"kept {kept:,} of {collected:,} ({share})"
    axes.axvline(threshold, color=style.look("dwp").colour, linestyle="--", label=line)
    axes.plot([], [], " ", label=count)
    axes.margins(x=0.01)
    axes.set(xlabel="kernel norm", ylabel="kernels", yscale="log")
    axes.set_ylim(bottom=0.7)
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def mosaic(kernels: np.ndarray, largest: float | None = None) -> np.ndarray:
    """Return kernels laid out as one image with gaps.

    Args:
        kernels: (rows, columns, height, width) of a tile; NaN stays empty.
        largest: the magnitude to divide by; None: each tile by its own largest magnitude, which
            shows shapes best but not that one kernel is larger than another.

    Returns:
        (height, width), NaN in the gaps. Each tile is centred in its cell.
    """
    if largest is None:
        largest = np.abs(kernels).max(
            (-2, -1), keepdims=True, initial=1e-38, where=kernels == kernels
        )
    enlarge = max(1, _TILE_PIXELS // kernels.shape[-1])
    tiles = (kernels / largest).repeat(enlarge, -2).repeat(enlarge, -1)
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


def _show(panel: Axes, image: np.ndarray, cmap: str = "RdBu_r", vmin: float = -1, **options: Any):
    """Draw an image, without ticks or frame unless its extent is an option."""
    panel.imshow(image, cmap, vmin=vmin, vmax=1, interpolation="none", **options)
    panel.grid(False)
    if not options:
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
