"""Initialisation crossed with prior, as one figure and two tables."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dwp.evaluation.factorial import EFFECTS, METRICS
from dwp.evaluation.tables import with_interval
from dwp.plots import style

_LEVEL = 0.05  # of the corrected tests that a table marks
_MARKS = {"prior": "*", "init": "†"}
_LINE = 0.085  # inches from one initialisation to the next
_LIGHTEST = 0.2  # depth of colour that the smallest n is just above


@style.styled
def factorial_figure(table: pd.DataFrame, vary: Sequence[str] = ()) -> Figure:
    """Draw accuracy, NLL and ECE of every cell, with 95 % intervals over splits.

    A panel for each metric, a row of them for each variant; in a panel a group for each prior, in
    it a line for each initialisation, and on it a mark for each n, the larger the darker.

    Args:
        table: from `dwp.evaluation.factorial.factorial`, of one domain.
        vary: settings; each combination of them has its own row of panels.

    Raises:
        UserError: several domains, or a metric without rows.
    """
    rows = style.rows_of(table, METRICS, alone=["domain"])
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
            line = style.line(init, linestyle="none", elinewidth=0.8)
            line["color"] = _paler(line["color"], depth[n])
            axes.errorbar(cells["mean"], middle + aside, xerr=cells["interval"].fillna(0), **line)
        axes.grid(axis="y", visible=False)
        axes.set_yticks(middle, [style.look(prior).label for prior in priors])
        axes.set_ylim(len(priors) - 0.5, -0.5)
    style.limit_fractions(drawn, axis="x")
    marks = {"marker": "o", "markeredgewidth": 0, "linestyle": "none"}
    greys = [
        Line2D([], [], color=_paler("#444444", depth[n]), label=f"n = {n:,}", **marks)
        for n in counts
    ]
    style.legend_below(figure, inits, greys, linestyle="none")
    return figure


def _paler(colour: str, depth: float) -> tuple[float, ...]:
    """Mix a colour with white; at depth 1 it stays."""
    return tuple(1 - depth * (1 - part) for part in to_rgb(colour))


def factorial_text(table: pd.DataFrame, by: Sequence[str] = ("n",)) -> pd.DataFrame:
    """Arrange the cells for readers: a row per `by` and prior, a column per metric and init.

    A cell has the mean and the half width of the 95 % interval over splits; an asterisk where the
    prior, a dagger where the init differs from the reference's, at 5 % after correction.

    Args:
        table: from `dwp.evaluation.factorial.factorial`, of one domain.
        by: columns that distinguish rows besides the prior.
    """
    cells = with_interval(table)
    for which, mark in _MARKS.items():
        cells += np.where(table[f"{which}_p_holm"] < _LEVEL, f" {mark}", "")
    priors, inits = style.in_order(table["prior"]), style.in_order(table["init"])
    shown = table.assign(cell=cells, prior=pd.Categorical(table["prior"], priors, ordered=True))
    wide = shown.pivot(index=[*by, "prior"], columns=["metric", "init"], values="cell")
    wide = wide.sort_index()[[(metric, init) for metric in METRICS for init in inits]]
    wide.columns = [f"{_short(metric)}, {init}" for metric, init in wide.columns]
    return wide.reset_index()


def effects_text(table: pd.DataFrame, by: Sequence[str] = ("n",)) -> pd.DataFrame:
    """Arrange the parts of a difference for readers: a row per `by` and metric, a column per part.

    Args:
        table: from `dwp.evaluation.factorial.effects`, of one domain.
        by: columns that distinguish rows besides the metric.
    """
    metric = pd.Categorical(table["metric"], METRICS, ordered=True)
    shown = table.assign(cell=with_interval(table), metric=metric)
    wide = shown.pivot(index=[*by, "metric"], columns="effect", values="cell")
    wide = wide.sort_index()[list(EFFECTS)].reset_index()
    return wide.assign(metric=[_short(name) for name in wide["metric"]])


def _short(metric: str) -> str:
    return style.metric_label(metric.removeprefix("ensemble_"))
