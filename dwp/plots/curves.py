"""Metrics against a number: training steps, filters, examples, the width of a posterior."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from dwp.evaluation.paper import authors_at
from dwp.evaluation.statistics import summarise
from dwp.plots import style

_AUTHORS: dict[str, Any] = {
    "linestyle": (0, (3, 2)),
    "linewidth": 0.8,
    "alpha": 0.6,
    "markerfacecolor": "white",
    "markeredgewidth": 0.8,
    "zorder": 1,
}
_AXES = {
    "step": "optimisation step",
    "scale": "filters, as a share of the whole net's",
    "angle": "angle (degrees)",
}
_BELOW = 0.1  # share of the points that a figure may leave out below
_SPREAD = 0.5  # of all priors sideways, as a share of the gap between neighbouring n's
_TITLES = {"kernels": "real kernels", "noise": "noise of the same mean square"}


@style.styled
def curves(
    runs: pd.DataFrame,
    metrics: Sequence[str],
    x: str,
    by: str = "init",
    *,
    over: str = "seed",
    panels: Sequence[str] = (),
    paper: pd.DataFrame | None = None,
) -> Figure:
    """Draw metrics against the numeric column `x`: a line per prior or initialisation.

    Lines are means over seeds or splits; bands are one standard deviation over these to either side
    (no band for one). Each metric and each combination of values of `panels` has its own panel.
    Where curves begin far below, the axis begins above that.

    Args:
        runs: a tidy table of runs: the columns `by`, `over`, `panels`, `metric`, `value` and `x`.
        metrics: which rows to draw.
        x: "step", "scale" (of the number of filters; a logarithmic axis), or any other number.
        by: "prior" or "init": the column that has a line for each value.
        over: the unit of replication, "split" or "seed".
        panels: settings, "init".
        paper: the authors' numbers, columns `by`, `value` and `x`, drawn dashed and lighter for
            the lines that occur in `runs`.

    Raises:
        UserError: a metric has no rows, or one line would mix several domains, priors, inits or n.
    """
    own = [name for name in ("domain", "prior", "init", "n") if name not in (by, x, *panels)]
    rows = style.rows_of(runs, metrics, alone=own)
    table = summarise(rows, ["metric", *panels, by, x], over)
    names = style.in_order(table[by])
    if paper is None:
        paper = pd.DataFrame(columns=[by, x, "value"])
    paper = paper[paper[by].isin(names)].sort_values(x)
    line = {"marker": ""} if x == "step" else {}
    figure, drawn = style.panels(table, panels)
    for axes, part in drawn:
        for name, theirs in paper.groupby(by):
            axes.plot(theirs[x], theirs["value"], color=style.look(name).colour, **_AUTHORS)
        _lines(axes, part, by, x, "std", **line)
        axes.set_xlabel(_AXES.get(x, x.replace("_", " ")))
        if x == "scale":
            scales = sorted(set(part[x]))
            texts = [str(Fraction(scale).limit_denominator(1000)) for scale in scales]
            _log_axis(axes, scales, texts)
        elif x == "step":
            axes.margins(x=0.01)
            axes.xaxis.set_major_formatter("{x:,.0f}")
            axes.xaxis.get_major_locator().set_params(nbins=5, integer=True)
    if x == "step":
        for axes, part in drawn:
            means = table.loc[table["metric"] == part["metric"].iloc[0], "mean"]
            low, high = means.quantile(_BELOW), means.max()
            if low - means.min() > high - low:  # they would differ in a line at the top
                axes.set_ylim(bottom=low - _BELOW * (high - low))
    style.limit_fractions(drawn)
    authors = [Line2D([], [], color="0.4", label="authors", **_AUTHORS)]
    style.legend_below(figure, names, [] if paper.empty else authors, **line)
    return figure


@style.styled
def fewshot(
    summary: pd.DataFrame,
    metric: str,
    paper: pd.DataFrame | None = None,
    vary: Sequence[str] = (),
) -> Figure:
    """Draw a metric against n: a line per prior, a panel per initialisation and variant.

    Error bars are 95 % intervals over splits (none for one split). Priors are shifted sideways
    by a fixed factor of n, so that their bars do not overlap.

    Args:
        summary: the columns `prior`, `init`, `n`, `metric`, `mean`, `interval` (half width, NaN
            for none) and `vary`; one `domain` at most.
        metric: which rows to draw.
        paper: the authors' accuracies of this domain (`dwp.evaluation.paper`), drawn hollow and
            dashed in every panel that they hold for, as far as prior and n occur in `summary`;
            only where `metric` is an accuracy.
        vary: settings; each combination of them has its own panels.

    Raises:
        UserError: no row has the metric, or several domains.
    """
    rows = style.rows_of(summary, [metric], alone=["domain"])
    priors, counts = style.in_order(rows["prior"]), sorted(set(rows["n"]))
    gap = np.diff(np.log(counts)).min() if len(counts) > 1 else np.log(2)
    shifts = (np.arange(len(priors)) - (len(priors) - 1) / 2) * _SPREAD * gap / len(priors)
    if paper is None or not metric.endswith("accuracy"):
        paper = pd.DataFrame(columns=["prior", "num_examples", "accuracy"])
    paper = paper[paper["prior"].isin(priors) & paper["num_examples"].isin(counts)]
    figure, drawn = style.panels(rows, [*vary, "init"])
    with_authors = False
    for axes, part in drawn:
        held = authors_at(paper, part.iloc[0])
        with_authors |= not held.empty
        for prior, factor in zip(priors, np.exp(shifts), strict=True):
            theirs = held[held["prior"] == prior].sort_values("num_examples")
            x = theirs["num_examples"] * factor
            axes.plot(x, theirs["accuracy"], **style.line(prior, **_AUTHORS))
            ours = part[part["prior"] == prior].sort_values("n")
            bars = {"yerr": ours["interval"].fillna(0.0), "elinewidth": 0.8}
            axes.errorbar(ours["n"] * factor, ours["mean"], **bars, **style.line(prior))
        _log_axis(axes, counts, [f"{count:,}" for count in counts])
        axes.set_xlim(counts[0] * np.exp(-gap / 2), counts[-1] * np.exp(gap / 2))
        axes.set_xlabel("training examples")
    style.limit_fractions(drawn)
    authors = [Line2D([], [], color="0.4", marker="o", label="authors", **_AUTHORS)]
    style.legend_below(figure, priors, authors * with_authors)
    return figure


@style.styled
def kl_against_width(table: pd.DataFrame) -> Figure:
    """Draw the KL against the standard deviation: a panel of real kernels and one of noise.

    Both axes are logarithmic (an estimate below zero is not drawn); bands are one standard error
    to either side.

    Args:
        table: as `dwp.evaluation.study.kl_by_width` returns it.
    """
    figure, drawn = style.panels(table.assign(metric="kl"), ["w"])
    for axes, part in drawn:
        _lines(axes, part, "prior", "deviation", "standard_error")
        axes.set(xscale="log", yscale="log", title=_TITLES[part["w"].iloc[0]])
        axes.set_xlabel("standard deviation of every weight")
    drawn[0][0].set_ylabel("KL (nats per kernel)")
    style.legend_below(figure, style.in_order(table["prior"]))
    return figure


def _lines(axes: Axes, table: pd.DataFrame, by: str, x: str, half: str, **line: Any) -> None:
    """Draw the means of each value of `by`, with a band of `half` to either side unless NaN."""
    for name in style.in_order(table[by]):
        curve = table[table[by] == name].sort_values(x)
        y, around = curve["mean"], curve[half]
        axes.plot(curve[x], y, **style.line(name, **line))
        colour = style.look(name).colour
        axes.fill_between(curve[x], y - around, y + around, color=colour, alpha=0.18, linewidth=0)


def _log_axis(axes: Axes, values: Sequence[float], labels: Sequence[str]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(values, labels)
    axes.xaxis.set_minor_locator(NullLocator())
