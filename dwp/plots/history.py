"""Training curves."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from dwp.evaluation.statistics import summarise
from dwp.plots.style import (
    in_order,
    legend_below,
    legend_handles,
    limit_fractions,
    look,
    metric_label,
    panels,
    rows_of_metric,
    styled,
)


@styled
def against_steps(history: pd.DataFrame, metric: str, vary: Sequence[str] = ()) -> Figure:
    """Draw a metric against the optimisation step.

    A line per prior, a panel per initialisation and variant.

    Lines are means over splits; bands are one standard deviation over splits to either side (no
    band for one split).

    Args:
        history: the columns `prior`, `init`, `n`, `split`, `seed`, `step`, `metric`, `value`
            and `vary`; one `n` and at most one `domain`.
        metric: which rows to draw.
        vary: settings whose combinations have panels of their own.

    Raises:
        UserError: no row has the metric, or several n or domains.
    """
    rows = rows_of_metric(history, metric, alone=["domain", "n"])
    table = summarise(rows, ["prior", "init", *vary, "step"])
    priors = in_order(table["prior"])

    figure, drawn = panels(table, vary, height=2.3, label=metric_label(metric))
    for panel, part in drawn:
        for prior in priors:
            curve = part[part["prior"] == prior]
            colour = look(prior).colour
            panel.plot(curve["step"], curve["mean"], color=colour)
            low, high = curve["mean"] - curve["std"], curve["mean"] + curve["std"]
            panel.fill_between(curve["step"], low, high, color=colour, alpha=0.18, linewidth=0)
        panel.margins(x=0.01)
        panel.xaxis.set_major_formatter("{x:,.0f}")
        panel.xaxis.get_major_locator().set_params(nbins=5, integer=True)
        panel.set_xlabel("optimisation step")
    limit_fractions(drawn[0][0], metric)
    legend_below(figure, legend_handles(priors, marker=""))
    return figure
