"""Initialisation crossed with prior, as one figure and two tables."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dwp.evaluation.factorial import METRICS
from dwp.evaluation.tables import with_interval
from dwp.plots import style

_LEVEL = 0.05  # of the corrected tests that a table marks
_MARKS = {"prior": "*", "init": "†"}
_LINE = 0.085  # inches from one initialisation to the next
_LIGHTEST = 0.2  # opacity that the smallest n is just above


@style.styled
def factorial_figure(table: pd.DataFrame, vary: Sequence[str] = ()) -> Figure:
    """Draw accuracy, NLL and ECE of every cell, with 95 % intervals over splits.

    A panel for each metric, a row of them for each variant; in a panel a group for each prior, in
    it a line for each initialisation, and on it a mark for each n, the larger the darker.

    Args:
        table: from `dwp.evaluation.factorial.factorial`, of one domain.
        vary: settings; each combination of them has its own row of panels.
    """
    rows = style.rows_of(table, METRICS)
    priors, inits = style.in_order(rows["prior"]), style.in_order(rows["init"])
    counts = sorted(set(rows["n"]))
    depth = dict(zip(counts, np.linspace(_LIGHTEST, 1, len(counts) + 1)[1:], strict=True))
    height = 0.4 + _LINE * len(priors) * (len(inits) + 1)
    figure, drawn = style.panels(rows, vary, height, axis="x")
    middle = np.arange(len(priors))
    for axes, part in drawn:
        for (init, n), cells in part.groupby(["init", "n"]):
            cells = cells.set_index("prior").reindex(priors)
            aside = (inits.index(init) + 1) / (len(inits) + 1) - 0.5
            line = style.look(init, linestyle="none", elinewidth=0.8, alpha=depth[n])
            axes.errorbar(cells["mean"], middle + aside, xerr=cells["interval"].fillna(0), **line)
        axes.grid(axis="y", visible=False)
        axes.set_yticks(middle, [style.look(prior)["label"] for prior in priors])
        axes.set_ylim(len(priors) - 0.5, -0.5)
    style.limit_fractions(drawn, axis="x")
    grey = {"color": "#444444", "marker": "o", "markeredgewidth": 0, "linestyle": "none"}
    marks = [Line2D([], [], label=f"n = {n:,}", alpha=depth[n], **grey) for n in counts]
    style.legend_below(figure, inits, marks, linestyle="none")
    return figure


def factorial_text(
    table: pd.DataFrame, rows: Sequence[str], columns: Sequence[str]
) -> pd.DataFrame:
    """Arrange a table of `dwp.evaluation.factorial`, of one domain, for readers.

    Each text has the mean and the half width of the 95 % interval over splits; an asterisk where
    the prior, a dagger where the init differs from the reference's, at 5 % after correction.

    Args:
        table: of the cells, or of the parts of a difference.
        rows: columns whose combinations make the rows.
        columns: columns whose combinations make the columns.
    """
    texts = with_interval(table)
    for which, mark in _MARKS.items():
        if f"{which}_p_holm" in table:
            texts += np.where(table[f"{which}_p_holm"] < _LEVEL, f" {mark}", "")
    orders = {"metric": METRICS} | {
        name: style.in_order(table[name]) for name in ("prior", "init") if name in table
    }
    kinds = {name: pd.CategoricalDtype(order, ordered=True) for name, order in orders.items()}
    shown = table.assign(text=texts).astype(kinds)
    labels = [style.metric_label(metric.removeprefix("ensemble_")) for metric in METRICS]
    shown["metric"] = shown["metric"].cat.rename_categories(labels)
    wide = shown.pivot(index=rows, columns=columns, values="text").sort_index(axis=1)
    wide.columns = [v if isinstance(v, str) else ", ".join(v) for v in wide.columns]
    return wide.reset_index()
