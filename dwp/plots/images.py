"""Images of a generative model as tiles: a row per initialisation, a column per step."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from torch import Tensor

from dwp.plots.kernels import mosaic
from dwp.plots.style import DOUBLE_COLUMN, in_order, look, styled

_PER_ROW = 4  # images side by side in a cell


@styled
def images_by_step(images: Mapping[str, Tensor], steps: Sequence[int]) -> Figure:
    """Draw images in [0, 1] after several steps of training: a row per initialisation.

    Args:
        images: (steps, n, h, w) per initialisation, n a multiple of 4.
        steps: of the columns.
    """
    inits = in_order(images)
    rows = next(iter(images.values())).shape[1] // _PER_ROW
    side = DOUBLE_COLUMN / len(steps)
    height = len(inits) * (side * rows / _PER_ROW + 0.06) + 0.2
    figure = Figure(figsize=(DOUBLE_COLUMN, height), layout="constrained")
    axes = figure.subplots(len(inits), len(steps), squeeze=False)
    for panel, step in zip(axes[0], steps, strict=True):
        panel.set_title(f"step {step:,}", pad=2)
    for row, init in zip(axes, inits, strict=True):
        for panel, drawn in zip(row, images[init], strict=True):
            tiles = mosaic(drawn.unflatten(0, (rows, _PER_ROW)), "block") * float(drawn.max())
            panel.imshow(tiles, cmap="gray_r", vmin=0, vmax=1, interpolation="none")
            panel.set_xticks([])
            panel.set_yticks([])
            panel.spines[:].set_visible(False)
            panel.grid(False)
        row[0].set_ylabel(look(init).label.replace(" ", "\n"))  # a row may be lower than it is long
    return figure
