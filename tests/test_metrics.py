"""Metrics of predicted probabilities against hand-computed cases."""

import math

import pytest
import torch
from sklearn.metrics import roc_auc_score

from dwp.evaluation.metrics import PROBABILITY_FLOOR, classification_metrics, ood_auroc


def binary(*p):
    return torch.tensor([[x, 1 - x] for x in p], dtype=torch.float64)


def test_hand_computed_case():
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1]])
    found = classification_metrics(probabilities, torch.tensor([0, 2]))
    assert found["accuracy"] == 0.5
    assert found["nll"] == pytest.approx(-(math.log(0.7) + math.log(0.1)) / 2)
    # Each example is alone in its bin: |1 - 0.7| and |0 - 0.6|.
    assert found["ece"] == pytest.approx((0.3 + 0.6) / 2)
    squares = 0.3**2 + 0.2**2 + 0.1**2 + 0.3**2 + 0.6**2 + 0.9**2
    assert found["brier"] == pytest.approx(squares / 2)
    assert all(type(value) is float for value in found.values())


@pytest.mark.parametrize(
    ("probabilities", "targets", "expected"),
    [
        # Of ten predictions made with confidence 0.7, seven are right.
        (binary(0.7).repeat(10, 1), [0] * 7 + [1] * 3, 0.0),
        # Five at 1, of which four are right, and five at 0.95, all right: 0.9 against 0.975.
        (binary(*[1.0] * 5, *[0.95] * 5), [1] + [0] * 9, 0.075),
        # Fifteen bins: 0.62, right, and 0.68, wrong, are on two sides of 10 / 15.
        (binary(0.62, 0.68), [0, 1], (0.38 + 0.68) / 2),
        # A mean of float32 softmaxes may exceed 1 by rounding.
        (torch.tensor([[1.0 + 2e-7, 0.0], [0.0, 1.0]]), [0, 1], 0.0),
    ],
)
def test_expected_calibration_error(probabilities, targets, expected):
    found = classification_metrics(probabilities, torch.tensor(targets))
    assert found["ece"] == pytest.approx(expected, abs=1e-6)


def test_certain_predictions():
    right = classification_metrics(torch.eye(3), torch.tensor([0, 1, 2]))
    assert right == pytest.approx({"accuracy": 1.0, "nll": 0.0, "ece": 0.0, "brier": 0.0}, abs=1e-6)
    wrong = classification_metrics(torch.eye(3), torch.tensor([1, 2, 0]))
    floor = -math.log(PROBABILITY_FLOOR)
    assert floor == pytest.approx(87.34, abs=0.01)  # where a float32 softmax underflows
    assert wrong == pytest.approx({"accuracy": 0.0, "nll": floor, "ece": 1.0, "brier": 2.0})


@pytest.mark.parametrize(
    ("probabilities", "targets", "name"),
    [(p, [0], "probabilities") for p in ([[2.0, -1.0]], [[0.9, 0.9]], [[math.nan, 0.5]], [0.5])]
    + [([[1.0]], [0], "probabilities")]
    + [([[0.2, 0.8]], targets, "targets") for targets in ([0, 1], [2], [-1])],
)
def test_no_probabilities_and_targets_that_do_not_fit(probabilities, targets, name):
    with pytest.raises(ValueError, match=name):
        classification_metrics(torch.tensor(probabilities), torch.tensor(targets))


def test_auroc_is_that_of_scikit_learn_with_ties_and_for_tiny_entropies():
    draws = torch.Generator().manual_seed(0)
    counts = [torch.randint(1, 4, (n, 3), generator=draws).double() for n in (60, 40)]
    inside, outside = (c / c.sum(1, keepdim=True) for c in counts)
    scores = torch.special.entr(torch.cat([inside, outside])).sum(1)
    expected = roc_auc_score([0] * 60 + [1] * 40, scores.numpy())
    assert ood_auroc(inside, outside) == pytest.approx(expected)
    assert ood_auroc(inside, inside) == pytest.approx(0.5)
    assert ood_auroc(binary(1 - 1e-10), binary(1 - 2e-10)) == 1
    with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
        ood_auroc(inside, binary(0.5))
