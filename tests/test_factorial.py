"""Initialisation crossed with prior: cells and parts of known values, and the workflow's script."""

import itertools
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dwp.errors import UserError
from dwp.evaluation.factorial import EFFECTS, METRICS, effects, factorial
from dwp.evaluation.statistics import holm, summarise
from dwp.plots.factorial import effects_text, factorial_text

ROOT = Path(__file__).parent.parent
FULL = {"prior": "dwp", "init": "dwp"}
REFERENCE = {"prior": "standard-normal", "init": "xavier"}
WORTH = {"dwp": 0.03, "standard-normal": 0.0, "log-uniform": 0.01}
START = {"dwp": 0.06, "xavier": 0.0}
TOGETHER = 0.02  # what the DWP is worth more from its own samples
SPLITS = range(5)


def runs(noise=0.0):
    """Runs of every cell; splits differ by much, and cells within them by a little noise."""
    random = np.random.default_rng(0)
    rows = []
    for n, prior, init, split in itertools.product((50, 100), WORTH, START, SPLITS):
        value = 0.5 + 0.1 * split + (WORTH[prior] + START[init]) * 50 / n
        value += TOGETHER * (prior == "dwp") * (init == "dwp") + noise * random.normal()
        for seed in (0, 1):  # whose mean is the split's
            for metric in METRICS:
                rows.append(("mnist", prior, init, n, split, seed, metric, value + seed - 0.5))
    columns = ["domain", "prior", "init", "n", "split", "seed", "metric", "value"]
    return pd.DataFrame(rows, columns=columns)


def test_parts_of_a_difference_by_hand():
    table = effects(runs(), FULL, REFERENCE)
    assert list(table["effect"].astype(str)) == list(EFFECTS) * 6
    accuracy = table[(table["n"] == 50) & (table["metric"] == METRICS[0])]
    # each gives its own and, with the other there, what they are worth together; half of it in mean
    expected = [0.06 + 0.03 + 0.02, 0.06 + 0.01, 0.03 + 0.01, 0.02]
    assert accuracy["mean"].tolist() == pytest.approx(expected)
    assert accuracy["splits"].tolist() == [5] * 4
    cells = [dict(reversed(cell.items())) for cell in (FULL, REFERENCE)]
    pd.testing.assert_frame_equal(effects(runs(), *cells), table)
    np.testing.assert_allclose(accuracy["interval"], 0, atol=1e-12)  # paired: splits cancel


def test_init_and_prior_add_up_and_have_intervals_over_splits():
    table = effects(runs(noise=0.01), FULL, REFERENCE)
    parts = table.pivot(index=["n", "metric"], columns="effect", values="mean")
    np.testing.assert_allclose(parts["init"] + parts["prior"], parts["both"])
    both = runs(noise=0.01)
    both = both[(both["n"] == 100) & (both["metric"] == METRICS[0])]
    by_split = both.groupby(["prior", "init", "split"])["value"].mean()
    differences = by_split["dwp", "dwp"] - by_split["standard-normal", "xavier"]
    (expected,) = summarise(
        pd.DataFrame({"value": differences, "a": 0}).reset_index(), ["a"]
    ).to_dict("records")
    found = table[(table["n"] == 100) & (table["metric"] == METRICS[0])].iloc[0]
    for name in ("mean", "std", "interval"):
        assert found[name] == pytest.approx(expected[name])


def test_parts_need_all_four_cells():
    table = runs()
    table = table[(table["prior"] != "dwp") | (table["init"] != "xavier")]
    with pytest.raises(UserError, match="'dwp' and the init 'xavier'"):
        effects(table, FULL, REFERENCE)


def test_cells_are_tested_along_their_row_and_their_column():
    table = factorial(runs(noise=0.003), REFERENCE)
    assert len(table) == 2 * 3 * 3 * 2
    cell = table.set_index(["n", "metric", "prior", "init"]).loc[50, METRICS[0]]
    assert cell.loc[("dwp", "dwp"), "prior_difference"] == pytest.approx(0.05, abs=0.01)
    assert cell.loc[("dwp", "xavier"), "prior_difference"] == pytest.approx(0.03, abs=0.01)
    assert cell.loc[("dwp", "dwp"), "init_difference"] == pytest.approx(0.08, abs=0.01)
    assert cell.loc[("standard-normal", "dwp"), "init_difference"] == pytest.approx(0.06, abs=0.01)
    own = table["prior"] == REFERENCE["prior"], table["init"] == REFERENCE["init"]
    for which, is_reference in zip(("prior", "init"), own, strict=True):
        tested = table[f"{which}_p"].notna()
        assert (tested == ~is_reference).all()
        for _, family in table.groupby("metric"):  # corrected over n and all cells of a metric
            corrected = family[f"{which}_p_holm"]
            pd.testing.assert_series_equal(corrected, holm(family[f"{which}_p"]), check_names=False)


def test_a_failed_run_shows_in_its_cell_and_in_the_parts():
    table = runs()
    failed = (table["prior"] == "dwp") & (table["init"] == "dwp") & (table["split"] == 2)
    table.loc[failed & (table["n"] == 50), "value"] = np.nan
    cells = factorial(table, REFERENCE).set_index(["n", "prior", "init"])
    assert cells.loc[(50, "dwp", "dwp"), ["mean", "interval"]].isna().all(axis=None)
    assert cells.loc[(50, "dwp", "xavier"), "mean"].notna().all()
    parts = effects(table, FULL, REFERENCE)
    assert parts.loc[parts["n"] == 50, "mean"].isna().all()
    assert parts.loc[parts["n"] == 100, "mean"].notna().all()


def test_the_text_table_marks_what_differs():
    text = factorial_text(factorial(runs(noise=0.001), REFERENCE))
    assert list(text) == ["n", "prior"] + [
        f"{metric}, {init}"
        for metric in ("accuracy", "NLL (nats)", "ECE")
        for init in ("dwp", "xavier")
    ]
    assert text["prior"].tolist() == ["dwp", "log-uniform", "standard-normal"] * 2
    first = text.iloc[:3]
    marks = [cell.partition(" ± ")[2][5:].split() for cell in first["accuracy, dwp"]]
    assert marks == [["*", "†"], ["*", "†"], ["†"]]
    marks = [cell.partition(" ± ")[2][5:].split() for cell in first["accuracy, xavier"]]
    assert marks == [["*"], ["*"], []]
    one_split = runs()[lambda table: table["split"] == 0]
    text = factorial_text(factorial(one_split, REFERENCE))
    assert text["ECE, xavier"].tolist()[:3] == ["0.530", "0.510", "0.500"]
    text = effects_text(effects(runs(), FULL, REFERENCE))
    assert text["metric"].tolist() == ["accuracy", "NLL (nats)", "ECE"] * 2
    assert text["both"].tolist()[0] == "0.110 ± 0.000"


def test_the_workflows_tables_keep_the_order_of_the_config(tmp_path, monkeypatch):
    tuned = [
        runs().assign(filters=filters, epochs=epochs)
        for filters in ("20", "100")
        for epochs in ("200", "50")
    ]
    for number, table in enumerate(tuned):
        own = table[table["metric"] == "ensemble_nll"]
        chosen = own.assign(metric="validation_nll", value=number % 2)  # 200 epochs are chosen
        tuned[number] = pd.concat([table.assign(value=table["value"] + number), chosen])
    pd.concat(tuned).to_csv(tmp_path / "runs.csv", index=False)
    vary, tune = {"filters": ["20", "100"]}, {"epochs": ["50", "200"]}
    options = {
        **{"runs": tmp_path / "runs.csv", "vary": json.dumps(vary), "tune": json.dumps(tune)},
        **{"tune-by": "validation_nll", "full": json.dumps(FULL, sort_keys=True)},
        **{"reference": json.dumps(REFERENCE, sort_keys=True), "cells": tmp_path / "cells.csv"},
        "effects": tmp_path / "effects.csv",
    }
    line = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    monkeypatch.setattr(sys, "argv", ["tabulate_factorial", *line])
    runpy.run_path(f"{ROOT}/workflow/scripts/tabulate_factorial.py", run_name="__main__")
    cells = pd.read_csv(tmp_path / "cells.csv")
    assert len(cells) == 2 * 2 * 2 * 3 * 3 * 2
    own = cells[(cells["metric"] == METRICS[1]) & (cells["n"] == 50) & (cells["init"] == "xavier")]
    own = own[own["prior"] == "standard-normal"]
    assert own[["filters", "chosen_by"]].to_numpy().tolist() == [
        [filters, way] for filters in (20, 100) for way in ("validation", "test")
    ]
    assert own["mean"].tolist() == pytest.approx([0.7, 0.7, 2.7, 2.7])
    text = (tmp_path / "cells.md").read_text(encoding="utf-8").splitlines()
    first = [[cell.strip() for cell in line.split("|")[1:5]] for line in text[2:]]
    assert first[0] == ["20", "50", "validation", "dwp"]
    assert first[3] == ["20", "50", "test", "dwp"]
    assert first[-1] == ["100", "100", "test", "standard-normal"]
    assert (tmp_path / "effects.md").read_text(encoding="utf-8").count("\n") == 2 + 2 * 2 * 2 * 3
