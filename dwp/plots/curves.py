"""Curves with bands: metrics against steps or filters, the KL against the posterior's width."""

from collections.abc import Sequence
from fractions import Fraction

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from dwp.evaluation.statistics import spread
from dwp.plots import style

_AUTHORS = {"linestyle": (0, (3, 2)), "linewidth": 0.9, "alpha": 0.5, "zorder": 1}
_BELOW = 0.1  # share of the points against steps that a figure may leave out below
_TITLES = {"kernels": "real kernels", "noise": "noise of the same mean square"}


@style.styled
def against_steps(history: pd.DataFrame, metric: str, vary: Sequence[str] = ()) -> Figure:
    """Draw a metric against the step: a line per prior, a panel per initialisation and variant.

    Lines are means over splits; bands are one standard deviation over splits to either side (no
    band for one split).

    Args:
        history: the columns `prior`, `init`, `n`, `split`, `seed`, `step`, `metric`, `value`
            and `vary`; one `n` and at most one `domain`.
        metric: which rows to draw.
        vary: settings; each combination of them has its own panels.

    Raises:
        UserError: no row has the metric, or several n or domains.
    """
    rows = style.rows_of_metric(history, metric, alone=["domain", "n"])
    table = spread(rows, ["prior", "init", *vary, "step"])
    priors = style.in_order(table["prior"])
    figure, drawn = style.panels(table, vary, height=2.3, label=style.metric_label(metric))
    for axes, part in drawn:
        for prior in priors:
            curve = part[part["prior"] == prior]
            colour = style.look(prior).colour
            style.line_with_band(axes, curve["step"], curve["mean"], curve["std"], colour)
        style.step_axis(axes)
        axes.xaxis.get_major_locator().set_params(nbins=5, integer=True)
    style.limit_fractions(drawn[0][0], metric)
    style.legend_below(figure, priors, marker="")
    return figure


@style.styled
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
    rows = style.rows_of_metric(runs, metric, alone=["domain"])
    table = spread(rows, ["init", x], over="seed")
    inits = style.in_order(table["init"])
    figure, ((axes,),) = style.canvas(style.SINGLE_COLUMN, 2.4)
    if paper is None:
        paper = pd.DataFrame(columns=["init", x, "value"])
    paper = paper[paper["init"].isin(inits)].sort_values(x)
    for init in inits:
        colour, marker, _ = style.look(init)
        theirs, ours = paper[paper["init"] == init], table[table["init"] == init]
        axes.plot(theirs[x], theirs["value"], color=colour, **_AUTHORS)
        markers = {"marker": marker, "markeredgewidth": 0} if x == "scale" else {}
        style.line_with_band(axes, ours[x], ours["mean"], ours["std"], colour, **markers)
    if x == "scale":
        scales = sorted(set(table[x]))
        axes.set_xscale("log")
        axes.set_xticks(scales, [str(Fraction(scale).limit_denominator(1000)) for scale in scales])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("filters, as a share of the whole net's")
    else:
        # where curves begin far below, the part where they differ would be a line at the top
        low = table["mean"].quantile(_BELOW)
        high = max([table["mean"].max(), *paper.loc[paper[x] <= table[x].max(), "value"]])
        margin = 0.08 * (high - low) or 0.01
        axes.set_ylim(low - margin, high + margin)
        style.step_axis(axes)
    axes.set_ylabel(style.metric_label(metric))
    style.limit_fractions(axes, metric)
    authors = [Line2D([], [], color="0.4", label="authors", **_AUTHORS)]
    style.legend_below(figure, inits, [] if paper.empty else authors, marker="")
    return figure


@style.styled
def kl_against_width(table: pd.DataFrame) -> Figure:
    """Draw the KL against the standard deviation: a panel of real kernels and one of noise.

    Both axes are logarithmic (an estimate below zero is not drawn); bands are one standard error
    to either side.

    Args:
        table: as `dwp.evaluation.study.kl_by_width` returns it.
    """
    priors = style.in_order(table["prior"])
    figure, (row,) = style.canvas(style.DOUBLE_COLUMN, 2.6, columns=len(_TITLES), sharey=True)
    for axes, (w, title) in zip(row, _TITLES.items(), strict=True):
        for prior in priors:
            rows = table[(table["w"] == w) & (table["prior"] == prior)].sort_values("deviation")
            colour, marker, _ = style.look(prior)
            numbers = rows["deviation"], rows["mean"], rows["standard_error"]
            style.line_with_band(axes, *numbers, colour, marker=marker, markeredgewidth=0)
        axes.set(xscale="log", yscale="log", title=title)
        axes.set_xlabel("standard deviation of every weight")
    row[0].set_ylabel("KL (nats per kernel)")
    style.legend_below(figure, priors)
    return figure
