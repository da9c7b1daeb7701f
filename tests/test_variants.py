"""Variants of a run: their names and settings, and the tables and figures of a small study."""

import json
import runpy
import sys
from pathlib import Path

import jsonschema
import pandas as pd
import pytest
import yaml

from dwp.errors import UserError
from dwp.evaluation.statistics import choose
from dwp.files import write_json
from dwp.priors import KINDS
from dwp.study.settings import check_settings, ignored_settings
from dwp.variants import as_text, combinations, variant_name, variants

ROOT = Path(__file__).parent.parent
PAPER = ROOT / "workflow" / "resources"
SECTION = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())["domains"]["demo"][
    "classification"
]
SECTION = {key: value for key, value in SECTION.items() if key not in ("vary", "tune", "tune_by")}
RATE, EPOCHS = SECTION["learning_rate"], SECTION["epochs"]


def test_without_lists_there_is_one_variant():
    assert combinations(SECTION) == [{}]
    (settings,) = variants(SECTION).values()
    assert list(variants(SECTION)) == ["base"]
    assert settings["epochs"] == EPOCHS
    assert not {"priors", "splits", "runs_per_job"} & set(settings)


def test_a_variant_has_its_own_values_and_none_of_the_others():
    vary, tune = {"filters": [[16, 16], [32, 128]]}, {"learning_rate": [RATE, 0.5]}
    found = variants({**SECTION, "vary": vary, "tune": tune})
    assert list(found) == [
        *("base", "learning_rate-0.5", "filters-32x128", "filters-32x128,learning_rate-0.5")
    ]
    assert found["filters-32x128,learning_rate-0.5"]["filters"] == [32, 128]
    assert found["filters-32x128,learning_rate-0.5"]["learning_rate"] == 0.5
    # another value, or the other list, changes nothing for the runs that were there
    more = variants({**SECTION, "tune": {**vary, "learning_rate": [0.1, 0.5, RATE]}})
    assert {name: more[name] for name in found} == found


def test_names_tell_all_kinds_of_values():
    listed = {"kernels_per_step": None, "bayesian_layers": ["conv1"], "log_variance": -8.5}
    section = {**SECTION, "kernels_per_step": 4}
    assert variant_name(section, listed | {"precision": "bfloat16", "epochs": EPOCHS}) == (
        "bayesian_layers-conv1,kernels_per_step-none,log_variance--8.5,precision-bfloat16"
    )


def test_deterministic_nets_share_runs_that_differ_in_what_they_do_not_have():
    section = {**SECTION, "vary": {"log_variance": [-10.0, -5.0], "epochs": [EPOCHS, 9]}}
    ignored = ignored_settings("deterministic")
    assert list(variants(section, ignored)) == ["base", "epochs-9"]
    assert "log_variance" not in variants(section, ignored)["base"]
    assert len(variants(section)) == 4


def test_nets_share_runs_that_differ_in_what_their_prior_has_no_use_for():
    vary = {"kl_estimator": ["exact", "monte-carlo"], "latent_samples": [1, 4]}
    section = {**SECTION, "vary": vary}
    found = {kind: list(variants(section, ignored_settings(kind))) for kind in KINDS}
    assert found["vae"] == ["base", "latent_samples-4"]
    assert found["standard-normal"] == ["base", "kl_estimator-monte-carlo"]
    assert found["log-uniform"] == found["flow"] == ["base"]
    assert not {"kl_bound", "latent_samples"} & set(
        variants(section, ignored_settings("standard-normal"))["base"]
    )


def test_a_default_that_is_written_out_changes_nothing():
    written = {**SECTION, "posterior": "weights", "shift": 0.0, "warp": 0}
    assert variants(written) == variants(SECTION)
    assert list(variants({**SECTION, "vary": {"shift": [0, 1]}})) == ["base", "shift-1"]
    assert variants(SECTION)["base"]["kernels_per_step"] is None


def test_the_stopping_point_is_chosen_for_every_prior_alike():
    config = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())
    domain = config["domains"]["demo"]
    section = domain["classification"]
    section["tune"] = {"epochs": [50, EPOCHS], "kl_temperature": [0.1, 1.0]}
    section["priors"] = [p for p in domain["priors"] if domain["priors"][p]["kind"] != "empirical"]
    schema = yaml.safe_load((ROOT / "workflow" / "schemas" / "config.schema.yaml").read_text())
    jsonschema.validate(config, schema)
    check_settings(config)
    found = variants(section)
    assert [(run["epochs"], run["kl_temperature"]) for run in found.values()] == [
        *((50, 0.1), (50, 1.0), (EPOCHS, 0.1), (EPOCHS, 1.0))
    ]
    plain = variants(section, ignored_settings("deterministic"))
    assert [run["epochs"] for run in plain.values()] == [50, EPOCHS]
    assert list(plain) == ["epochs-50", "base"]

    # validation NLL by epochs and temperature: each prior has its best elsewhere
    rows = []
    for number, prior in enumerate(section["priors"]):
        for place, values in enumerate(combinations(section)):
            listed = {name: as_text(value) for name, value in values.items()}
            nll = 1.0 + (place != number % 4)
            row = {"prior": prior, "split": 0, "seed": 0, "metric": "validation_nll", "value": nll}
            rows.append({**row, **listed})
    chosen = choose(pd.DataFrame(rows), ["prior"], list(section["tune"]), "validation_nll")
    expected = [combinations(section)[number % 4] for number in range(len(section["priors"]))]
    found = chosen.set_index("prior").loc[section["priors"]].to_dict("records")
    assert found == [{k: as_text(v) for k, v in values.items()} for values in expected]

    section["evaluate_every"] = 100  # after the end of the shorter training
    with pytest.raises(UserError, match=r"evaluate_every: expected at most epochs \(50\)"):
        check_settings(config)


def script(monkeypatch, name, **arguments):
    """Run a script of the workflow in this process."""
    line = [name]
    for option, value in arguments.items():
        value = value if isinstance(value, list) else [value]
        texts = [
            v if isinstance(v, str) else json.dumps(v) if isinstance(v, dict) else str(v)
            for v in value
        ]
        line += [f"--{option.replace('_', '-')}", *texts]
    monkeypatch.setattr(sys, "argv", line)
    runpy.run_path(str(ROOT / "workflow" / "scripts" / f"{name}.py"), run_name="__main__")


VARY = {"kernels_per_step": ["none", "512"]}
TUNE = {"learning_rate": ["0.1", "0.01"]}
# (validation NLL at the last look, test NLL) of each run, but for a difference between splits
DWP = {
    ("none", "0.1"): (2.0, 1.0),
    ("none", "0.01"): (1.0, 2.0),
    ("512", "0.1"): (1.0, 3.0),
    ("512", "0.01"): (2.0, 5.0),
}
PLAIN = {"0.1": (1.0, 4.0), "0.01": (2.0, 6.0)}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The tables and figures of made-up runs of two priors, by the workflow's own scripts."""
    folder = tmp_path_factory.mktemp("study")
    runs = f"{folder}/{{prior}}/{{init}}/{{variant}}/n{{n}}/split{{split}}/seed{{seed}}"
    listed = {"dwp": [], "deterministic": []}
    for (kernels, rate), numbers in DWP.items():
        values = {"kernels_per_step": kernels, "learning_rate": rate}
        listed["dwp"].append([f"{kernels}-{rate}", values])
        listed["deterministic"].append([rate, values])  # kernels a step are nothing to it
        for prior, (variant, _), (validation, test) in (
            ("dwp", listed["dwp"][-1], numbers),
            ("deterministic", listed["deterministic"][-1], PLAIN[rate]),
        ):
            for split in (0, 1, 2):
                place = {"prior": prior, "init": "dwp", "n": 50, "split": split, "seed": 0}
                run = Path(runs.format(variant=variant, **place))
                more = (1.5 if prior != "dwp" else 2 if kernels == "512" else 1) * split / 10
                metrics = {f"ensemble_{name}": test + more for name in ("nll", "ece", "ood_auroc")}
                write_json(run / "metrics.json", {**metrics, "ensemble_accuracy": 0.5})
                history = [(2, "loss", 0.0), (2, "validation_nll", 9 - validation)]
                history += [
                    (4, "validation_nll", validation + more),
                    (4, "validation_accuracy", 0.25),
                ]
                columns = ["step", "metric", "value"]
                pd.DataFrame(history, columns=columns).to_csv(run / "history.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        grid = {"prior": ["dwp", "deterministic"], "init": ["dwp"], "n": [50]}
        script(
            patch,
            "tabulate_runs",
            runs=runs,
            grid={**grid, "split": [0, 1, 2], "seed": [0]},
            variants=listed,
            domain="mnist",
            metrics=f"{folder}/runs.csv",
            history=f"{folder}/history.csv",
        )
        script(
            patch,
            "summarise_runs",
            runs=f"{folder}/runs.csv",
            vary=VARY,
            tune=TUNE,
            tune_by="validation_nll",
            paper=[str(PAPER / f"paper_{name}.csv") for name in ("classification", "shapes")],
            domain="mnist",
            dataset="mnist",
            reference="dwp",
            summary=f"{folder}/summary.csv",
            tests=f"{folder}/tests.csv",
            comparison=f"{folder}/paper.csv",
            table=f"{folder}/table.md",
        )
        for history in ({}, {"history": f"{folder}/history.csv", "n": 50}):
            script(
                patch,
                "plot_runs",
                summary=f"{folder}/summary.csv",
                vary=VARY,
                tune=TUNE,
                metric="validation_nll",
                outputs=[f"{folder}/{'steps' if history else 'fewshot'}.png"],
                **history,
            )
    return folder


def rows(table, columns):
    return table[columns].to_numpy().tolist()


def test_the_last_look_is_a_metric_of_the_run(study):
    runs = pd.read_csv(study / "runs.csv").set_index(["prior", "kernels_per_step", "learning_rate"])
    run = runs.loc[("dwp", "512", 0.1)]
    nll = run[run["metric"] == "validation_nll"]
    assert nll["value"].tolist() == pytest.approx([1.0, 1.2, 1.4])
    assert nll["split"].tolist() == [0, 1, 2]
    # every prior has a row of every combination, so that the same are compared
    assert set(runs.index.value_counts()) == {6 * 3}
    assert len(set(runs.index)) == 8


def test_the_summary_tells_the_chosen_value_and_how_it_was_chosen(study):
    summary = pd.read_csv(study / "summary.csv")
    nll = summary[summary["metric"] == "ensemble_nll"]
    columns = ["prior", "kernels_per_step", "chosen_by", "learning_rate", "mean"]
    assert rows(nll, columns) == [
        ["deterministic", "none", "validation", 0.1, pytest.approx(4.15)],
        ["deterministic", "none", "test", 0.1, pytest.approx(4.15)],
        ["deterministic", "512", "validation", 0.1, pytest.approx(4.15)],
        ["deterministic", "512", "test", 0.1, pytest.approx(4.15)],
        ["dwp", "none", "validation", 0.01, pytest.approx(2.1)],
        ["dwp", "none", "test", 0.1, pytest.approx(1.1)],
        ["dwp", "512", "validation", 0.1, pytest.approx(3.2)],
        ["dwp", "512", "test", 0.1, pytest.approx(3.2)],
    ]


def test_priors_are_tested_within_a_combination_and_settings_within_a_prior(study):
    tests = pd.read_csv(study / "tests.csv")
    nll = tests[(tests["metric"] == "ensemble_nll") & (tests["chosen_by"] == "validation")]
    columns = ["compared", "reference", "prior", "kernels_per_step", "difference"]
    assert rows(nll, columns) == [
        ["prior", "dwp", "deterministic", "none", pytest.approx(2.05)],
        ["prior", "dwp", "deterministic", "512", pytest.approx(0.95)],
        ["kernels_per_step", "none", "deterministic", "512", 0.0],
        ["kernels_per_step", "none", "dwp", "512", pytest.approx(1.1)],
    ]
    of_priors = nll[nll["compared"] == "prior"]
    assert of_priors["p_holm"].max() == pytest.approx(of_priors["p"].max())
    assert of_priors["p_holm"].min() == pytest.approx(2 * of_priors["p"].min())


def test_the_text_tables_have_a_column_of_every_setting(study):
    header, _, *lines = (study / "table.md").read_text(encoding="utf-8").splitlines()
    for name in ("kernels_per_step", "learning_rate", "chosen_by"):
        assert f" {name} " in header
    assert len(lines) == 8
    paper = pd.read_csv(study / "paper.csv")  # the authors have the DWP, with 50 examples
    columns = ["prior", "kernels_per_step", "chosen_by", "authors"]
    assert rows(paper, columns) == [
        ["dwp", kernels, way, 0.8] for kernels in ("none", "512") for way in ("validation", "test")
    ]


def test_figures_show_the_runs_that_validation_chose(study, monkeypatch):
    drawn = []
    monkeypatch.setattr("dwp.plots.style.save", lambda figure, paths: drawn.append(figure))
    options = {"summary": f"{study}/summary.csv", "vary": VARY, "tune": TUNE, "outputs": "none"}
    script(monkeypatch, "plot_runs", metric="ensemble_nll", **options)
    shown = [
        sorted(container.lines[0].get_ydata()[0] for container in panel.containers)
        for panel in drawn[0].axes
    ]
    # the test images would have chosen 1.1 of the DWP with all kernels
    assert shown == [pytest.approx([2.1, 4.15]), pytest.approx([3.2, 4.15])]
    options |= {"history": f"{study}/history.csv", "n": 50}
    script(monkeypatch, "plot_runs", metric="validation_nll", **options)
    ends = [sorted(line.get_ydata()[-1] for line in panel.lines) for panel in drawn[1].axes]
    assert ends == [pytest.approx([1.1, 1.15]), pytest.approx([1.15, 1.2])]
