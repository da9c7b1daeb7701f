"""Statistics over splits against known values."""

import math
from pathlib import Path

import pandas as pd
import pytest
import yaml

from dwp.errors import UserError
from dwp.evaluation.statistics import (
    authors_at,
    choose,
    compare_with_paper,
    holm,
    keep_chosen,
    paired_tests,
    read_paper,
    read_papers,
    read_table,
    summarise,
    with_holm,
)
from dwp.variants import as_text

ROOT = Path(__file__).parent.parent

DWP = {"prior": "dwp"}
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
        ),
        DWP,
    )
    (row,) = table.to_dict("records")
    assert (row["prior"], row["compared"], row["reference"]) == ("normal", "prior", "dwp")
    assert row["splits"] == 3
    assert row["difference"] == pytest.approx(0.2)
    # Differences 0.1, 0.2, 0.3: t = 0.2 / (0.1 / sqrt(3)) = 2 sqrt(3), 2 degrees of freedom.
    t = 2 * math.sqrt(3)
    assert row["p"] == pytest.approx(1 - t / math.sqrt(2 + t**2))
    assert row["interval"] == pytest.approx(4.302653 * 0.1 / math.sqrt(3), rel=1e-6)


def test_pairing_ignores_unmatched_splits():
    matched = [("dwp", 0, 0, 0.1), ("dwp", 1, 0, 0.3), ("normal", 0, 0, 0.2), ("normal", 1, 0, 0.5)]
    expected = paired_tests(runs(*matched), DWP)
    found = paired_tests(runs(*matched, ("dwp", 2, 0, 9.0), ("normal", 3, 0, -9.0)), DWP)
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
        ),
        DWP,
    )
    assert list(table["n"]) == [50, 100]
    assert set(table["init"]) == {"dwp"}
    assert table["difference"].tolist() == pytest.approx([-0.1, -0.1])
    assert table[["interval", "p"]].isna().all(axis=None)


def test_a_difference_that_is_the_same_in_all_splits_is_no_evidence():
    (row,) = paired_tests(
        runs(
            *(("dwp", split, 0, value) for split, value in enumerate([0.90, 0.86, 0.92])),
            *(("normal", split, 0, value) for split, value in enumerate([0.88, 0.84, 0.90])),
        ),
        DWP,
    ).to_dict("records")
    assert row["difference"] == pytest.approx(-0.02)
    assert math.isnan(row["p"])
    assert math.isnan(row["interval"])


def test_names_are_text_whatever_they_look_like(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("domain,prior,init,n,metric,value\n1,null,,50,2,nan\n")
    (row,) = read_table(path, ["prior"], ["value"]).to_dict("records")
    assert (row["domain"], row["prior"], row["metric"]) == ("1", "null", "2")
    assert math.isnan(row["value"])
    assert math.isnan(row["init"])


def test_paired_tests_need_the_reference():
    with pytest.raises(UserError, match="'flow'"):
        paired_tests(runs(("dwp", 0, 0, 0.5)), {"prior": "flow"})


VARIED = {"precision": ["float32", "bfloat16"], "kernels_per_step": ["none", "512"]}
MATCH = ["domain", "init", "n", "metric"]


def varied(values, metric="elbo"):
    """Runs of one prior, from the values of each split by precision and kernels a step."""
    tables = [
        runs(*(("dwp", split, 0, v) for split, v in enumerate(of_splits)), metric=metric).assign(
            precision=precision, kernels_per_step=kernels
        )
        for (precision, kernels), of_splits in values.items()
    ]
    table = pd.concat(tables, ignore_index=True)
    for name, texts in VARIED.items():
        table[name] = pd.Categorical(table[name], texts, ordered=True)
    return table


def test_a_setting_is_tested_with_everything_else_alike():
    table = varied(
        {
            ("float32", "none"): [10.0, 20.0],
            ("bfloat16", "none"): [10.5, 21.0],
            ("float32", "512"): [7.0, 16.0],
            ("bfloat16", "512"): [7.0, 16.0],
        }
    )
    found = paired_tests(table, {"precision": "float32"}, [*MATCH, "prior", "kernels_per_step"])
    assert found[["kernels_per_step", "precision", "reference"]].to_numpy().tolist() == [
        ["none", "bfloat16", "float32"],
        ["512", "bfloat16", "float32"],
    ]
    assert found["difference"].tolist() == [0.75, 0.0]
    assert found["p"].isna().tolist() == [False, True]  # no difference at all: no test
    reference = {name: texts[0] for name, texts in VARIED.items()}
    both = paired_tests(table, reference, [*MATCH, "prior"])
    assert set(both["compared"]) == {"precision, kernels_per_step"}
    assert set(both["reference"]) == {"float32, none"}
    assert both["difference"].tolist() == [-3.5, 0.75, -3.5]


def test_holm_by_hand():
    p = pd.Series([0.01, 0.04, math.nan, 0.03, 0.005], index=list("abcde"))
    # sorted: 0.005 * 4, 0.01 * 3, 0.03 * 2, and 0.04 * 1, which must not fall below the third
    expected = pd.Series([0.03, 0.06, math.nan, 0.06, 0.02], index=list("abcde"))
    pd.testing.assert_series_equal(holm(p), expected)
    assert holm(pd.Series([0.6, 0.9])).tolist() == [1.0, 1.0]


def test_tests_of_other_metrics_and_other_choices_are_corrected_apart():
    tests = pd.DataFrame(
        [
            ("nll", "prior", "validation", 0.01),
            ("nll", "prior", "validation", 0.02),
            ("nll", "prior", "test", 0.01),
            ("elbo", "prior", "validation", 0.01),
            ("nll", "precision", "validation", 0.01),
        ],
        columns=["metric", "compared", "chosen_by", "p"],
        index=[0, 0, 1, 1, 2],  # as after a concatenation
    )
    assert with_holm(tests)["p_holm"].tolist() == [0.02, 0.02, 0.01, 0.01, 0.01]


def tuned(metric, values, rates=("0.1", "0.01"), prior="dwp"):
    """Runs of one prior, from the values of each split by learning rate."""
    table = pd.concat(
        [
            runs(
                *((prior, split, 0, v) for split, v in enumerate(of_splits)), metric=metric
            ).assign(learning_rate=rate)
            for rate, of_splits in values.items()
        ],
        ignore_index=True,
    )
    table["learning_rate"] = pd.Categorical(table["learning_rate"], rates, ordered=True)
    return table


TUNED_BY = ["domain", "prior", "init", "n"]


@pytest.mark.parametrize(
    ("metric", "values", "expected"),
    [
        ("validation_nll", {"0.1": [1.0, 4.0], "0.01": [2.0, 2.0]}, "0.01"),
        ("validation_accuracy", {"0.1": [0.5, 0.9], "0.01": [0.6, 0.7]}, "0.1"),
        ("validation_nll", {"0.01": [1.0, 2.0], "0.1": [2.0, 1.0]}, "0.1"),  # the config's first
        ("validation_accuracy", {"0.01": [0.5], "0.1": [0.5]}, "0.1"),
        ("validation_nll", {"0.1": [0.0, math.nan], "0.01": [9.0, 9.0]}, "0.01"),
    ],
)
def test_the_best_mean_over_splits_is_chosen(metric, values, expected):
    (row,) = choose(tuned(metric, values), TUNED_BY, ["learning_rate"], metric).to_dict("records")
    assert row == {"domain": "mnist", "prior": "dwp", "init": "dwp", "n": 50} | {
        "learning_rate": expected
    }


def test_every_prior_has_its_own_choice():
    metric = "validation_nll"
    table = pd.concat(
        [
            tuned(metric, {"0.1": [1.0], "0.01": [2.0]}),
            tuned(metric, {"0.1": [2.0], "0.01": [1.0]}, prior="normal"),
        ]
    )
    found = choose(table, TUNED_BY, ["learning_rate"], metric)
    assert found[["prior", "learning_rate"]].to_numpy().tolist() == [
        ["dwp", "0.1"],
        ["normal", "0.01"],
    ]


def test_the_choice_by_test_images_stands_beside_that_by_validation_images():
    table = pd.concat(
        [
            tuned("validation_nll", {"0.1": [1.0, 1.0], "0.01": [2.0, 2.0]}),
            tuned("ensemble_nll", {"0.1": [5.0, 6.0], "0.01": [3.0, 4.0]}),
        ]
    )
    kept = keep_chosen(table, TUNED_BY, ["learning_rate"], "validation_nll")
    nll = kept[kept["metric"] == "ensemble_nll"]
    assert nll[["chosen_by", "learning_rate", "split", "value"]].to_numpy().tolist() == [
        ["validation", "0.1", 0, 5.0],
        ["validation", "0.1", 1, 6.0],
        ["test", "0.01", 0, 3.0],
        ["test", "0.01", 1, 4.0],
    ]
    assert len(kept) == 8


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


SHAPES = pd.DataFrame(
    {
        "dataset": "mnist",
        "prior": "dwp",
        "num_examples": 50,
        "filters": ["20", "20", "100", "100"],
        "init": ["dwp", "xavier"] * 2,
        "accuracy": [0.6, 0.5, 0.7, 0.6],
        "std": 0.05,
    }
)


def test_the_authors_numbers_hold_for_their_own_init_and_settings():
    both = pd.concat([PAPER, SHAPES], ignore_index=True)
    found = authors_at(both, {"init": "xavier", "filters": "100", "precision": "float32"})
    # those that tell neither hold everywhere
    assert found["accuracy"].tolist() == [*PAPER["accuracy"], 0.6]
    # 20 or 100 filters may be ours or not, if ours are not told
    assert authors_at(both, {"init": "xavier"})["accuracy"].tolist() == [*PAPER["accuracy"]]
    assert len(authors_at(PAPER, {"init": "xavier"})) == len(PAPER)

    ours = summary(("dwp", 50, 0.55, 0.1))
    table = compare_with_paper(ours, authors_at(both, {"init": "dwp", "filters": "20"}))
    assert table["authors"].tolist() == [0.8, 0.6]
    assert table["authors_std"].fillna(0).tolist() == [0, 0.05]
    assert table["agree"].tolist() == ["no", "yes"]


def test_every_net_of_the_papers_shapes_has_the_authors_number():
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    section = config["domains"]["shapes"]["classification"]
    paper = read_paper(ROOT / "workflow" / "resources" / "paper_shapes.csv", settings=["filters"])
    assert not paper.duplicated(["num_examples", "filters", "prior", "init"]).any()
    found = 0
    for filters in section["vary"]["filters"]:
        for init in section["inits"]:
            there = authors_at(paper, {"init": init, "filters": as_text(filters)})
            found += there["prior"].isin(section["priors"]).sum()
            assert set(there["num_examples"]) == set(section["train_sizes"])
    assert found == len(paper) == 4 * 2 * 3 * 7


def test_comparison_needs_one_row_per_setting():
    with pytest.raises(ValueError, match="one metric"):
        compare_with_paper(summary(("dwp", 50, 0.8, 0.1), ("dwp", 50, 0.7, 0.1)), PAPER)


def test_reading_the_paper(tmp_path):
    path = tmp_path / "paper.csv"
    PAPER.to_csv(path, index=False)
    pd.testing.assert_frame_equal(read_paper(path), PAPER)
    ours = read_papers([path, path], "mnist", "digits")
    assert set(ours["dataset"]) == {"digits"}
    assert len(ours) == 2 * (PAPER["dataset"] == "mnist").sum() > 0
    assert read_papers([path], "none", "mnist").empty

    SHAPES.to_csv(path, index=False)
    assert read_paper(path, settings=["filters", "precision"])["filters"].tolist()[0] == "20"

    PAPER.drop(columns=["accuracy", "prior"]).to_csv(path, index=False)
    with pytest.raises(UserError, match=r"paper\.csv.*missing prior, accuracy"):
        read_paper(path)
    path.write_text("")
    with pytest.raises(UserError, match="CSV"):
        read_paper(path)
    with pytest.raises(UserError, match="no such file"):
        read_paper(tmp_path / "absent.csv")


def test_a_failed_seed_shows_in_its_split_and_a_failed_split_in_its_test():
    table = runs(("dwp", 0, 0, 0.8), ("dwp", 0, 1, math.nan), ("dwp", 1, 0, 0.9))
    assert math.isnan(summarise(table, BY)["mean"].item())
    values = [("dwp", split, 0, 0.5) for split in range(3)]
    values += [("normal", split, 0, v) for split, v in enumerate([0.6, 0.8, math.nan])]
    (row,) = paired_tests(runs(*values), DWP).to_dict("records")
    assert all(math.isnan(row[name]) for name in ("difference", "interval", "p"))
