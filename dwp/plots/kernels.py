"""Convolution kernels as tiles."""

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from dwp.plots.style import DOUBLE_COLUMN, SINGLE_COLUMN, look, styled

COLOURS = "RdBu_r"

_BLOCKS_PER_ROW = 4
_TILE_PIXELS = 48


@styled
def kernels_beside_samples(
    real: Tensor | None,
    samples: Mapping[str, Tensor],
    tiles: int = 6,
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
    blocks |= {look(prior).label: kernels for prior, kernels in samples.items()}
    if not blocks:
        raise ValueError("nothing to draw: no real kernels and no samples")
    rows = math.ceil(len(blocks) / _BLOCKS_PER_ROW)
    columns = math.ceil(len(blocks) / rows)
    width = SINGLE_COLUMN if columns <= 2 else DOUBLE_COLUMN
    side = width / columns
    figure = Figure(figsize=(width, rows * (side + 0.04)), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in axes:
        panel.set_axis_off()
    for panel, (title, kernels) in zip(axes, blocks.items(), strict=False):
        square = torch.full((tiles**2, *kernels.shape[1:]), torch.nan)
        drawn = kernels[: tiles**2]
        square[: len(drawn)] = drawn.detach().float().cpu()
        image = mosaic(square.unflatten(0, (tiles, tiles)))
        panel.imshow(image, cmap=COLOURS, vmin=-1, vmax=1, interpolation="none")
        panel.set_title(title, pad=2)
    return figure


@styled
def kernels_beside_reconstructions(
    real: Tensor,
    decoded: Tensor,
    error: float,
    spread: float,
    rows: int = 8,
    columns: int = 4,
) -> Figure:
    """Draw pairs of tiles: left a real kernel, right its reconstruction.

    A pair is divided by the largest magnitude in it, so that a weak reconstruction looks pale.

    Args:
        real: (m, k, k); the first `rows` * `columns` are drawn.
        decoded: (m, k, k), their reconstructions.
        error: told in the title, as the spread; see `dwp.evaluation.study.reconstruct`.
        spread: of the real kernels.
        rows: of pairs.
        columns: of pairs.
    """
    k = real.shape[-1]
    count = rows * columns
    pairs = torch.full((count, k, 2 * k + 1), torch.nan)
    drawn = real[:count].reshape(-1, k, k)  # kernels may have a channel
    pairs[: len(drawn), :, :k] = drawn
    pairs[: len(drawn), :, k + 1 :] = decoded[:count]
    image = mosaic(pairs.unflatten(0, (rows, columns)))
    figure = Figure(figsize=(SINGLE_COLUMN, 0), layout="constrained")
    figure.set_figheight(SINGLE_COLUMN * image.shape[0] / image.shape[1] + 0.35)
    panel = figure.subplots()
    panel.set_axis_off()
    panel.imshow(image, cmap=COLOURS, vmin=-1, vmax=1, interpolation="none")
    panel.set_title(
        f"real | reconstructed: error {error:.3g}, spread of the real {spread:.3g}", pad=2
    )
    return figure


def mosaic(kernels: Tensor, scale: Literal["tile", "block"] = "tile") -> np.ndarray:
    """Lay kernels out as one image with gaps.

    Args:
        kernels: (rows, columns, height, width) of a tile; NaN stays empty.
        scale: "tile" divides each kernel by its own largest magnitude, which shows shapes best but
            not that one kernel is larger than another; "block" divides all by the largest of all.

    Returns:
        (height, width), values in [-1, 1], NaN in the gaps. Each tile is centred in its cell.
    """
    if scale not in ("tile", "block"):
        raise ValueError(f"scale: expected 'tile' or 'block', found '{scale}'")
    kernels = kernels.detach().float().cpu()
    magnitude = kernels.abs().nan_to_num()
    largest = magnitude.amax((-2, -1), keepdim=True) if scale == "tile" else magnitude.amax()
    scaled = kernels / largest.clamp_min(torch.finfo(torch.float32).tiny)
    enlarge = max(1, _TILE_PIXELS // kernels.shape[-1])
    tiles = scaled.repeat_interleave(enlarge, -2).repeat_interleave(enlarge, -1)
    gap = max(1, tiles.shape[-1] // 14)
    tiles = torch.nn.functional.pad(tiles, (gap, gap, gap, gap), value=torch.nan)
    rows, columns, height, width = tiles.shape
    return tiles.transpose(1, 2).reshape(rows * height, columns * width).numpy()
