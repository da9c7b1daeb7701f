"""Curves of initialisations: a metric against steps, or against the number of filters."""

from fractions import Fraction

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from dwp.evaluation.seeds import over_seeds
from dwp.plots.style import (
    SINGLE_COLUMN,
    in_order,
    legend_below,
    legend_handles,
    limit_fractions,
    look,
    metric_label,
    rows_of_metric,
    styled,
)

_AUTHORS = {"linestyle": (0, (3, 2)), "linewidth": 0.9, "alpha": 0.5, "zorder": 1}
_BELOW = 0.1  # share of the points against steps that a figure may cut off below


@styled
def curves(runs: pd.DataFrame, metric: str, x: str, paper: pd.DataFrame | None = None) -> Figure:
    """Draw a metric against `x`: a line per initialisation.

    Lines are means over seeds; bands are one standard deviation over seeds to either side (no band
    for one seed).

    Args:
        runs: the columns `init`, `seed`, `metric`, `value` and `x`; at most one `domain`.
        metric: which rows to draw.
        x: "step", or "scale" (of the number of filters; a logarithmic axis).
        paper: the authors' numbers, columns `init`, `value` and `x`, drawn dashed and lighter for
            the initialisations that occur in `runs`.

    Raises:
        UserError: no row has the metric, or several domains.
    """
    table = over_seeds(rows_of_metric(runs, metric, alone=["domain"]), ["init", x])
    inits = in_order(table["init"])
    figure = Figure(figsize=(SINGLE_COLUMN, 2.4), layout="constrained")
    axes = figure.subplots()
    if paper is None:
        paper = pd.DataFrame(columns=["init", x, "value"])
    paper = paper[paper["init"].isin(inits)].sort_values(x)
    for init in inits:
        colour, marker, _ = look(init)
        theirs = paper[paper["init"] == init]
        axes.plot(theirs[x], theirs["value"], color=colour, **_AUTHORS)
        ours = table[table["init"] == init]
        markers = {"marker": marker, "markeredgewidth": 0} if x == "scale" else {}
        axes.plot(ours[x], ours["mean"], color=colour, **markers)
        low, high = ours["mean"] - ours["std"], ours["mean"] + ours["std"]
        axes.fill_between(ours[x], low, high, color=colour, alpha=0.18, linewidth=0)
    if x == "scale":
        scales = sorted(set(table[x]))
        axes.set_xscale("log")
        labels = [str(Fraction(scale).limit_denominator(1000)) for scale in scales]
        axes.set_xticks(scales, labels)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("filters, as a share")
    else:
        # where curves begin far below, the part that tells them apart would be a line at the top
        beside = paper.loc[paper[x] <= table[x].max(), "value"]
        axes.set_ylim(*_range(table["mean"], beside))
        axes.margins(x=0.01)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.set_xlabel("optimisation step")
    axes.set_ylabel(metric_label(metric))
    limit_fractions(axes, metric)
    handles = legend_handles(inits, marker="")
    if not paper.empty:
        handles.append(Line2D([], [], color="0.4", label="authors", **_AUTHORS))
    legend_below(figure, handles)
    return figure


def _range(means: pd.Series, beside: pd.Series) -> tuple[float, float]:
    low, high = means.quantile(_BELOW), max([means.max(), *beside])
    margin = 0.08 * (high - low) or 0.01
    return low - margin, high + margin
