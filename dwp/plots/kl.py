"""The KL of a posterior from priors against its width."""

import pandas as pd
from matplotlib.figure import Figure

from dwp.plots.style import DOUBLE_COLUMN, in_order, legend_below, legend_handles, look, styled

_TITLES = {"kernels": "real kernels", "noise": "noise of the same mean square"}


@styled
def kl_against_width(table: pd.DataFrame) -> Figure:
    """Draw the KL against the standard deviation: a panel of real kernels and one of noise.

    Both axes are logarithmic (an estimate below zero is not drawn); bands are one standard error
    to either side.

    Args:
        table: as `dwp.evaluation.study.kl_by_width` returns.
    """
    priors = in_order(table["prior"])
    figure = Figure(figsize=(DOUBLE_COLUMN, 2.6), layout="constrained")
    axes = figure.subplots(1, len(_TITLES), sharey=True)
    for panel, (w, title) in zip(axes, _TITLES.items(), strict=True):
        for prior in priors:
            rows = table[(table["w"] == w) & (table["prior"] == prior)].sort_values("deviation")
            colour, marker, _ = look(prior)
            x, mean, error = rows["deviation"], rows["mean"], rows["standard_error"]
            panel.plot(x, mean, color=colour, marker=marker, markeredgewidth=0)
            panel.fill_between(x, mean - error, mean + error, color=colour, alpha=0.18, linewidth=0)
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_title(title)
        panel.set_xlabel("standard deviation of every weight")
    axes[0].set_ylabel("KL (nats per kernel)")
    legend_below(figure, legend_handles(priors))
    return figure
