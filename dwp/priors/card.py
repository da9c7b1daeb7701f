"""The model card of a prior that comes with the package."""

from collections.abc import Mapping
from typing import Any

from dwp.priors.base import KernelPrior


def model_card(
    name: str,
    prior: KernelPrior,
    score: Mapping[str, Any],
    kernels: Mapping[str, Any],
    *,
    source: str,
    settings: Mapping[str, Mapping[str, Any]],
) -> str:
    """Return a prior's model card, in Markdown, from the numbers in a run's files.

    Args:
        name: of the prior among the pretrained ones.
        prior: the prior itself.
        score: of its held-out kernels, as from `dwp.evaluation.scores.score`.
        kernels: of the kernels it was fitted to, as from `dwp.kernels.describe`.
        source: the data set of the source nets, in words.
        settings: of the "source nets" (with their `network`), the kernels and the prior.
    """
    size = f"{prior.kernel_size} x {prior.kernel_size}"
    nets, network = kernels["nets"], settings["source nets"]["network"]
    shares = f"{kernels['train']:,} to fit the prior and {kernels['test']:,} held out"
    density = f"- log p(w) ({score['log_prob']['estimator']}): {_with_error(score['log_prob'])}"
    if prior.density == "bound":
        density += f"\n- ELBO: {_with_error(score['elbo'])}"
    listed = "\n".join(f"- {stage}: {_words(values)}" for stage, values in settings.items())
    pulls = "a narrow posterior's kernels are drawn towards zero"
    if score["at_zero"] <= score["at_initial"]:
        pulls = "zero is no likelier than what nets start from"
    return f"""# {name}

A `{prior.kind}` prior over {size} kernels: `dwp.load_prior("{name}")`.

## Data and training

{nets} source nets (`{network}`) were trained on {source}. Of their {kernels["collected"]:,} {size}
kernels, those of a Euclidean norm of at least {kernels["cut"]:.4g} were kept: {kernels["kept"]:,}
({kernels["kept_fraction"]:.1%}), {shares}.

{listed}

## Held-out nats

On the {score["n"]:,} held-out kernels, in nats a kernel, with the standard error over kernels:

{density}

The log density of the kernel of zeros is {score["at_zero"]:.2f} nats, of the kernels that nets
start from {score["at_initial"]:.2f}: {pulls}.

## Meant for

Convolutions of {size} kernels in small nets for images like those of the source nets, with pixels
in [0, 1] and few training examples: as the prior of a Bayesian layer, or to start a net from.

## Limits

- {nets} source nets of one architecture and one data set. The scale of kernels depends on both, on
  the L2 penalty and on the range of the inputs; on other nets and images nothing was measured.
- Density is not accuracy: compare on validation data with other priors and with a plain net that
  starts from the same kernels. What the runs of docs/results.md show is mixed.
- The kernels were pruned by norm: the prior describes those that a net uses.

## Licence

MIT, as the code. No image of the data set is in the file.
"""


def _with_error(term: Mapping[str, float]) -> str:
    return f"{term['mean']:.2f} +- {term['standard_error']:.2f}"


def _words(settings: Mapping[str, Any]) -> str:
    parts = []
    for name, value in sorted(settings.items()):
        if isinstance(value, Mapping):
            parts += [f"{key} {part}" for key, part in sorted(value.items())]
        elif value is not None:
            parts.append(f"{name} {value}")
    return ", ".join(parts)
