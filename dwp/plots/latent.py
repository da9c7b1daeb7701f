"""The latent space of a prior over kernels."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from torch import Tensor

from dwp.plots.kernels import COLOURS, mosaic
from dwp.plots.style import DOUBLE_COLUMN, SINGLE_COLUMN, styled


@styled
def latent_space(
    grid: Tensor,
    extent: tuple[float, float, float, float],
    codes: Tensor | None = None,
) -> Figure:
    """Pin decoded kernels on the two-dimensional latent plane.

    Args:
        grid: (g, g, k, k), decoded mean kernels; `grid[i, j]` belongs to the i-th value of the
            second latent coordinate and the j-th of the first, both rising and evenly spaced.
        extent: (first low, first high, second low, second high): latent coordinates of the
            outermost tiles' centres.
        codes: (m, 2), codes of real kernels, drawn beside in the same part of the plane (those
            outside are not shown).
    """
    left, right, bottom, top = extent
    rows, columns = grid.shape[:2]
    half_x = (right - left) / max(columns - 1, 1) / 2
    half_y = (top - bottom) / max(rows - 1, 1) / 2
    edges = (left - half_x, right + half_x, bottom - half_y, top + half_y)

    size = (SINGLE_COLUMN, 3.35) if codes is None else (DOUBLE_COLUMN, 3.55)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, 1 if codes is None else 2, squeeze=False)[0]
    # The mosaic's first row is at the top of an image, the plane's lowest row at the bottom.
    image = mosaic(grid.flip(0))
    axes[0].imshow(image, COLOURS, vmin=-1, vmax=1, interpolation="none", extent=edges)
    axes[0].set_title("decoded kernels")
    if codes is not None:
        x, y = codes.detach().cpu().unbind(1)
        axes[1].scatter(x, y, s=2, color="0.2", alpha=0.35, linewidths=0, rasterized=True)
        axes[1].set_title("codes of real kernels")
    for panel in axes:
        panel.set_xlim(edges[:2])
        panel.set_ylim(edges[2:])
        panel.set_aspect("equal")
        panel.set_xlabel("$z_1$")
        panel.set_ylabel("$z_2$")
    axes[0].grid(False)
    return figure


@styled
def latent_traversal(grid: Tensor, values: Sequence[float], codes: Tensor | None = None) -> Figure:
    """Draw kernels decoded along each latent coordinate, the others at zero: a row each.

    Args:
        grid: (latent, v, k, k), decoded mean kernels.
        values: v values of the coordinate, evenly spaced.
        codes: (m, latent), codes of real kernels: the deviation of each coordinate among them is
            told beside its row. Near 0 the coordinate is not used, near 1 it is.
    """
    rows, columns = grid.shape[:2]
    names = [f"$z_{{{row + 1}}}$" for row in range(rows)]
    if codes is not None:
        deviations = codes.detach().cpu().std(0).tolist()
        names = [f"{name} (sd {sd:.2f})" for name, sd in zip(names, deviations, strict=True)]
    figure = Figure(figsize=(DOUBLE_COLUMN, 0.3 + 0.69 * rows), layout="constrained")
    panel = figure.subplots()
    image = mosaic(grid, "block")
    panel.imshow(image, COLOURS, vmin=-1, vmax=1, interpolation="none")
    height, width = image.shape[0] / rows, image.shape[1] / columns
    panel.set_xticks(
        [(column + 0.5) * width - 0.5 for column in range(columns)], [f"{v:g}" for v in values]
    )
    panel.set_yticks([(row + 0.5) * height - 0.5 for row in range(rows)], names)
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    panel.grid(False)
    panel.set_xlabel("value of the coordinate")
    return figure
