"""Few-shot classification: a metric against the number of training examples."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from dwp.evaluation.statistics import authors_at
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

_AUTHORS = {
    "markerfacecolor": "white",
    "markeredgewidth": 0.8,
    "linestyle": (0, (3, 2)),
    "linewidth": 0.7,
}
_STEP = 0.024  # sideways step from prior to prior, as a share of the panel's width
_LARGEST_SPREAD = 0.6  # of all priors together, as a share of the gap between neighbouring n's


@styled
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
        paper: the authors' accuracies (`read_paper`), drawn hollow and dashed in every panel that
            they hold for (`authors_at`), as far as prior, n and domain occur in `summary`; only
            where `metric` is an accuracy.
        vary: settings whose combinations have panels of their own.

    Raises:
        UserError: no row has the metric, or several domains.
    """
    rows = rows_of_metric(summary, metric, alone=["domain"])
    priors, counts = in_order(rows["prior"]), _counts(rows)
    gap = np.diff(np.log(counts)).min() if len(counts) > 1 else np.log(2)
    width = np.log(counts[-1] / counts[0]) + gap
    step = min(_STEP * width, _LARGEST_SPREAD * gap / len(priors))
    shifts = (np.arange(len(priors)) - (len(priors) - 1) / 2) * step
    factor = dict(zip(priors, np.exp(shifts), strict=True))
    authors = _authors(rows, metric, paper)

    figure, drawn = panels(rows, vary, height=2.4, label=metric_label(metric))
    with_authors = False
    for panel, part in drawn:
        theirs = authors_at(authors, {name: part[name].iloc[0] for name in ("init", *vary)})
        with_authors |= not theirs.empty
        for prior in priors:
            colour, marker, _ = look(prior)
            of_paper = theirs[theirs["prior"] == prior].sort_values("num_examples")
            panel.plot(
                of_paper["num_examples"] * factor[prior],
                of_paper["accuracy"],
                color=colour,
                marker=marker,
                **_AUTHORS,
            )
            ours = part[part["prior"] == prior].sort_values("n")
            panel.errorbar(
                ours["n"] * factor[prior],
                ours["mean"],
                yerr=ours["interval"].fillna(0.0),
                color=colour,
                marker=marker,
                markeredgewidth=0,
                elinewidth=0.8,
            )
        panel.set_xscale("log")
        panel.set_xlim(counts[0] * np.exp(-gap / 2), counts[-1] * np.exp(gap / 2))
        panel.set_xticks(counts, [f"{count:,}" for count in counts])
        panel.xaxis.set_minor_locator(NullLocator())
        panel.set_xlabel("training examples")
    limit_fractions(drawn[0][0], metric)
    handles = legend_handles(priors, markeredgewidth=0)
    if with_authors:
        handles.append(Line2D([], [], color="0.4", marker="o", label="authors", **_AUTHORS))
    legend_below(figure, handles)
    return figure


def _counts(rows: pd.DataFrame) -> list[int]:
    return sorted(int(count) for count in set(rows["n"]))


def _authors(rows: pd.DataFrame, metric: str, paper: pd.DataFrame | None) -> pd.DataFrame:
    """The authors' rows that belong into the figure, perhaps none."""
    if paper is None or not metric.endswith("accuracy"):
        return pd.DataFrame(columns=["prior", "num_examples", "accuracy"])
    keep = paper["prior"].isin(rows["prior"]) & paper["num_examples"].isin(rows["n"])
    if "domain" in rows:
        keep &= paper["dataset"].isin(rows["domain"])
    return paper[keep]
