"""Statistics over splits and seeds against known values, and the authors' numbers."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers import ROOT

from dwp.errors import UserError
from dwp.evaluation.factorial import METRICS, effects, factorial
from dwp.evaluation.paper import authors_at, compare_with_paper, read_authors
from dwp.evaluation.statistics import holm, keep_chosen, paired_tests, steps_to_levels, summarise
from dwp.variants import as_text

NAN = math.nan
DWP = {"prior": "dwp"}
BY = ["domain", "prior", "init", "n", "metric"]
MATCH = ["domain", "init", "n", "metric"]


def runs(values, n=50, metric="ensemble_accuracy", seeds=False, **settings):
    """A table from the values of each split of each prior; `seeds`: of each split's seeds."""
    rows = [
        (prior, split, seed, value)
        for prior, of_splits in values.items()
        for split, of_seeds in enumerate(of_splits)
        for seed, value in enumerate(of_seeds if seeds else [of_seeds])
    ]
    table = pd.DataFrame(rows, columns=["prior", "split", "seed", "value"])
    same = {"domain": "mnist", "init": "dwp", "n": n, "metric": metric}
    return table.assign(**same | settings)


def test_interval_of_known_sample():
    table = summarise(runs({"dwp": [1.0, 2.0, 3.0, 4.0, 5.0]}), BY)
    (row,) = table.to_dict("records")
    assert list(table) == [*BY, "mean", "splits", "std", "interval"]
    assert (row["prior"], row["n"], row["mean"], row["splits"]) == ("dwp", 50, 3.0, 5)
    assert row["std"] == pytest.approx(math.sqrt(2.5))
    # 2.776445 is the 97.5 % quantile of Student's t with 4 degrees of freedom.
    assert row["interval"] == pytest.approx(2.776445 * math.sqrt(2.5 / 5), rel=1e-6)


@pytest.mark.parametrize(
    ("values", "over", "expected"),
    [
        ([[0.0, 1.0], [1.0]], "split", [0.75, 2]),  # of means of seeds
        ([[0.0, 1.0], [1.0]], "seed", [0.75, 2]),
        ([[0.8, 0.9]], "split", [0.85, 1]),
        ([[0.8, NAN], [0.9]], "split", [NAN, 2]),  # a failed run
    ],
)
def test_splits_or_seeds_are_the_units(values, over, expected):
    table = summarise(runs({"dwp": values}, seeds=True), BY, over)
    assert table[["mean", f"{over}s"]].iloc[0].tolist() == pytest.approx(expected, nan_ok=True)
    assert table["interval"].isna().item() == (1 in expected or NAN in expected)


def test_paired_test_of_known_sample():
    table = runs({"dwp": [0.1, 0.5, 0.3, 9.0], "normal": [0.2, 0.7, 0.6]})  # a split without pair
    (row,) = paired_tests(table, DWP, MATCH).to_dict("records")
    assert (row["prior"], row["compared"], row["reference"]) == ("normal", "prior", "dwp")
    assert row["splits"] == 3
    assert row["difference"] == pytest.approx(0.2)
    # Differences 0.1, 0.2, 0.3: t = 0.2 / (0.1 / sqrt(3)) = 2 sqrt(3), 2 degrees of freedom.
    t = 2 * math.sqrt(3)
    assert row["p"] == pytest.approx(1 - t / math.sqrt(2 + t**2))
    assert row["interval"] == pytest.approx(4.302653 * 0.1 / math.sqrt(3), rel=1e-6)
    one, alone = runs({"dwp": [0.9], "normal": [0.8]}, n=100), runs({"normal": [0.1]}, init="x")
    both = paired_tests(pd.concat([table, one, alone]), DWP, MATCH)
    assert both["difference"].tolist() == pytest.approx([0.2, -0.1])  # init x has no reference
    assert both["p"].isna().tolist() == [False, True]  # one split
    with pytest.raises(UserError, match="'flow'"):
        paired_tests(table, {"prior": "flow"}, MATCH)


@pytest.mark.parametrize(
    ("ours", "difference"),
    [([0.88, 0.84, 0.90], -0.02), ([0.90, 0.86, 0.92], 0.0), ([0.6, 0.8, NAN], NAN)],
    ids=["the same in all splits", "none", "a failed run"],
)
def test_no_evidence(ours, difference):
    table = runs({"dwp": [0.90, 0.86, 0.92], "normal": ours})
    (row,) = paired_tests(table, DWP, MATCH).to_dict("records")
    assert row["difference"] == pytest.approx(difference, nan_ok=True)
    assert math.isnan(row["p"])
    assert math.isnan(row["interval"])


def test_holm_by_hand():
    p = pd.Series([0.01, 0.04, NAN, 0.03, 0.005], index=list("abcde"))
    # sorted: 0.005 * 4, 0.01 * 3, 0.03 * 2, and 0.04 * 1, which must not fall below the third
    expected = pd.Series([0.03, 0.06, NAN, 0.06, 0.02], index=list("abcde"))
    pd.testing.assert_series_equal(holm(p), expected)
    assert holm(pd.Series([0.6, 0.9])).tolist() == [1.0, 1.0]


def tuned(metric, values, prior="dwp"):
    """Runs of one prior, from the values of each split by learning rate, 0.1 or 0.01."""
    parts = [runs({prior: v}, metric=metric, learning_rate=rate) for rate, v in values.items()]
    kind = pd.CategoricalDtype(["0.1", "0.01"], ordered=True)
    return pd.concat(parts, ignore_index=True).astype({"learning_rate": kind})


@pytest.mark.parametrize(
    ("metric", "values", "expected"),
    [
        ("validation_nll", {"0.1": [1.0, 4.0], "0.01": [2.0, 2.0]}, "0.01"),
        ("validation_accuracy", {"0.1": [0.5, 0.9], "0.01": [0.6, 0.7]}, "0.1"),
        ("validation_nll", {"0.01": [1.0, 2.0], "0.1": [2.0, 1.0]}, "0.1"),  # the config's first
        ("validation_accuracy", {"0.01": [0.5], "0.1": [0.5]}, "0.1"),
        ("validation_nll", {"0.1": [0.0, NAN], "0.01": [9.0, 9.0]}, "0.01"),
    ],
)
def test_the_best_mean_over_splits_is_chosen(metric, values, expected):
    other = {rate: [-9 * v for v in of_splits] for rate, of_splits in values.items()}
    on_test = tuned(metric.replace("validation", "ensemble"), other)
    table = pd.concat([tuned(metric, values), tuned(metric, other, prior="other"), on_test])
    kept = keep_chosen(table, ["learning_rate"], metric)  # each prior has its own
    assert set(kept["prior"]) == {"dwp", "other"}
    chosen = kept[(kept["prior"] == "dwp") & (kept["chosen_by"] == "validation")]
    assert set(chosen["learning_rate"]) == {expected}
    assert len(chosen) == 2 * len(values["0.1"])  # both metrics


def test_steps_to_a_level():
    curves = [("dwp", 0, [0.1, 0.5, 0.4, 0.9]), ("dwp", 1, [0.1, 0.2, 0.6, 0.7])]
    curves += [("xavier", 0, [0.9, 0.1])]
    rows = [(i, seed, 10 * k, v) for i, seed, values in curves for k, v in enumerate(values)]
    history = pd.DataFrame(rows, columns=["init", "seed", "step", "value"])
    table = steps_to_levels(history, [0.5, 0.8, 0.95]).set_index(["init", "level"])
    assert table.loc[("dwp", 0.5)].tolist() == [2, 2, 15]
    assert table.loc[("dwp", 0.8)].tolist() == [2, 1, 30]
    assert table.loc[("xavier", 0.8)].tolist() == [1, 1, 0]
    assert table.loc[("dwp", 0.95)].fillna(-1).tolist() == [2, 0, -1]


# Initialisation crossed with prior

FULL = {"prior": "dwp", "init": "dwp"}
REFERENCE = {"prior": "standard-normal", "init": "xavier"}
OF_PRIOR = {"dwp": 0.03, "standard-normal": 0.0, "log-uniform": 0.01}
OF_INIT = {"dwp": 0.06, "xavier": 0.0}
TOGETHER = 0.02  # the DWP's additional gain from its own samples


def crossed(noise=0.0):
    """Runs of every cell; splits differ by much, and cells within them by a little noise."""
    random = np.random.default_rng(0)
    parts = []
    for n, init, metric in itertools.product((50, 100), OF_INIT, METRICS):
        values = {
            prior: 0.1 * np.arange(5)
            + (gain + OF_INIT[init]) * 50 / n
            + TOGETHER * (prior == init == "dwp")
            + noise * random.normal(size=5)
            for prior, gain in OF_PRIOR.items()
        }
        parts.append(runs(values, n=n, metric=metric, init=init))
    return pd.concat(parts, ignore_index=True)


def test_parts_of_a_difference_by_hand():
    table = effects(crossed(), FULL, REFERENCE)
    assert list(table["effect"].astype(str)) == ["both", "init", "prior", "interaction"] * 6
    accuracy = table[(table["n"] == 50) & (table["metric"] == METRICS[0])]
    # each gives its own gain and half of the gain of both together
    expected = [0.06 + 0.03 + 0.02, 0.06 + 0.01, 0.03 + 0.01, 0.02]
    assert accuracy["mean"].tolist() == pytest.approx(expected)
    assert accuracy["splits"].tolist() == [5] * 4
    np.testing.assert_allclose(accuracy["interval"], 0, atol=1e-12)  # paired: splits cancel
    assert (effects(crossed(noise=0.01), FULL, REFERENCE)["interval"] > 0).all()
    table = crossed()
    table = table[(table["prior"] != "dwp") | (table["init"] != "xavier")]
    with pytest.raises(KeyError, match="'dwp', 'xavier'"):
        effects(table, FULL, REFERENCE)


def test_cells_are_tested_along_their_row_and_their_column():
    table = factorial(crossed(noise=0.003), REFERENCE)
    assert len(table) == 2 * 3 * 3 * 2
    cell = table.set_index(["n", "metric", "prior", "init"]).loc[50, METRICS[0]]
    found = cell.loc["dwp", ["prior_difference", "init_difference"]].fillna(0).to_numpy()
    np.testing.assert_allclose(found, [[0.05, 0.08], [0.03, 0]], atol=0.01)
    for which, reference in REFERENCE.items():
        assert (table[f"{which}_p"].isna() == (table[which] == reference)).all()
        for _, family in table.groupby("metric"):  # corrected over n and all cells of a metric
            corrected = family[f"{which}_p_holm"]
            pd.testing.assert_series_equal(corrected, holm(family[f"{which}_p"]), check_names=False)


# The authors' numbers

PAPER = pd.DataFrame({"dataset": ["mnist", "mnist", "mnist", "cifar10"]})
PAPER = PAPER.assign(prior=["dwp", "dwp", "log-uniform", "dwp"], num_examples=[50, 100, 50, 50])
PAPER["accuracy"] = [0.8, 0.9, 0.7, 0.2]
SHAPES = pd.DataFrame({"filters": ["20", "20", "100", "100"], "init": ["dwp", "xavier"] * 2})
SHAPES = SHAPES.assign(dataset="mnist", prior="dwp", num_examples=50, std=0.05)
SHAPES["accuracy"] = [0.6, 0.5, 0.7, 0.6]


def test_agreement_with_the_paper():
    rows = [("log-uniform", 50, 0.75, 0.01), ("dwp", 100, 0.5, NAN), ("dwp", 50, 0.79, 0.02)]
    ours = pd.DataFrame([*rows, ("flow", 50, 0.5, 0.1)], columns=["prior", "n", "mean", "interval"])
    ours["domain"] = "mnist"
    table = compare_with_paper(ours, PAPER)
    assert list(table["agree"]) == ["yes", "unknown", "no"]
    assert list(table["prior"]) == ["dwp", "dwp", "log-uniform"]
    first = table.iloc[0][["low", "high", "difference"]]
    assert first.tolist() == pytest.approx([0.77, 0.81, -0.01])
    shapes = compare_with_paper(ours, SHAPES[:1])
    assert shapes[["authors", "authors_std"]].to_numpy().tolist() == [[0.6, 0.05]]


def test_the_authors_numbers_hold_for_their_own_init_and_settings():
    both = pd.concat([PAPER, SHAPES], ignore_index=True)
    found = authors_at(both, {"init": "xavier", "filters": "100", "precision": "float32"})
    # those without a value hold for all
    assert found["accuracy"].tolist() == [*PAPER["accuracy"], 0.6]
    # 20 or 100 filters may be ours or not
    assert authors_at(both, {"init": "xavier"})["accuracy"].tolist() == [*PAPER["accuracy"]]
    assert len(authors_at(PAPER, {"init": "xavier"})) == len(PAPER)


def test_reading_the_paper(tmp_path):
    path, columns = tmp_path / "paper.csv", ("prior", "num_examples", "accuracy")
    PAPER.to_csv(path, index=False)
    pd.testing.assert_frame_equal(read_authors([path], columns), PAPER)
    assert len(read_authors([path, path], columns, dataset="mnist")) == 2 * 3
    assert read_authors([path], columns, dataset="none").empty
    SHAPES.to_csv(path, index=False)
    assert read_authors([path], columns, ["filters"])["filters"].tolist()[0] == "20"


def test_every_net_of_the_papers_shapes_has_the_authors_number():
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    section = config["domains"]["shapes"]["classification"]
    path = ROOT / "workflow" / "resources" / "paper_shapes.csv"
    paper = read_authors([path], ["num_examples", "prior", "init"], ["filters"])
    assert not paper.duplicated(["num_examples", "filters", "prior", "init"]).any()
    found = 0
    for filters, init in itertools.product(section["vary"]["filters"], section["inits"]):
        theirs = authors_at(paper, {"init": init, "filters": as_text(filters)})
        found += theirs["prior"].isin(section["priors"]).sum()
        assert set(theirs["num_examples"]) == set(section["train_sizes"])
    assert found == len(paper) == 4 * 2 * 3 * 7


@pytest.mark.parametrize(("name", "x"), [("features", "scale"), ("convergence", "step")])
def test_the_authors_curves(name, x):
    paper = read_authors([ROOT / f"workflow/resources/paper_{name}.csv"], ["init", x, "value"])
    assert set(paper["init"]) == {"xavier", "dwp", "source-kernels"}
    assert paper["value"].between(-220, 1).all()
    assert not paper.drop(columns="value").duplicated().any()
