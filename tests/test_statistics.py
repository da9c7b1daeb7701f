"""Statistics over splits against known values."""

import math

import pandas as pd
import pytest

from dwp.errors import UserError
from dwp.evaluation.statistics import compare_with_paper, paired_tests, read_paper, summarise

BY = ["domain", "prior", "init", "n", "metric"]


def runs(*rows, init="dwp", n=50, metric="ensemble_accuracy"):
    """A table from rows of (prior, split, seed, value)."""
    columns = ["prior", "split", "seed", "value"]
    return pd.DataFrame(rows, columns=columns).assign(domain="mnist", init=init, n=n, metric=metric)


def test_interval_of_known_sample():
    table = summarise(runs(*(("dwp", split, 0, split + 1.0) for split in range(5))), BY)
    (row,) = table.to_dict("records")
    assert list(table) == [*BY, "mean", "splits", "std", "interval"]
    assert (row["prior"], row["n"], row["mean"], row["splits"]) == ("dwp", 50, 3.0, 5)
    assert row["std"] == pytest.approx(math.sqrt(2.5))
    # 2.776445 is the 97.5 % quantile of Student's t with 4 degrees of freedom.
    assert row["interval"] == pytest.approx(2.776445 * math.sqrt(2.5 / 5), rel=1e-6)


def test_seeds_are_averaged_within_their_split():
    table = summarise(runs(("dwp", 0, 0, 0.0), ("dwp", 0, 1, 1.0), ("dwp", 1, 0, 1.0)), BY)
    assert table["mean"].item() == pytest.approx((0.5 + 1.0) / 2)
    assert table["splits"].item() == 2


def test_one_split_has_no_interval():
    table = summarise(runs(("dwp", 0, 0, 0.8), ("dwp", 0, 1, 0.9)), BY)
    assert table["mean"].item() == pytest.approx(0.85)
    assert table[["std", "interval"]].isna().all(axis=None)


def test_a_failed_run_shows():
    table = summarise(runs(("dwp", 0, 0, 0.8), ("dwp", 1, 0, math.nan)), BY)
    assert math.isnan(table["mean"].item())


def test_paired_test_of_known_sample():
    table = paired_tests(
        runs(
            *(("dwp", split, 0, value) for split, value in enumerate([0.1, 0.5, 0.3])),
            *(("normal", split, 0, value) for split, value in enumerate([0.2, 0.7, 0.6])),
        )
    )
    (row,) = table.to_dict("records")
    assert (row["prior"], row["reference"], row["splits"]) == ("normal", "dwp", 3)
    assert row["difference"] == pytest.approx(0.2)
    # Differences 0.1, 0.2, 0.3: t = 0.2 / (0.1 / sqrt(3)) = 2 sqrt(3), 2 degrees of freedom.
    t = 2 * math.sqrt(3)
    assert row["p"] == pytest.approx(1 - t / math.sqrt(2 + t**2))
    assert row["interval"] == pytest.approx(4.302653 * 0.1 / math.sqrt(3), rel=1e-6)


def test_pairing_ignores_unmatched_splits():
    matched = [("dwp", 0, 0, 0.1), ("dwp", 1, 0, 0.3), ("normal", 0, 0, 0.2), ("normal", 1, 0, 0.5)]
    expected = paired_tests(runs(*matched))
    found = paired_tests(runs(*matched, ("dwp", 2, 0, 9.0), ("normal", 3, 0, -9.0)))
    pd.testing.assert_frame_equal(found, expected)
    assert found["splits"].item() == 2


def test_pairing_keeps_settings_apart():
    one = runs(("dwp", 0, 0, 0.5), ("normal", 0, 0, 0.4))
    table = paired_tests(
        pd.concat(
            [
                one,
                runs(("dwp", 0, 0, 0.9), ("normal", 0, 0, 0.8), n=100),
                runs(("normal", 0, 0, 0.1), init="xavier"),  # no reference there
            ]
        )
    )
    assert list(table["n"]) == [50, 100]
    assert set(table["init"]) == {"dwp"}
    assert table["difference"].tolist() == pytest.approx([-0.1, -0.1])
    assert table[["interval", "p"]].isna().all(axis=None)


def test_paired_tests_need_the_reference():
    with pytest.raises(ValueError, match="'flow'"):
        paired_tests(runs(("dwp", 0, 0, 0.5)), "flow")


def summary(*rows):
    """A summary from rows of (prior, n, mean, interval)."""
    columns = ["prior", "n", "mean", "interval"]
    return pd.DataFrame(rows, columns=columns).assign(domain="mnist")


PAPER = pd.DataFrame(
    {
        "dataset": ["mnist", "mnist", "mnist", "cifar10"],
        "prior": ["dwp", "dwp", "log-uniform", "dwp"],
        "num_examples": [50, 100, 50, 50],
        "accuracy": [0.8, 0.9, 0.7, 0.2],
    }
)


def test_agreement_with_the_paper():
    table = compare_with_paper(
        summary(
            ("log-uniform", 50, 0.75, 0.01),
            ("dwp", 100, 0.5, math.nan),
            ("dwp", 50, 0.79, 0.02),
            ("flow", 50, 0.5, 0.1),
        ),
        PAPER,
    )
    assert list(table) == [
        *("dataset", "prior", "num_examples", "ours", "low", "high"),
        *("authors", "difference", "agree"),
    ]
    assert list(table["agree"]) == ["yes", "unknown", "no"]
    assert list(table["prior"]) == ["dwp", "dwp", "log-uniform"]
    first = table.iloc[0]
    assert first["low"] == pytest.approx(0.77)
    assert first["high"] == pytest.approx(0.81)
    assert first["difference"] == pytest.approx(-0.01)


def test_comparison_needs_one_row_per_setting():
    with pytest.raises(ValueError, match="one metric"):
        compare_with_paper(summary(("dwp", 50, 0.8, 0.1), ("dwp", 50, 0.7, 0.1)), PAPER)


def test_reading_the_paper(tmp_path):
    path = tmp_path / "paper.csv"
    PAPER.to_csv(path, index=False)
    pd.testing.assert_frame_equal(read_paper(path), PAPER)

    PAPER.drop(columns=["accuracy", "prior"]).to_csv(path, index=False)
    with pytest.raises(UserError, match=r"paper\.csv.*missing prior, accuracy"):
        read_paper(path)
    path.write_text("")
    with pytest.raises(UserError, match="CSV"):
        read_paper(path)
    with pytest.raises(UserError, match="no such file"):
        read_paper(tmp_path / "absent.csv")
