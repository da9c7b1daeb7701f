"""The programs that make tables and figures, on made-up runs of a small study."""

import itertools
import math
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import ROOT, run_program

from dwp.evaluation.tables import concatenate, read_table, write_readable
from dwp.files import read_csv, save_tensors, write_json
from dwp.plots import style
from dwp.priors import prior_class
from dwp.priors.vae import KernelVAE

SCRIPTS = ROOT / "workflow" / "scripts"
COMPARISON = {
    "domain": "mnist",
    "dataset": "mnist",
    "prior": "dwp",
    "vary": {"kernels_per_step": ["none", "512"]},
    "tune": {"learning_rate": ["0.1", "0.01"]},
    "tune_by": "validation_nll",
    "full": {"prior": "dwp", "init": "dwp"},
    "reference": {"prior": "deterministic", "init": "xavier"},
}
# (validation NLL, test NLL) by the varied and the tuned setting
DWP = {
    ("none", "0.1"): (2.0, 1.0),
    ("none", "0.01"): (1.0, 2.0),
    ("512", "0.1"): (1.0, 3.0),
    ("512", "0.01"): (2.0, 5.0),
}
PLAIN = {"0.1": (1.0, 4.0), "0.01": (2.0, 6.0)}  # a net that the varied setting does not concern


def run(name, **options):
    """Run a program in this process; return the figures that it saves, by their first file."""
    figures = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "save", lambda figure, paths: figures.update({paths[0].stem: figure}))
        run_program(name, **options)
    return figures


def rows(table, columns):
    return table[columns.split()].to_numpy().tolist()


def near(*values):
    return [pytest.approx(v) if isinstance(v, float) else v for v in values]


def write(path, columns, values):
    pd.DataFrame(values, columns=columns.split()).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The tables and figures of two priors from two inits, xavier half a nat above dwp."""
    folder = tmp_path_factory.mktemp("study")
    variants, numbers = [], []
    for (kernels, rate), prior in itertools.product(DWP, ("dwp", "deterministic")):
        name = f"{kernels}-{rate}" if prior == "dwp" else rate
        listed = {"kernels_per_step": kernels, "learning_rate": rate}
        variants.append({"prior": prior, "variant": name, **listed})
        if prior != "dwp" and kernels != "none":
            continue  # trained once
        validation, test = DWP[kernels, rate] if prior == "dwp" else PLAIN[rate]
        slope = 1.5 if prior != "dwp" else 2 if kernels == "512" else 1
        for init, split in itertools.product(("dwp", "xavier"), range(3)):
            more = slope * split / 10 + (init == "xavier") / 2
            row = ("mnist", prior, init, name, 50, split, 0)
            found = {f"ensemble_{m}": test + more for m in ("nll", "ece", "ood_auroc")}
            found |= {"ensemble_accuracy": 0.5, "validation_nll": validation + more}
            found |= {"validation_accuracy": 0.5}
            numbers += [(*row, None, *number) for number in found.items()]
            numbers += [(*row, 2, "validation_nll", 9.0), (*row, 2, "validation_accuracy", 0.5)]
            numbers += [(*row, 4, "validation_nll", validation + more)]
            numbers += [(*row, step, "variety_conv1", 1.0) for step in (2, 4)]
            numbers += [(*row, step, "loss", 5e4 / step) for step in (2, 4)]
            numbers += [(*row, step, "kl_conv1", 4e4) for step in (2, 4) if prior == "dwp"]
    columns = "domain prior init variant n split seed step metric value"
    batch = write(folder / "batch.csv", columns, numbers)
    comparison = {"comparison": {**COMPARISON, "variants": variants}}
    figures = {metric: folder / f"fewshot_{metric}.png" for metric in ("accuracy", "nll")}
    output = folder / "runs.csv"
    found = run("summarise_runs", runs=batch, **comparison, output=output, **figures)
    names = ("accuracy", "nll", "variety", "bound")
    figures = {metric: folder / f"steps_{metric}.png" for metric in names}
    tables = {name: folder / f"runs_{name}.csv" for name in ("summary", "history")}
    found |= run("plot_steps", **tables, **comparison, n=50, **figures)
    tables = {name: folder / f"{name}.csv" for name in ("cells", "parts")}
    tables["figure"] = folder / "factorial.png"
    found |= run("summarise_factorial", runs=output, **comparison, **tables)
    return folder, found


def test_the_summary_has_the_chosen_values_and_how_they_were_chosen(made):
    summary = pd.read_csv(made[0] / "runs_summary.csv")
    nll = summary[(summary["metric"] == "ensemble_nll") & (summary["init"] == "dwp")]
    assert rows(nll, "prior kernels_per_step chosen_by learning_rate mean") == [
        near("deterministic", "none", "validation", 0.1, 4.15),
        near("deterministic", "none", "test", 0.1, 4.15),
        near("deterministic", "512", "validation", 0.1, 4.15),
        near("deterministic", "512", "test", 0.1, 4.15),
        near("dwp", "none", "validation", 0.01, 2.1),
        near("dwp", "none", "test", 0.1, 1.1),
        near("dwp", "512", "validation", 0.1, 3.2),
        near("dwp", "512", "test", 0.1, 3.2),
    ]


def test_priors_are_tested_within_a_combination_and_settings_within_a_prior(made):
    tests = pd.read_csv(made[0] / "runs_tests.csv")
    tests = tests[(tests["metric"] == "ensemble_nll") & (tests["init"] == "dwp")]
    tests = tests[tests["chosen_by"] == "validation"]
    assert rows(tests, "compared reference prior kernels_per_step difference") == [
        near("prior", "dwp", "deterministic", "none", 2.05),
        near("prior", "dwp", "deterministic", "512", 0.95),
        near("kernels_per_step", "none", "deterministic", "512", 0.0),
        near("kernels_per_step", "none", "dwp", "512", 1.1),
    ]
    assert (tests["p_holm"].dropna() > tests["p"].dropna()).any()


def test_the_readable_tables_have_a_column_of_every_setting(made):
    header, _, *lines = (made[0] / "runs.md").read_text(encoding="utf-8").splitlines()
    for name in ("kernels_per_step", "learning_rate", "chosen_by"):
        assert f" {name} " in header
    assert len(lines) == 16
    assert "4.150 ± 0.373" in lines[0]
    comparison = pd.read_csv(made[0] / "runs_paper.csv")  # the authors have the DWP, 50 examples
    variants = itertools.product(("dwp", "xavier"), ("none", "512"), ("validation", "test"))
    assert rows(comparison, "prior init kernels_per_step chosen_by authors") == [
        ["dwp", *variant, 0.8] for variant in variants
    ]


def test_figures_show_the_runs_that_validation_chose(made):
    _, drawn = made
    shown = [
        sorted(container.lines[0].get_ydata()[0] for container in panel.containers)
        for panel in drawn["fewshot_nll"].axes[::2]  # init dwp
    ]
    # the test images would have chosen 1.1 of the DWP with all kernels
    assert shown == [pytest.approx([2.1, 4.15]), pytest.approx([3.2, 4.15])]
    panels = drawn["steps_nll"].axes[::2]
    ends = [sorted(line.get_ydata()[-1] for line in panel.lines) for panel in panels]
    assert ends == [pytest.approx([1.1, 1.15]), pytest.approx([1.15, 1.2])]
    assert {"fewshot_accuracy", "steps_accuracy", "factorial"} < set(drawn)


def test_bounds_are_shown_of_bayesian_nets_only_on_a_logarithmic_axis(made):
    for panel in made[1]["steps_bound"].axes:
        assert [line.get_ydata().tolist() for line in panel.lines] == [[25_000, 12_500]]
        assert panel.get_yscale() == "log"


def test_the_axis_of_a_share_ends_at_one(made):
    assert {panel.get_ylim()[1] for panel in made[1]["steps_variety"].axes} == {1.0}


def test_the_crossed_study_keeps_the_order_of_the_config(made):
    cells = pd.read_csv(made[0] / "cells.csv")
    assert len(cells) == 2 * 2 * 3 * 2 * 2
    own = cells[(cells["metric"] == "ensemble_nll") & (cells["init"] == "xavier")]
    assert rows(own[own["prior"] == "dwp"], "kernels_per_step chosen_by mean") == [
        near("none", "validation", 2.6),
        near("none", "test", 1.6),
        near("512", "validation", 3.7),
        near("512", "test", 3.7),
    ]
    header, _, *lines = (made[0] / "cells.md").read_text(encoding="utf-8").splitlines()
    names = [name.strip() for name in header.split("|")[5:-1]]
    assert names == [
        f"{m}, {i}" for m in ("accuracy", "NLL (nats)", "ECE") for i in ("dwp", "xavier")
    ]
    # NLL: the prior differs beyond chance
    assert lines[0].split("|")[7].split()[::3] == ["2.100", "*"]
    header, _, *lines = (made[0] / "parts.md").read_text(encoding="utf-8").splitlines()
    assert header.split()[-8:-1:2] == ["both", "init", "prior", "interaction"]
    assert len(lines) == 2 * 2 * 3


# Other experiments


def test_random_features_and_the_authors_accuracies(tmp_path):
    numbers = [("test_accuracy", 0.5), ("train_accuracy", 0.8)]
    parts = []
    for seed in (0, 1):
        values = [("mnist", "dwp", 0.5, seed, None, name, v + seed / 10) for name, v in numbers]
        path = tmp_path / f"{seed}.csv"
        parts.append(write(path, "domain init scale seed step metric value", values))
    authors = [("mnist", "dwp", 0.5, 0.9), ("cifar", "dwp", 0.5, 0.1)]
    paper = write(tmp_path / "paper.csv", "dataset init scale value", authors)
    made = {"output": tmp_path / "all.csv", "summary": tmp_path / "summary.csv"}
    made["figure"] = tmp_path / "features.png"
    drawn = run("summarise_features", runs=parts, paper=paper, dataset="mnist", **made)
    summary = read_csv(made["summary"])
    assert rows(summary.fillna(-1), "metric mean seeds authors") == [
        near("test_accuracy", 0.55, 2, 0.9),
        near("train_accuracy", 0.85, 2, -1),
    ]
    assert re.findall("0.[58]5", (tmp_path / "all.md").read_text()) == ["0.55"]
    assert len(read_csv(made["output"])) == 4
    assert list(drawn) == ["features"]


def test_convergence_and_the_authors_curves(tmp_path):
    values = [("dwp", 0, 0, 0.1), ("dwp", 0, 10, 0.6), ("mine", 0, 0, 0.7)]
    values = [(init, seed, step, "test_accuracy", v) for init, seed, step, v in values]
    history = write(tmp_path / "history.csv", "init seed step metric value", values)
    authors = [("mnist", "classifier", "dwp", 30, 0.7), ("mnist", "image-vae", "dwp", 5, 0.7)]
    paper = write(tmp_path / "paper.csv", "dataset experiment init step value", authors)
    options = {"dataset": "mnist", "kind": "classifier", "levels": 0.5}
    made = {"output": tmp_path / "all.csv", "steps": tmp_path / "steps.csv"}
    made["figure"] = tmp_path / "convergence.png"
    drawn = run("summarise_convergence", runs=history, paper=paper, **options, **made)
    table = read_csv(made["steps"]).fillna(-1)
    assert rows(table, "init level reached steps authors") == [
        ["dwp", 0.5, 1, 10, 30],
        ["mine", 0.5, 1, 0, -1],
    ]
    assert list(drawn) == ["convergence"]


def test_images_are_of_the_first_seed(tmp_path):
    images = {f"seed{seed}/drawn": torch.full((2, 8, 28, 28), seed / 10) for seed in (5, 10)}
    settings = {"init": "dwp", "sample_steps": [0, 20], "runs": [{"seed": 5}, {"seed": 10}]}
    path = tmp_path / "batch.safetensors"
    save_tensors(path, images, kind="convergence", settings=settings)
    drawn = run("plot_images", weights=path, outputs=tmp_path / "images.png")
    panels = drawn["images"].axes
    assert [panel.get_title() for panel in panels] == ["DWP, step 0", "DWP, step 20"]
    assert panels[0].images[0].get_array().max() == pytest.approx(0.5)


def test_a_layer_and_its_priors(tmp_path):
    kernels = torch.randn((40, 5, 5), generator=torch.Generator().manual_seed(0))
    parts = {"train": kernels[10:], "test": kernels[:10], "norms": torch.ones(40)}
    path, table = tmp_path / "kernels.safetensors", tmp_path / "kl.csv"
    save_tensors(path, parts, kind="kernels", settings={"cut": 0.1, "collected": 40})
    priors = {kind: prior_class(kind).fit(kernels) for kind in ("gaussian-full", "empirical")}
    priors |= {f"vae{latent}": KernelVAE(5, hidden=4, latent=latent) for latent in (2, 3)}
    files = {name: tmp_path / name / "conv2.safetensors" for name in priors}
    for name, prior in priors.items():
        prior.save(files[name])
    dense = [files[name] for name in ("gaussian-full", "vae2", "vae3")]
    made = {name: tmp_path / f"{name}.png" for name in ("norms", "kl")}
    samples = {"priors": [*files.values()], "samples": tmp_path / "samples.png"}
    calls = [("study_layer", {"kernels": path, **samples}), ("study_layer", samples)]
    calls += [("study_layer", {"kernels": path, "priors": dense, "table": table, **made})]
    for name in ("vae2", "vae3"):
        latent = {"prior": files[name], "latent": tmp_path / "latent.png"}
        pairs = {"prior": files[name], "reconstructions": tmp_path / "pairs.png"}
        of_kernels = {"kernels": path}
        calls += [("plot_vae", each) for each in (latent, latent | of_kernels, pairs | of_kernels)]
    drawn = [run(name, **options) for name, options in calls]
    panels = [len(figure.axes) for figures in drawn for figure in figures.values()]
    assert panels == [6, 4, 1, 2, 1, 2, 1, 1, 1, 1]
    kls = read_csv(table)
    assert set(kls["prior"]) == {"gaussian-full", "vae2", "vae3"}
    assert set(kls["w"]) == {"kernels", "noise"}
    run("study_layer", kernels=path, table=table, **made)
    assert set(read_csv(table)["prior"]) == {"standard-normal"}  # of no prior with a density


def test_the_table_of_scores(tmp_path):
    number = {"mean": 1.0, "standard_error": 0.1}
    quantiles = {"median": 0.5, "decile": 0.25}
    for prior, log_prob in (("flow", 2.0), ("dwp", 3.0)):
        score = dict.fromkeys(("elbo", "log_likelihood", "kl"), number) | {"n": 15}
        score["log_prob"] = {"mean": log_prob, "standard_error": 0.1, "estimator": "exact"}
        score |= {"at_zero": 0.0, "at_initial": 1.0}
        score |= {"nearest_sample": quantiles, "nearest_test": quantiles}
        write_json(tmp_path / prior / "scores.json", {"conv1": score})
    scores = [tmp_path / prior / "scores.json" for prior in ("flow", "dwp")]
    run("tabulate_priors", scores=scores, domain="demo", output=tmp_path / "priors.csv")
    columns = "layer prior n log_prob log_prob_error estimator elbo nearest_sample_decile"
    assert rows(read_csv(tmp_path / "priors.csv"), columns) == [
        ["conv1", "dwp", 15, 3.0, 0.1, "exact", 1.0, 0.25],
        ["conv1", "flow", 15, 2.0, 0.1, "exact", 1.0, 0.25],
    ]


# Reading and writing


def test_a_concatenation_does_not_depend_on_the_batches(tmp_path):
    names = "prior n split step metric value"
    values = [("b", n, split, 10, "nll", 0.5) for n in (50, 1000) for split in (0, 1, 2)]
    values += [("a", 50, 0, None, "nll", math.nan)]
    whole = concatenate([write(tmp_path / "all.csv", names, values)])
    assert rows(whole, "prior n split") == [list(row[:3]) for row in values]
    order = [1, 5, 6, 0, 2, 4, 3]
    parts = [write(tmp_path / f"{i}.csv", names, [values[i]]) for i in order]
    pd.testing.assert_frame_equal(concatenate(parts), whole)


def test_names_are_text_whatever_they_look_like(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("domain,prior,init,n,metric,value\n1,null,,50,2,nan\n")
    (row,) = read_table(path, ["prior"], ["value"]).to_dict("records")
    assert (row["domain"], row["prior"], row["metric"]) == ("1", "null", "2")
    assert math.isnan(row["value"])
    assert math.isnan(row["init"])


def test_readable_tables(tmp_path):
    columns = {"prior": ["<dwp>", "a|b"], "n": [50, 1000], "mean_nll": [0.86749, np.nan]}
    frame = pd.DataFrame(columns | {"p": [0.00004, 0.5], "kl": [12345.6, 1.0]})
    frame.columns.name = "metric"  # as those of a pivot, shown nowhere
    write_readable(frame, tmp_path / "table.csv")
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == (
        "| prior   |    n |   mean_nll |       p |    kl |\n"
        "|:--------|-----:|-----------:|--------:|------:|\n"
        "| <dwp>   |   50 |      0.867 | 4.0e-05 | 12346 |\n"
        "| a\\|b    | 1000 |          – |   0.500 |     1 |\n"
    )
    page = (tmp_path / "table.html").read_text(encoding="utf-8")
    assert [text.split("<")[0] for text in re.split("<t[hd]>", page)[1:]] == [
        *("prior", "n", "mean_nll", "p", "kl"),
        *("&lt;dwp&gt;", "50", "0.867", "4.0e-05", "12346"),
        *("a|b", "1000", "–", "0.500", "1"),
    ]
    assert "http" not in page


def test_tables_figures_and_settings_need_no_torch():
    programs = [*SCRIPTS.glob("tabulate_*.py"), *SCRIPTS.glob("summarise_*.py")]
    programs = [*map(str, programs), str(SCRIPTS / "plot_steps.py")]
    code = f"""
import runpy, sys
from dwp.study.settings import load_settings, read_config
load_settings(read_config({str(ROOT / "config" / "demo.yaml")!r}))
for program in {programs}:
    try:
        runpy.run_path(program, run_name="__main__")
    except SystemExit:
        pass
absent = ["torch", "scipy.stats", "sklearn", "matplotlib.pyplot"]
print(*[name for name in absent if name in sys.modules])
"""
    command = [sys.executable, "-c", code]  # without options: a usage error
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    assert done.stderr.count("required") == len(programs) > 5
