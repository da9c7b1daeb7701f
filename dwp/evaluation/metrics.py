"""Quality of predicted class probabilities: accuracy, likelihood, calibration, uncertainty."""

import math
from types import ModuleType

import torch
from torch import Tensor

ECE_BINS = 15
PROBABILITY_FLOOR = torch.finfo(torch.float32).tiny
"""Smallest probability whose log is taken, about 1.2e-38, so one example costs at most 87.3 nats.

A float32 softmax underflows at about the same place: a larger floor would flatter overconfident
networks.
"""


def classification_metrics(probabilities: Tensor, targets: Tensor) -> dict[str, float]:
    """Compare predicted class probabilities with the true classes.

    Args:
        probabilities: (n, classes), rows sum to 1.
        targets: (n,), class indices.

    Returns:
        `accuracy`: fraction whose most probable class is the true one.
        `nll`: mean negative log-likelihood in nats (see `PROBABILITY_FLOOR`).
        `ece`: expected calibration error of the most probable class, a fraction, 15 bins.
        `brier`: squared error summed over classes, mean over examples, from 0 to 2.

    Raises:
        ValueError: shapes do not fit, or rows are no probabilities (NaN from a diverged network
            included).
    """
    p = _checked(probabilities)
    if targets.shape != p.shape[:1]:
        raise ValueError(f"targets: expected shape {(len(p),)}, found {tuple(targets.shape)}")
    targets = targets.to(p.device, torch.long)
    if targets.min() < 0 or targets.max() >= p.shape[1]:
        raise ValueError(f"targets: expected class indices from 0 to {p.shape[1] - 1}")
    of_target = p.gather(1, targets[:, None]).squeeze(1)
    # torchmetrics gives a confidence of exactly 1 a bin of its own, the 16th
    below_one = p.clamp_max(1 - torch.finfo(torch.float32).eps)
    ece = _torchmetrics().multiclass_calibration_error(
        below_one, targets, num_classes=p.shape[1], n_bins=ECE_BINS
    )
    # Sum over classes of (p_c - [c is the target])^2, without building the one-hot matrix.
    brier = p.square().sum(1) - 2 * of_target + 1
    return {
        "accuracy": (p.argmax(1) == targets).double().mean().item(),
        "nll": -of_target.clamp_min(PROBABILITY_FLOOR).log().mean().item(),
        "ece": ece.item(),
        "brier": brier.mean().item(),
    }


def ood_auroc(in_probs: Tensor, out_probs: Tensor) -> float:
    """Tell out-of-domain from in-domain examples by the entropy of the prediction.

    Args:
        in_probs: (n, classes), predictions for the domain trained on.
        out_probs: (m, classes), predictions for another domain, with the same classes.

    Returns:
        Area under the ROC curve: the chance that an out-of-domain example has the higher entropy
        (ties count half). 1 = always more uncertain out of the domain, 0.5 = no information.

    Raises:
        ValueError: shapes do not fit or rows are no probabilities.
    """
    if in_probs.shape[1:] != out_probs.shape[1:]:
        raise ValueError(
            f"expected the same classes, found shapes {tuple(in_probs.shape)} and "
            f"{tuple(out_probs.shape)}"
        )
    scores = torch.cat([_relative_entropy(in_probs), _relative_entropy(out_probs)])
    is_out = torch.zeros(len(scores), dtype=torch.long, device=scores.device)
    is_out[len(in_probs) :] = 1
    return _torchmetrics().binary_auroc(scores, is_out).item()


def _torchmetrics() -> ModuleType:
    """torchmetrics' functions, imported when first needed.

    The import takes about a second, because it loads all domains and pyplot. It also loads
    torchvision where that is installed, which our own import has to make loadable before.
    """
    import dwp.data._torchvision  # noqa: F401, I001

    import torchmetrics.functional.classification

    return torchmetrics.functional.classification


def _relative_entropy(probabilities: Tensor) -> Tensor:
    """Entropy of each row as a fraction of the greatest possible one: (n, classes) -> (n,)."""
    p = _checked(probabilities)
    # torchmetrics passes scores outside [0, 1] through a sigmoid, which ties small entropies.
    return (torch.special.entr(p).sum(1) / math.log(p.shape[1])).clamp(0, 1)


def _checked(probabilities: Tensor) -> Tensor:
    """Probabilities (n, classes) as float64 in [0, 1]."""
    if probabilities.ndim != 2 or len(probabilities) == 0 or probabilities.shape[1] < 2:
        raise ValueError(
            f"probabilities: expected shape (n, classes), found {tuple(probabilities.shape)}"
        )
    p = probabilities.detach().double()
    if not ((p >= -1e-3).all() and ((p.sum(1) - 1).abs() <= 1e-3).all()):
        raise ValueError("probabilities: expected rows >= 0 that sum to 1 (logits or NaN?)")
    # A mean of float32 softmaxes may exceed 1 by rounding; torchmetrics would take it for logits.
    return p.clamp(0, 1)
