"""Initialisation crossed with prior, as one figure and one table."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dwp.evaluation.factorial import EFFECTS, METRICS
from dwp.plots.style import (
    DOUBLE_COLUMN,
    in_order,
    legend_below,
    legend_handles,
    limit_fractions,
    look,
    metric_label,
    rows_of_metric,
    styled,
)

_LEVEL = 0.05  # of the corrected tests that a table marks
_MARKS = {"prior": "*", "init": "†"}
_LINE = 0.085  # inches from one initialisation to the next
_AROUND = 0.25  # inches of a row of panels beside its lines
_LIGHTEST = 0.2  # depth of colour that the smallest n is just above


@styled
def factorial_figure(table: pd.DataFrame, vary: Sequence[str] = ()) -> Figure:
    """Draw accuracy, NLL and ECE of every cell, with 95 % intervals over splits.

    A panel for each metric, a row of them for each variant; in a panel a group for each prior, in
    it a line for each initialisation, and on it a mark for each n, the larger the darker.

    Args:
        table: from `dwp.evaluation.factorial.factorial`, of one domain.
        vary: settings whose combinations have rows of their own.

    Raises:
        UserError: several domains, or a metric without rows.
    """
    for metric in METRICS:
        rows_of_metric(table, metric, alone=["domain"])
    parts = list(table.groupby(list(vary), observed=True)) if vary else [((), table)]
    priors, inits = in_order(table["prior"]), in_order(table["init"])
    counts = sorted(set(table["n"]))
    depth = dict(zip(counts, np.linspace(_LIGHTEST, 1, len(counts) + 1)[1:], strict=True))
    height = _AROUND + _LINE * len(priors) * (len(inits) + 1)
    figure = Figure(figsize=(DOUBLE_COLUMN, height * len(parts) + _AROUND), layout="constrained")
    panels = figure.subplots(len(parts), len(METRICS), sharex="col", sharey=True, squeeze=False)
    middle = np.arange(len(priors))
    shift = (np.arange(len(inits)) - (len(inits) - 1) / 2) / (len(inits) + 1)
    for row, (values, part) in zip(panels, parts, strict=True):
        for panel, metric in zip(row, METRICS, strict=True):
            for init, aside in zip(inits, shift, strict=True):
                colour, marker, _ = look(init)
                own = part[(part["metric"] == metric) & (part["init"] == init)]
                for n, cells in own.groupby("n"):
                    cells = cells.set_index("prior").reindex(priors)
                    panel.errorbar(
                        cells["mean"],
                        middle + aside,
                        xerr=cells["interval"].fillna(0.0),
                        color=_paler(colour, depth[n]),
                        marker=marker,
                        markeredgewidth=0,
                        linestyle="none",
                        elinewidth=0.8,
                    )
            panel.grid(axis="y", visible=False)
        settings = zip(vary, values, strict=True)
        row[0].set_ylabel("\n".join(f"{k.replace('_', ' ')} {v}" for k, v in settings))
    for panel, metric in zip(panels[-1], METRICS, strict=True):
        panel.set_xlabel(metric_label(metric))
        limit_fractions(panel, metric, axis="x")
    panels[0, 0].set_yticks(middle, [look(prior).label for prior in priors])
    panels[0, 0].set_ylim(len(priors) - 0.5, -0.5)
    marks = {"markeredgewidth": 0, "linestyle": "none"}
    handles = legend_handles(inits, **marks)
    handles += [
        Line2D([], [], color=_paler("#444444", depth[n]), marker="o", label=f"n = {n:,}", **marks)
        for n in counts
    ]
    legend_below(figure, handles)
    return figure


def _paler(colour: str, depth: float) -> tuple[float, ...]:
    """Mix a colour with white; at depth 1 it stays."""
    return tuple(1 - depth * (1 - part) for part in to_rgb(colour))


def factorial_text(table: pd.DataFrame, by: Sequence[str] = ("n",)) -> pd.DataFrame:
    """Arrange the cells to be read: a row per `by` and prior, a column per metric and init.

    A cell tells the mean and the half width of the 95 % interval over splits; an asterisk where the
    prior, a dagger where the init differs from the reference's, at 5 % after correction.

    Args:
        table: from `dwp.evaluation.factorial.factorial`, of one domain.
        by: columns that tell rows apart beside the prior.
    """
    cells = _with_interval(table)
    for which, mark in _MARKS.items():
        cells += np.where(table[f"{which}_p_holm"] < _LEVEL, f" {mark}", "")
    priors, inits = in_order(table["prior"]), in_order(table["init"])
    shown = table.assign(cell=cells, prior=pd.Categorical(table["prior"], priors, ordered=True))
    wide = shown.pivot(index=[*by, "prior"], columns=["metric", "init"], values="cell")
    wide = wide.sort_index()[[(metric, init) for metric in METRICS for init in inits]]
    wide.columns = [f"{_short(metric)}, {init}" for metric, init in wide.columns]
    return wide.reset_index()


def effects_text(table: pd.DataFrame, by: Sequence[str] = ("n",)) -> pd.DataFrame:
    """Arrange the parts of a difference to be read: a row per `by` and metric, a column per part.

    Args:
        table: from `dwp.evaluation.factorial.effects`, of one domain.
        by: columns that tell rows apart beside the metric.
    """
    metric = pd.Categorical(table["metric"], METRICS, ordered=True)
    shown = table.assign(cell=_with_interval(table), metric=metric)
    wide = shown.pivot(index=[*by, "metric"], columns="effect", values="cell")
    wide = wide.sort_index()[list(EFFECTS)].reset_index()
    return wide.assign(metric=[_short(name) for name in wide["metric"]])


def _short(metric: str) -> str:
    return metric_label(metric.removeprefix("ensemble_"))


def _with_interval(table: pd.DataFrame) -> pd.Series:
    pairs = zip(table["mean"], table["interval"], strict=True)
    texts = [
        "–" if pd.isna(mean) else f"{mean:.3f}" + ("" if pd.isna(half) else f" ± {half:.3f}")
        for mean, half in pairs
    ]
    return pd.Series(texts, index=table.index)
