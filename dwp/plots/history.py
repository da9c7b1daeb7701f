"""Training curves."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dwp.evaluation.statistics import summarise
from dwp.plots.style import (
    in_order,
    legend_below,
    limit_fractions,
    look,
    metric_label,
    panels,
    rows_of_metric,
    styled,
)


@styled
def against_steps(history: pd.DataFrame, metric: str) -> Figure:
    """Draw a metric against the optimisation step: a line per prior, a panel per initialisation.

    Lines are means over splits; bands are one standard deviation over splits to either side (no
    band for one split).

    Args:
        history: the columns `prior`, `init`, `n`, `split`, `seed`, `step`, `metric`, `value`;
            one `n` and at most one `domain`.
        metric: which rows to draw.

    Raises:
        ValueError: no row has the metric, or several n or domains.
    """
    rows = rows_of_metric(history, metric, alone=["domain", "n"])
    table = summarise(rows, ["prior", "init", "step"])
    priors, inits = in_order(table["prior"]), sorted(set(table["init"]))

    figure, axes = panels(inits, height=2.3)
    for panel, init in zip(axes, inits, strict=True):
        for prior in priors:
            curve = table[(table["prior"] == prior) & (table["init"] == init)]
            colour = look(prior).colour
            panel.plot(curve["step"], curve["mean"], color=colour)
            low, high = curve["mean"] - curve["std"], curve["mean"] + curve["std"]
            panel.fill_between(curve["step"], low, high, color=colour, alpha=0.18, linewidth=0)
        panel.margins(x=0.01)
        panel.xaxis.set_major_formatter("{x:,.0f}")
        panel.xaxis.get_major_locator().set_params(nbins=5, integer=True)
        panel.set_xlabel("optimisation step")
    axes[0].set_ylabel(metric_label(metric))
    limit_fractions(axes[0], metric)
    looks = map(look, priors)
    legend_below(figure, [Line2D([], [], color=one.colour, label=one.label) for one in looks])
    return figure
