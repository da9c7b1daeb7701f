"""The model card of a prior that comes with the package."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dwp.priors.base import KernelPrior

_TEMPLATE = Path(__file__).with_suffix(".md")


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
    elbo = "\n- ELBO: {mean:.2f} +- {standard_error:.2f}".format_map(score["elbo"])
    bound = elbo if prior.density == "bound" else ""
    details = "\n".join(f"- {stage}: {_words(values)}" for stage, values in settings.items())
    pulls = "a narrow posterior's kernels are drawn towards zero"
    if score["at_zero"] <= score["at_initial"]:
        pulls = "zero is no likelier than what nets start from"
    return _TEMPLATE.read_text(encoding="utf-8").format_map(locals())


def _words(settings: Mapping[str, Any]) -> str:
    parts = []
    for name, value in sorted(settings.items()):
        items = value.items() if isinstance(value, Mapping) else [(name, value)]
        parts += [f"{key} {part}" for key, part in sorted(items) if part is not None]
    return ", ".join(parts)
