"""Metrics against a number: training steps, filters, examples, the width of a posterior."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from dwp.evaluation.paper import authors_at
from dwp.evaluation.statistics import summarise
from dwp.plots import style

_AUTHORS = {"linestyle": "--", "alpha": 0.6, "markerfacecolor": "white", "markeredgewidth": 0.8}
_AXES = {
    "step": "optimisation step",
    "scale": "filters, as a share of the whole net's",
    "n": "training examples",
    "deviation": "standard deviation of every weight",
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
    Where curves begin far below, the axis begins above that; that of an ELBO is logarithmic.

    Args:
        runs: a tidy table of runs: the columns `by`, `over`, `panels`, `metric`, `value` and `x`;
            of whatever else differs between runs, such as the domain or n, one value.
        metrics: which rows to draw.
        x: "step", "scale" (of the number of filters; a logarithmic axis), or any other number.
        by: "prior" or "init": the column that has a line for each value.
        over: the unit of replication, "split" or "seed".
        panels: settings, "init".
        paper: the authors' numbers, columns `by`, `value` and `x`, drawn dashed and lighter for
            the lines that occur in `runs`.
    """
    table = summarise(style.rows_of(runs, metrics), ["metric", *panels, by, x], over)
    figure, drawn = _draw(table, by, x, "std", panels, paper)
    if "negative_elbo" in metrics:
        drawn[0][0].set_yscale("log")  # the panels share it
    elif x == "step":
        for axes, part in drawn:
            means = table.loc[table["metric"] == part["metric"].iloc[0], "mean"]
            low, high = means.quantile(_BELOW), means.max()
            if low - means.min() > high - low:  # they would differ in a line at the top
                axes.set_ylim(bottom=low - _BELOW * (high - low))
    return figure


@style.styled
def fewshot(
    summary: pd.DataFrame, metric: str, paper: pd.DataFrame | None = None, vary: Sequence[str] = ()
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
    """
    if paper is not None:
        paper = paper.rename(columns={"num_examples": "n", "accuracy": "value"})
        paper = paper if metric.endswith("accuracy") else None
    rows = style.rows_of(summary, [metric])
    return _draw(rows, "prior", "n", "interval", [*vary, "init"], paper)[0]


@style.styled
def kl_against_width(table: pd.DataFrame) -> Figure:
    """Draw the KL against the standard deviation: a panel of real kernels and one of noise.

    Both axes are logarithmic (an estimate below zero is not drawn); bands are one standard error
    to either side.

    Args:
        table: as `dwp.evaluation.study.kl_by_width` returns it.
    """
    kl = table.assign(metric="kl")
    figure, drawn = _draw(kl, "prior", "deviation", "standard_error", ["w"])
    for axes, part in drawn:
        axes.set(xscale="log", yscale="log", title=_TITLES[part["w"].iloc[0]])
    drawn[0][0].set_ylabel("KL (nats per kernel)")
    return figure


def _draw(
    table: pd.DataFrame,
    by: str,
    x: str,
    half: str,
    panels: Sequence[str],
    paper: pd.DataFrame | None = None,
) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """Draw the column `mean` against `x`, with bands, or bars where `x` is n.

    Args:
        table: the columns `metric`, `mean`, `by`, `x`, `half` and `panels`.
        by: the column that has a line for each value.
        x: a column of numbers.
        half: the half width of bands and bars; NaN for none.
        panels: columns.
        paper: the authors' numbers: `by`, `x`, `value`, and columns of settings.

    Returns:
        The figure, and each panel with its rows.
    """
    names, values = style.in_order(table[by]), sorted(set(table[x]))
    line = {"marker": ""} if x == "step" else {}
    shifts = np.zeros(len(names))
    if x == "n":
        gap = np.diff(np.log(values)).min() if len(values) > 1 else np.log(2)
        shifts = (np.arange(len(names)) - (len(names) - 1) / 2) * _SPREAD * gap / len(names)
    factors = dict(zip(names, np.exp(shifts), strict=True))
    if paper is None:
        paper = pd.DataFrame(columns=[by, x, "value"])
    paper = paper[paper[by].isin(names) & (paper[x].isin(values) | (x == "step"))]
    figure, drawn = style.panels(table, panels)
    with_authors = False
    for axes, part in drawn:
        held = authors_at(paper.drop(columns=[by, x, "value"]), part.iloc[0]).index
        with_authors |= not held.empty
        for name, theirs in paper.loc[held].sort_values(x).groupby(by):
            look = style.look(name, **_AUTHORS, **line)
            axes.plot(theirs[x] * factors[name], theirs["value"], **look)
        for name in names:
            ours, look = part[part[by] == name].sort_values(x), style.look(name, **line)
            mean, around = ours["mean"], ours[half]
            if x == "n":
                bars = {"yerr": around.fillna(0.0), "elinewidth": 0.8}
                axes.errorbar(ours[x] * factors[name], mean, **bars, **look)
            else:
                axes.plot(ours[x], mean, **look)
                band = {"color": look["color"], "alpha": 0.18, "linewidth": 0}
                axes.fill_between(ours[x], mean - around, mean + around, **band)
        axes.set_xlabel(_AXES.get(x, x.replace("_", " ")))
        if x == "step":
            axes.margins(x=0.01)
            axes.xaxis.set_major_formatter("{x:,.0f}")
            axes.xaxis.get_major_locator().set_params(nbins=5, integer=True)
        elif x in ("n", "scale"):
            shares = [str(Fraction(value).limit_denominator(1000)) for value in values]
            axes.set_xscale("log")
            axes.set_xticks(values, [f"{n:,}" for n in values] if x == "n" else shares)
            axes.xaxis.set_minor_locator(NullLocator())
    style.limit_fractions(drawn)
    grey = style.look("authors", **_AUTHORS) | {"color": "0.4", "marker": "o"} | line
    authors = [Line2D([], [], **grey)] * with_authors
    style.legend_below(figure, names, authors, **line)
    return figure, drawn
