"""One style for all figures: sizes, fonts, colours, names, panels, and reproducible files."""

import os
import re
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dwp.errors import UserError
from dwp.files import atomic

SINGLE_COLUMN = 3.35  # inches
DOUBLE_COLUMN = 6.9  # inches
PNG_DPI = 200

RC: dict[str, Any] = {
    "font.size": 7,
    "axes.titlesize": 8,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "lines.linewidth": 1.1,
    "lines.markersize": 3.6,
    "pdf.fonttype": 42,  # journals refuse Type 3 fonts
    "svg.hashsalt": "dwp",  # identifiers are random otherwise
}


styled = matplotlib.style.context(["default", RC])
"""Decorator of functions that draw: figures have our settings and no others.

Neither a matplotlibrc nor what the process has set before changes a figure. Afterwards
matplotlib's settings are as before.
"""


_LOOKS = {  # colour (for colour-blind readers too: Okabe and Ito), marker, label
    "dwp": ("#d55e00", "o", "DWP"),
    "log-uniform": ("#0072b2", "s", "log-uniform"),
    "standard-normal": ("#009e73", "^", "standard normal"),
    "gaussian-diagonal": ("#e69f00", "D", "Gaussian, diagonal"),
    "gaussian-full": ("#cc79a7", "v", "Gaussian, full"),
    "deterministic": ("#000000", "P", "deterministic"),
    "deterministic-l2": ("#777777", "<", "deterministic, L2"),
    "deterministic-dropout": ("#a0522d", ">", "deterministic, dropout"),
    "deterministic-dwp": ("#e7298a", "*", "deterministic, DWP penalty"),
    "deep-ensemble": ("#808000", "d", "deep ensemble"),
    "flow": ("#56b4e9", "X", "flow"),
    "dwp-all": ("#9e0142", "h", "DWP, all 5x5 kernels"),
    "dwp-released-7x7": ("#8c510a", "d", "DWP, the authors' 7x7"),
    "gaussian-mixture": ("#7b3294", "p", "Gaussian mixture"),
    "kernel-density": ("#3f007d", "p", "kernel density"),
    "student-t": ("#5c5c00", "*", "Student t"),
    # inits that are no priors; each has the look of a prior that is no init
    "xavier": ("#0072b2", "s", "Xavier"),
    "reconstructed-kernels": ("#777777", "<", "reconstructed kernels"),
    "source-kernels": ("#000000", "P", "source kernels"),
}
_SPARE_COLOURS = ("#6a3d9a", "#b2df8a", "#8c1d40", "#17becf", "#bcbd22", "#1b2a6b", "#f781bf")
_SPARE_MARKERS = ("p", "h", "*", "d", "8")

_ACRONYMS = ("nll", "kl", "elbo", "ece", "ood", "auroc")
_IN_NATS = {"nll", "kl", "elbo"}
_PANELS_A_ROW = 3
_FRACTIONS = ("accuracy", "ece", "auroc")


def look(name: str, **options: Any) -> dict[str, Any]:
    """Return matplotlib's options of the line of a prior or init, and others.

    Those of an unknown one depend on its name only.
    """
    number = zlib.crc32(name.encode())
    marker = _SPARE_MARKERS[number // len(_SPARE_COLOURS) % len(_SPARE_MARKERS)]
    spare = _SPARE_COLOURS[number % len(_SPARE_COLOURS)], marker, name
    colour, marker, label = _LOOKS.get(name, spare)
    return {"color": colour, "marker": marker, "markeredgewidth": 0, "label": label, **options}


def in_order(names: Iterable[str]) -> list[str]:
    """Return the distinct names: known ones in the legend's order, then the others by name."""
    known = list(_LOOKS)
    return sorted(set(names), key=lambda name: (known.index(name) if name in known else 99, name))


def metric_label(metric: str) -> str:
    """Return the axis label of a metric: "ensemble_nll" -> "ensemble NLL (nats)"."""
    words = metric.split("_")
    text = " ".join(word.upper() if word in _ACRONYMS else word for word in words)
    return text.replace("brier", "Brier score") + " (nats)" * (not _IN_NATS.isdisjoint(words))


def setting_label(name: str, value: str) -> str:
    """Return the label of a setting's value, such as "kernels per step 512", or of an init."""
    if name == "init":
        return f"{look(value)['label']} initialisation"
    return f"{name.replace('_', ' ')} {value}"


def rows_of(frame: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Return the rows of metrics, with the column `metric` as categories in this order."""
    rows = frame[frame["metric"].isin(metrics)]
    return rows.astype({"metric": pd.CategoricalDtype(list(metrics))})


def canvas(
    width: float, height: float, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, np.ndarray]:
    """Return an empty figure (size in inches) and its panels (rows, columns)."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def panels(
    frame: pd.DataFrame, by: Sequence[str], height: float = 2.25, axis: str = "y"
) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """Return an empty figure with a panel per metric and combination of values of `by`.

    Titles have the values of `by`. At most three panels stand in a row: the metrics or, of one
    metric, the values of the last of `by`, where they are two or three.

    Args:
        frame: the data to draw: the columns `metric` and `by`.
        by: varied settings, `init`.
        height: of a row of panels without its titles, in inches.
        axis: that of the metrics; panels share the y axis where it is not that of several.

    Returns:
        The figure, and each panel with its rows of `frame`; one panel makes a single-column figure.
    """
    several = frame["metric"].nunique() > 1
    by = [*by, "metric"] if several or not by else list(by)
    parts = list(frame.groupby(by, observed=True))
    last = frame[by[-1]].nunique()
    least = -(-len(parts) // _PANELS_A_ROW)
    columns = last if 1 < last <= _PANELS_A_ROW else -(-len(parts) // least)
    rows = -(-len(parts) // columns)
    titles = [name for name in by if name != "metric"]
    size = SINGLE_COLUMN if columns == 1 else DOUBLE_COLUMN, rows * (height + 0.15 * len(titles))
    figure, grid = canvas(*size, rows, columns, sharey=axis == "x" or not several)
    figure.get_layout_engine().set(w_pad=0.08)  # inches; tick labels reach into the gap
    for unused in grid.flat[len(parts) :]:
        unused.remove()
    drawn = [(axes, part) for axes, (_, part) in zip(grid.flat, parts, strict=False)]
    for number, (axes, part) in enumerate(drawn):
        first = part.iloc[0]
        axes.set_title("\n".join(setting_label(name, first[name]) for name in titles))
        if several or number % columns == 0:
            axes.set(**{f"{axis}label": metric_label(first["metric"])})
    return figure, drawn


def limit_fractions(drawn: list[tuple[Axes, pd.DataFrame]], axis: str = "y") -> None:
    """Keep the axes of fractions inside [0, 1], where wide error bars may reach out."""
    for axes, part in drawn:
        metric = part["metric"].iloc[0]
        if metric.endswith(_FRACTIONS) or metric.startswith("variety_"):
            low, high = getattr(axes, f"get_{axis}lim")()
            axes.set(**{f"{axis}lim": (max(low, 0.0), min(high, 1.0))})


def legend_below(
    figure: Figure, names: Iterable[str], more: Sequence[Line2D] = (), **options: Any
) -> None:
    """Put a legend under the panels, as many columns as fit, and make the figure taller for it.

    Args:
        figure: with its panels.
        names: priors or inits.
        more: further entries.
        **options: of the lines of `names`; see `look`.
    """
    entries = [Line2D([], [], **look(name, **options)) for name in names]
    legend = {"loc": "outside lower center", "columnspacing": 1.2, "handletextpad": 0.5}
    for columns in (4, 3, 2, 1):
        drawn = figure.legend(handles=[*entries, *more], ncols=columns, **legend)
        extent = drawn.get_window_extent()
        if extent.width <= figure.bbox.width or columns == 1:
            break
        drawn.remove()
    figure.set_figheight(figure.get_figheight() + extent.height / figure.dpi)


@styled
def save(figure: Figure, paths: Iterable[str | os.PathLike]) -> None:
    """Write a figure atomically to each path, by its suffix: `.pdf`, `.png` (200 dpi) or `.svg`.

    An SVG is for screens, which show it as large as the PNG; its letters are outlines, so that it
    looks alike everywhere.

    The same figure gives the same bytes, with one version of matplotlib: dates and versions are
    left out, and the layout is fixed at the first call.

    Raises:
        UserError: another suffix.
    """
    metadata = {
        ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
        ".png": {"Software": None},
        ".svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    }
    # Each drawing moves a constrained layout a little: settle it once for all files.
    for _ in range(2 if figure.get_layout_engine() else 0):
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for path in map(Path, paths):
        if path.suffix not in metadata:
            raise UserError(f"{path}: expected .pdf, .png or .svg")
        with atomic(path) as temporary:
            figure.savefig(temporary, dpi=PNG_DPI, metadata=metadata[path.suffix])
            if path.suffix == ".svg":
                width, height = (figure.get_size_inches() * PNG_DPI).round().astype(int)
                pixels = f'width="{width}" height="{height}"'
                text = temporary.read_text(encoding="utf-8")
                text = re.sub('width="[^"]*" height="[^"]*"', pixels, text, count=1)
                temporary.write_text(text, encoding="utf-8")
