"""One look for all figures: sizes, fonts, colours, names, and reproducible files."""

import os
import re
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
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
    "font.family": "DejaVu Sans",  # comes with matplotlib, so figures are alike everywhere
    "font.size": 7,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 2.0,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.6,
    "pdf.fonttype": 42,  # journals refuse Type 3 fonts
    "svg.hashsalt": "dwp",  # its names of things are random otherwise
}
styled = mpl.rc_context(RC)
"""Decorator of functions that draw; matplotlib's settings are as before when they return."""


class Look(NamedTuple):
    """How a prior is drawn."""

    colour: str
    marker: str
    label: str


_LOOKS = {  # colours that differ for colour-blind readers too (Okabe and Ito)
    "dwp": Look("#d55e00", "o", "DWP"),
    "log-uniform": Look("#0072b2", "s", "log-uniform"),
    "standard-normal": Look("#009e73", "^", "standard normal"),
    "gaussian-diagonal": Look("#e69f00", "D", "Gaussian, diagonal"),
    "gaussian-full": Look("#cc79a7", "v", "Gaussian, full"),
    "deterministic": Look("#000000", "P", "deterministic"),
    "deterministic-l2": Look("#777777", "<", "deterministic, L2"),
    "deterministic-dropout": Look("#a0522d", ">", "deterministic, dropout"),
    "deterministic-dwp": Look("#e7298a", "*", "deterministic, DWP penalty"),
    "deep-ensemble": Look("#808000", "d", "deep ensemble"),
    "flow": Look("#56b4e9", "X", "flow"),
    "gaussian-mixture": Look("#7b3294", "p", "Gaussian mixture"),
    "student-t": Look("#5c5c00", "*", "Student t"),
    # inits that are no priors; each has the look of a prior that is no init
    "xavier": Look("#0072b2", "s", "Xavier"),
    "reconstructed-kernels": Look("#777777", "<", "reconstructed kernels"),
    "source-kernels": Look("#000000", "P", "source kernels"),
}
_SPARE_COLOURS = ("#6a3d9a", "#b2df8a", "#8c1d40", "#17becf", "#bcbd22", "#1b2a6b", "#f781bf")
_SPARE_MARKERS = ("p", "h", "*", "d", "8")

_WORDS = {
    "nll": "NLL (nats)",
    "kl": "KL",
    "elbo": "ELBO (nats)",
    "ece": "ECE",
    "ood": "OOD",
    "auroc": "AUROC",
    "brier": "Brier score",
}
_PANELS_A_ROW = 3
_FRACTIONS = ("accuracy", "ece", "auroc")


def look(prior: str) -> Look:
    """Colour, marker and label of a prior; other names get ones that depend on the name only."""
    if prior in _LOOKS:
        return _LOOKS[prior]
    code = zlib.crc32(prior.encode())
    marker, colour = divmod(code, len(_SPARE_COLOURS))
    return Look(_SPARE_COLOURS[colour], _SPARE_MARKERS[marker % len(_SPARE_MARKERS)], prior)


def in_order(priors: Iterable[str]) -> list[str]:
    """The distinct priors: known ones in the legend's order, then the others by name."""
    known = list(_LOOKS)
    return sorted(set(priors), key=lambda name: (known.index(name) if name in known else 99, name))


def metric_label(metric: str) -> str:
    """Axis label of a metric: "ensemble_nll" -> "ensemble NLL (nats)"."""
    text = " ".join(_WORDS.get(word, word) for word in metric.split("_"))
    return f"{text} (nats)" if "KL" in text else text


def rows_of_metric(frame: pd.DataFrame, metric: str, alone: Iterable[str]) -> pd.DataFrame:
    """The rows of one metric.

    Raises:
        UserError: there are none, or a column of `alone` has several values, which one figure
            would mix up.
    """
    rows = frame[frame["metric"] == metric]
    if rows.empty:
        raise UserError(f"no rows with the metric '{metric}'")
    for column in alone:
        if column in rows and rows[column].nunique() > 1:
            raise UserError(f"several values of '{column}' in one figure: keep one")
    return rows


def panels(
    frame: pd.DataFrame, vary: Sequence[str], height: float, label: str
) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """An empty figure with a panel per initialisation and combination of varied settings.

    Panels share the y axis, at most three in a row (those of one combination, where there are
    several initialisations), and have titles that say what they are of.

    Args:
        frame: what will be drawn: the columns `init` and `vary`.
        vary: varied settings.
        height: of a row of panels, in inches.
        label: of the y axis.

    Returns:
        The figure, and each panel with its rows of `frame`; one panel makes a single-column figure.
    """
    parts = list(frame.groupby([*vary, "init"], observed=True))
    inits = frame["init"].nunique()
    rows = -(-len(parts) // _PANELS_A_ROW)
    columns = inits if 1 < inits <= _PANELS_A_ROW else -(-len(parts) // rows)
    rows = -(-len(parts) // columns)
    height += 0.15 * len(vary)  # for the titles
    width = SINGLE_COLUMN if columns == 1 else DOUBLE_COLUMN
    figure = Figure(figsize=(width, rows * height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08)  # inches; tick labels reach into the gap
    axes = list(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
    for unused in axes[len(parts) :]:
        unused.remove()
    for number, ((*values, init), _) in enumerate(parts):
        settings = [f"{n.replace('_', ' ')} {v}" for n, v in zip(vary, values, strict=True)]
        axes[number].set_title("\n".join([f"{look(init).label} initialisation", *settings]))
        if number % columns == 0:
            axes[number].set_ylabel(label)
    return figure, [(panel, part) for panel, (_, part) in zip(axes, parts, strict=False)]


def limit_fractions(axes: Axes, metric: str, axis: str = "y") -> None:
    """Keep the x or y axis of a fraction inside [0, 1], where wide error bars may reach out."""
    if metric.endswith(_FRACTIONS):
        low, high = getattr(axes, f"get_{axis}lim")()
        axes.set(**{f"{axis}lim": (max(low, 0.0), min(high, 1.0))})


def legend_handles(priors: Iterable[str], **options: Any) -> list[Line2D]:
    """Entries of a legend in the looks of priors; `options` are those of the lines."""
    return [
        Line2D([], [], **{"color": colour, "marker": marker, "label": label, **options})
        for colour, marker, label in map(look, priors)
    ]


def legend_below(figure: Figure, handles: list[Line2D]) -> None:
    """Put a legend under the panels, as many columns as fit, and make the figure taller for it."""
    for columns in range(min(4, len(handles)), 0, -1):
        legend = figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=columns,
            columnspacing=1.2,
            handletextpad=0.5,
        )
        extent = legend.get_window_extent()
        if extent.width <= figure.bbox.width or columns == 1:
            break
        legend.remove()
    figure.set_figheight(figure.get_figheight() + extent.height / figure.dpi)


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
    with mpl.rc_context(RC):
        # Each drawing moves a constrained layout a little: settle it once for all files.
        for _ in range(2 if figure.get_layout_engine() else 0):
            figure.draw_without_rendering()
        figure.set_layout_engine("none")
    for path in map(Path, paths):
        if path.suffix not in metadata:
            raise UserError(f"{path}: expected .pdf, .png or .svg")
        with mpl.rc_context(RC), atomic(path) as temporary:
            figure.savefig(temporary, dpi=PNG_DPI, metadata=metadata[path.suffix])
            if path.suffix == ".svg":
                width, height = (figure.get_size_inches() * PNG_DPI).round().astype(int)
                pixels = f'width="{width}" height="{height}"'
                text = temporary.read_text(encoding="utf-8")
                text = re.sub('width="[^"]*" height="[^"]*"', pixels, text, count=1)
                temporary.write_text(text, encoding="utf-8")
