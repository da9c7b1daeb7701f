"""Quality of predicted class probabilities: accuracy, likelihood, calibration, uncertainty."""

import torch
from torch import Tensor

ECE_BINS = 15
PROBABILITY_FLOOR = torch.finfo(torch.float32).tiny
"""Smallest probability whose log is taken, about 1.2e-38, so one example costs at most 87.3 nats.

A float32 softmax underflows at about the same value: a larger floor would flatter overconfident
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
    p, targets = _checked(probabilities), targets.to(probabilities.device, torch.long)
    if targets.shape != p.shape[:1] or targets.min() < 0 or targets.max() >= p.shape[1]:
        raise ValueError(f"targets: expected {len(p)} class indices from 0 to {p.shape[1] - 1}")
    of_target = p.gather(1, targets[:, None]).squeeze(1)  # (n,)
    confidence, predicted = p.max(1)
    right = (predicted == targets).double()
    # |accuracy - confidence| of each bin, weighted by its share of the examples
    bins = (confidence * ECE_BINS).long().clamp_max(ECE_BINS - 1)
    gaps = torch.bincount(bins, right - confidence)
    # Sum over classes of (p_c - [c is the target])^2, without building the one-hot matrix.
    brier = p.square().sum(1) - 2 * of_target + 1
    return {
        "accuracy": right.mean().item(),
        "nll": -of_target.clamp_min(PROBABILITY_FLOOR).log().mean().item(),
        "ece": gaps.abs().sum().item() / len(p),
        "brier": brier.mean().item(),
    }


def ood_auroc(in_probs: Tensor, out_probs: Tensor) -> float:
    """Return how well the entropy of the prediction detects out-of-distribution examples.

    Args:
        in_probs: (n, classes), predictions for the domain trained on.
        out_probs: (m, classes), predictions for another domain, with the same classes.

    Returns:
        Area under the ROC curve: the chance that an out-of-distribution example has the higher
        entropy (ties count half). 1 = always more uncertain, 0.5 = no information.

    Raises:
        RuntimeError: the classes differ.
        ValueError: rows are no probabilities.
    """
    entropies = torch.special.entr(_checked(torch.cat([in_probs, out_probs]))).sum(1)
    inside, outside = entropies.split([len(in_probs), len(out_probs)])
    inside = inside.sort().values
    below, not_above = (torch.searchsorted(inside, outside, right=r) for r in (False, True))
    return (below + not_above).double().mean().item() / (2 * len(inside))


def _checked(probabilities: Tensor) -> Tensor:
    """Return probabilities (n, classes) as float64 in [0, 1]."""
    p, shape = probabilities.detach().double(), tuple(probabilities.shape)
    sized = len(shape) == 2 and shape[0] > 0 and shape[1] > 1
    if not (sized and (p >= -1e-3).all() and ((p.sum(1) - 1).abs() <= 1e-3).all()):
        expected = "(n, classes), rows >= 0 that sum to 1 (logits or NaN?)"
        raise ValueError(f"probabilities: expected {expected}; found shape {shape}")
    return p.clamp(0, 1)  # a mean of float32 softmaxes may exceed 1 by rounding
