"""Few-shot classification: a metric against the number of training examples."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from dwp.evaluation.paper import authors_at
from dwp.plots import style

_AUTHORS = {
    "markerfacecolor": "white",
    "markeredgewidth": 0.8,
    "linestyle": (0, (3, 2)),
    "linewidth": 0.7,
}
_STEP = 0.024  # sideways step from prior to prior, as a share of the panel's width
_LARGEST_SPREAD = 0.6  # of all priors together, as a share of the gap between neighbouring n's


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
        paper: the authors' accuracies (`dwp.evaluation.paper`), drawn hollow and dashed in every
            panel that they hold for, as far as prior, n and domain occur in `summary`; only where
            `metric` is an accuracy.
        vary: settings; each combination of them has its own panels.

    Raises:
        UserError: no row has the metric, or several domains.
    """
    rows = style.rows_of_metric(summary, metric, alone=["domain"])
    priors, counts = style.in_order(rows["prior"]), sorted(set(rows["n"]))
    gap = np.diff(np.log(counts)).min() if len(counts) > 1 else np.log(2)
    width = np.log(counts[-1] / counts[0]) + gap
    step = min(_STEP * width, _LARGEST_SPREAD * gap / len(priors))
    shifts = (np.arange(len(priors)) - (len(priors) - 1) / 2) * step
    factor = dict(zip(priors, np.exp(shifts), strict=True))
    if paper is None or not metric.endswith("accuracy"):
        paper = pd.DataFrame(columns=["prior", "num_examples", "accuracy"])
    paper = paper[paper["prior"].isin(priors) & paper["num_examples"].isin(counts)]
    if "dataset" in paper and "domain" in rows:
        paper = paper[paper["dataset"].isin(rows["domain"])]

    figure, drawn = style.panels(rows, vary, height=2.4, label=style.metric_label(metric))
    with_authors = False
    for axes, part in drawn:
        theirs = authors_at(paper, {name: part[name].iloc[0] for name in ("init", *vary)})
        with_authors |= not theirs.empty
        for prior in priors:
            colour, marker, _ = style.look(prior)
            line = {"color": colour, "marker": marker}
            of_paper = theirs[theirs["prior"] == prior].sort_values("num_examples")
            x = of_paper["num_examples"] * factor[prior]
            axes.plot(x, of_paper["accuracy"], **line, **_AUTHORS)
            ours = part[part["prior"] == prior].sort_values("n")
            axes.errorbar(
                ours["n"] * factor[prior],
                ours["mean"],
                yerr=ours["interval"].fillna(0.0),
                **line,
                markeredgewidth=0,
                elinewidth=0.8,
            )
        axes.set_xscale("log")
        axes.set_xlim(counts[0] * np.exp(-gap / 2), counts[-1] * np.exp(gap / 2))
        axes.set_xticks(counts, [f"{count:,}" for count in counts])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("training examples")
    style.limit_fractions(drawn[0][0], metric)
    authors = [Line2D([], [], color="0.4", marker="o", label="authors", **_AUTHORS)]
    style.legend_below(figure, priors, authors * with_authors, markeredgewidth=0)
    return figure
