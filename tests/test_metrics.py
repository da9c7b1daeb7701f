"""Metrics of predicted probabilities against hand-computed cases."""

import math

import pytest
import torch

from dwp.evaluation.metrics import PROBABILITY_FLOOR, classification_metrics, ood_auroc


def test_hand_computed_case():
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1]])
    found = classification_metrics(probabilities, torch.tensor([0, 2]))

    assert found["accuracy"] == 0.5
    assert found["nll"] == pytest.approx(-(math.log(0.7) + math.log(0.1)) / 2)
    # Each example is alone in its bin: |1 - 0.7| and |0 - 0.6|.
    assert found["ece"] == pytest.approx((0.3 + 0.6) / 2)
    assert found["brier"] == pytest.approx(
        (0.3**2 + 0.2**2 + 0.1**2 + 0.3**2 + 0.6**2 + 0.9**2) / 2
    )
    assert all(type(value) is float for value in found.values())


def test_perfect_calibration_has_no_ece():
    # Of ten predictions made with confidence 0.7, seven are right.
    probabilities = torch.tensor([[0.7, 0.3]]).repeat(10, 1)
    targets = torch.tensor([0] * 7 + [1] * 3)
    assert classification_metrics(probabilities, targets)["ece"] == pytest.approx(0, abs=1e-6)


def test_certain_predictions():
    certain = torch.eye(3)
    right = classification_metrics(certain, torch.tensor([0, 1, 2]))
    assert right == pytest.approx({"accuracy": 1.0, "nll": 0.0, "ece": 0.0, "brier": 0.0}, abs=1e-6)
    wrong = classification_metrics(certain, torch.tensor([1, 2, 0]))
    assert wrong["nll"] == pytest.approx(-math.log(PROBABILITY_FLOOR))
    assert (wrong["accuracy"], wrong["ece"], wrong["brier"]) == pytest.approx(
        (0.0, 1.0, 2.0), abs=1e-6
    )


def test_certain_and_nearly_certain_predictions_share_a_bin():
    # Five at 1, of which four are right, and five at 0.95, all right: 0.9 against 0.975.
    probabilities = torch.tensor([[1.0, 0.0]] * 5 + [[0.95, 0.05]] * 5)
    targets = torch.tensor([1] + [0] * 9)
    assert classification_metrics(probabilities, targets)["ece"] == pytest.approx(0.075)


def test_rounding_above_one_is_no_logit():
    probabilities = torch.tensor([[1.0 + 2e-7, 0.0], [0.0, 1.0]])
    assert classification_metrics(probabilities, torch.tensor([0, 1]))["ece"] == pytest.approx(
        0.0, abs=1e-6
    )


@pytest.mark.parametrize(
    "probabilities",
    [
        torch.tensor([[2.0, -1.0]]),
        torch.tensor([[0.9, 0.9]]),
        torch.tensor([[math.nan, 0.5]]),
        torch.tensor([0.5]),
        torch.empty(0, 2),
    ],
)
def test_no_probabilities(probabilities):
    with pytest.raises(ValueError, match="probabilities"):
        classification_metrics(probabilities, torch.zeros(len(probabilities), dtype=torch.long))


@pytest.mark.parametrize("targets", [[0, 1], [2], [-1]])
def test_targets_that_do_not_fit(targets):
    with pytest.raises(ValueError, match="targets"):
        classification_metrics(torch.tensor([[0.5, 0.5]]), torch.tensor(targets))


def test_auroc_of_separable_and_equal_domains():
    certain = torch.tensor([[0.99, 0.01], [0.02, 0.98]])
    unsure = torch.tensor([[0.6, 0.4], [0.5, 0.5], [0.45, 0.55]])
    assert ood_auroc(certain, unsure) == 1.0
    assert ood_auroc(unsure, certain) == 0.0
    assert ood_auroc(unsure, unsure) == pytest.approx(0.5)


def test_auroc_counts_pairs():
    def binary(*p):
        return torch.tensor([[x, 1 - x] for x in p])

    # Of the four pairs, out of the domain is more uncertain in three.
    assert ood_auroc(binary(0.95, 0.7), binary(0.8, 0.6)) == pytest.approx(0.75)


def test_auroc_tells_tiny_entropies_apart():
    nearly, more = 1e-10, 2e-10
    inside = torch.tensor([[1 - nearly, nearly]], dtype=torch.float64)
    outside = torch.tensor([[1 - more, more]], dtype=torch.float64)
    assert ood_auroc(inside, outside) == 1.0


def test_auroc_needs_the_same_classes():
    with pytest.raises(ValueError, match="same classes"):
        ood_auroc(torch.tensor([[0.5, 0.5]]), torch.tensor([[0.5, 0.25, 0.25]]))


def test_there_are_fifteen_bins_and_the_floor_is_that_of_a_float32_softmax():
    # confidences of 0.62, right, and of 0.68, wrong, lie on two sides of 10 / 15
    probabilities = torch.tensor([[0.62, 0.38], [0.68, 0.32]])
    found = classification_metrics(probabilities, torch.tensor([0, 1]))
    assert found["ece"] == pytest.approx((0.38 + 0.68) / 2)
    wrong = classification_metrics(torch.tensor([[1.0, 0.0]]), torch.tensor([1]))
    assert wrong["nll"] == pytest.approx(87.34, abs=0.01)
