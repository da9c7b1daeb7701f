"""The workflow, run whole on a tiny config, and what runs again after each kind of edit."""

import base64
import html
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import determinism
import pytest
import torch
from helpers import ROOT, snakemake, wait_for
from projects import RESULTS, Project, tiny
from snakemake.utils import update_config

from dwp.data.subsets import few_shot_subset
from dwp.data.tensors import ImageTensors, to_unit
from dwp.evaluation.classifier import evaluate_classifier
from dwp.files import load_tensors, read_csv
from dwp.nn.networks.mnist import MnistNet
from dwp.priors import load_prior, pretrained, prior_class
from dwp.priors.vae import KernelVAE
from dwp.seeds import generator
from dwp.study.study import Study
from dwp.training.classification import train_classifiers
from dwp.training.convergence import train_from
from dwp.training.features import train_on_features

SIZES = MnistNet.kernel_sizes
TABLES = {"classification_tables", "steps_figures", "shift"}
FEATURES = {"features", "feature_tables"}
OF_KERNELS = {"samples_figure", "latent_figure", "reconstruction_figure", "norms_and_kl"}
AFTER_PRIORS = {
    *("prior_score", "prior_table", "classifiers", *TABLES, *FEATURES, *OF_KERNELS),
    *("convergence_nets", "convergence_tables", "images_figure"),
}
CELL = f"{RESULTS}/classification/{{}}/dwp/base/n10"
BATCH = f"{CELL.format('standard-normal')}/batch{{}}.csv"


def test_every_figure_and_table_is_there_and_nothing_is_left_to_do(finished):
    results = finished.folder / RESULTS
    figures = {path.name for path in (results / "figures").iterdir()}
    names = ["fewshot_accuracy", "fewshot_nll", "steps_accuracy_n10", "steps_nll_n10"]
    names += ["steps_variety_n10", "steps_elbo_n10"]
    of_layers = ("kernels", "norms", "kl", "latent_dwp", "reconstructions_dwp")
    names += [f"{name}_{layer}" for name in of_layers for layer in ("conv1", "conv2")]
    names += ["features_accuracy", "convergence_image-vae", "images_image-vae", "shift"]
    pictures = ("kernels", "latent", "reconstructions", "images")
    lines = {f"{name}.svg" for name in names if not name.startswith(pictures)}
    assert figures == {f"{name}.{end}" for name in names for end in ("pdf", "png")} | lines
    assert "standard-normal" in (results / "tables" / "classification_summary.csv").read_text()
    assert not list(results.rglob("*.checkpoint"))
    assert finished.due() == {}


def inputs_of(project: Project) -> tuple[dict, dict]:
    """Return a project's data sets by role, and the DWP of each layer."""
    results = project.folder / RESULTS
    data = {
        role: ImageTensors.load(results / "data" / f"{role}.safetensors")
        for role in ("source", "target")
    }
    return data, {n: load_prior(results / "priors/dwp" / f"{n}.safetensors") for n in SIZES}


def values_of(table: Path, **run: int) -> dict[str, float]:
    """Return the metrics of a run in a batch's table."""
    rows = read_csv(table)
    for name, value in run.items():
        rows = rows[rows[name] == value]
    return dict(zip(rows["metric"], rows["value"], strict=True))


@pytest.mark.parametrize("prior", ["standard-normal", "deterministic-dwp"])
def test_classifiers_are_trained_and_tested_as_the_config_says(finished, prior):
    data, init = inputs_of(finished)
    study = Study(finished.config, root=ROOT)
    settings = study.run_settings("demo", prior, "base")
    priors = penalty = None
    if prior == "standard-normal":
        priors = {layer: prior_class(prior)(size) for layer, size in SIZES.items()}
    else:
        penalty = init
    given = {"priors": priors, "init": init, "penalty": penalty}
    ((net, _),) = train_classifiers(data["target"], settings, [(1, 0)], n=10, **given)
    batch = finished.folder / CELL.format(prior) / "batch0.safetensors"
    tensors, _ = load_tensors(batch, kind="classifiers")
    for name, value in net.state_dict().items():
        assert torch.equal(value, tensors[f"split1-seed0/{name}"])
    chosen, _ = few_shot_subset(data["target"].train_targets, 10, 1, settings.validation)
    images = {role: to_unit(part.test_images) for role, part in data.items()}
    expected = evaluate_classifier(
        net,
        train=(to_unit(data["target"].train_images[chosen]), data["target"].train_targets[chosen]),
        test=(images["target"], data["target"].test_targets),
        out_of_domain=images["source"],
        samples=2 if priors else 0,
        generator=generator("evaluation", 1, 0),
    )
    found = values_of(batch.with_suffix(".csv"), split=1, seed=0)
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-5)


def test_features_and_convergence_start_from_the_init_of_the_config(finished):
    data, init = inputs_of(finished)
    study, results = Study(finished.config, root=ROOT), finished.folder / RESULTS
    settings = study.feature_training("demo")
    _, expected = train_on_features(data["target"], settings, scale=0.25, seed=0, init=init)
    found = values_of(results / "features/dwp/scale0.25/batch0.csv", seed=0)
    assert found == pytest.approx(expected, rel=1e-5)
    settings = study.convergence_training("demo", "image-vae")
    _, records, _ = train_from(data["target"], settings, seed=0, init=init)
    history = read_csv(results / "convergence/image-vae/dwp/batch0.csv")
    assert history["value"].tolist() == pytest.approx([r["test_elbo"] for r in records], rel=1e-5)


def loaded(page: str) -> list[str]:
    """Return what a page, or an SVG, loads to be shown."""
    page = re.sub(r"(<script[^>]*>).*?</script>", r"\1", page, flags=re.DOTALL)
    tags = " ".join(re.findall(r"<(?!a\s)[^>]+>", page))
    names = "src|srcset|data|poster|href|xlink:href"
    found = re.findall(rf"\s(?:{names})\s*=\s*[\"']?([^\"'\s>]+)", tags)
    return found + re.findall(r"(?:url\(|@import)\s*[\"']?([^\"')\s]+)", page)


def test_the_report_shows_everything_without_a_network(finished):
    # what it were to download would go through a proxy that is not there
    names = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    nowhere = dict.fromkeys(names, "http://127.0.0.1:1")
    status, output = finished.snakemake("--report", "report.html", **nowhere)
    assert status == 0, output
    page = (finished.folder / "report.html").read_text(encoding="utf-8")
    results, categories, front = (
        json.loads(re.search(rf'<script id="{name}">\s*var \w+ = (.*);\s*</script>', page)[1])
        for name in ("results", "categories", "workflow-desc")
    )
    assert sorted(categories["demo"]) == [
        *("All tables", "Classification", "Convergence", "Kernels and priors", "Random features")
    ]
    shown = sorted(path for part in categories["demo"].values() for path in part)
    assert shown == sorted(results)
    made = finished.folder / "results" / "tiny" / "demo"
    figures = {path.stem for path in (made / "figures").iterdir()}
    tables = {path.stem for path in (made / "tables").glob("*.md")}
    assert sorted(Path(path).stem for path in results) == sorted(figures | tables)
    needed = loaded(page)
    for path, result in results.items():
        assert len(re.sub("<[^>]*>", "", result["caption"])) > 60, f"{path}: {result['caption']}"
        assert "{{" not in result["caption"]
        assert result["labels"].get("table") or result["labels"].get("figure"), path
        assert result["mime_type"] in ("text/html", "image/svg+xml", "image/png"), path
        content = base64.b64decode(result["data_uri"].partition(";base64,")[2])
        assert content == (finished.folder / path).read_bytes()
        if result["mime_type"] != "image/png":
            needed += loaded(content.decode())
    assert needed, "at least the links within SVG files"
    assert [address for address in needed if not address.startswith(("#", "data:"))] == []
    assert all(
        f'results["{path}"]' in html.unescape(front) for path in results if "/tables/" in path
    )


def test_programs_import_the_compiler_only_when_they_use_it(tmp_path):
    (tmp_path / "program.py").write_text(
        """
import sys, torch
adam = torch.optim.Adam([torch.ones(1, requires_grad=True)])
adam.step()
before = "sympy" in sys.modules
print(sys.argv[1:], before, torch._dynamo.config.suppress_errors, "sympy" in sys.modules)
"""
    )
    command = [sys.executable, ROOT / "dwp" / "fast" / "start.py", tmp_path / "program.py", "--x"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["['--x']", "False", "False", "True"]


# What runs again


def test_a_copy_and_a_touch_run_nothing(finished, tmp_path):
    copied = finished.copy(tmp_path / "copied", "-r")  # without the times of its files
    assert copied.due() == {}
    for pattern in ("dwp/**/*.py", "workflow/**/*.*", "Snakefile", "config/*"):
        for path in copied.folder.glob(pattern):
            path.touch()
    assert copied.due() == {}


def test_a_comment_and_a_docstring_run_nothing(copy):
    for path in ("dwp/priors/vae.py", "dwp/training/source.py", "workflow/scripts/train_source.py"):
        copy.edit(path, '"""', '"""On this page: ')
        copy.edit(path, "\n\n", "\n# why\n\n")
    assert copy.due() == {}


def of(section: str, **settings) -> dict:
    """Return the changes of a section of the domain."""
    return {"domains": {"demo": {section: settings}}}


C = "classification"
ALL_BUT_DATA = {"source_nets", "source_table", "kernels", "prior", *AFTER_PRIORS}
# What changes: settings, or a file of code, the old and the new text; and what runs again, how
# often where it is a number.
CHANGES = {
    "settings of the machine": (
        {"checkpoint_minutes": 0.5, "device": "auto", "data": {"folder": "x"}, "tensorboard": True},
        {},
    ),
    "a default written out": (of(C, kl_temperature=1.0, shift=0), {}),
    "a setting of all nets": (of(C, epochs=3), {"classifiers": 3}),
    "of Bayesian nets": (of(C, log_variance=-9.0), {"classifiers": 2}),
    # of two Bayesian nets three more combinations, of the other one; and a run that diverges no
    # longer stops the three that are there, which are not trained again
    "further values": (
        of(C, vary={"learning_rate": [0.006, 0.01]}, tune={"log_variance": [-10.0, -8.0]}),
        {"classifiers": 7 + 3},
    ),
    "more splits": (of(C, splits=[0, 1, 2, 3]), {"classifiers": 6}),
    "a size": (of(C, train_sizes=[10, 20]), {"classifiers": 3}),
    "of random features": (of("features", epochs=2), dict.fromkeys(FEATURES)),
    "levels of convergence": (
        of("convergence", **{"image-vae": {"levels": [-400]}}),
        {"convergence_tables": 1},
    ),
    # seeds 2 and 3, and seed 4: full batches are left
    "more source nets": (
        of("source_nets", count=5),
        dict.fromkeys(ALL_BUT_DATA) | {"source_nets": 2},
    ),
    "the code of the source nets": (
        ("dwp/training/source.py", "\ndef ", "\nNEW = 1\n\n\ndef "),
        dict.fromkeys(ALL_BUT_DATA) | {"source_nets": 1},
    ),
    "the decoder of the VAE": (
        ("dwp/priors/vae.py", "_LEAST_VARIANCE = 1e-8", "_LEAST_VARIANCE = 2e-8"),
        dict.fromkeys(AFTER_PRIORS) | {"prior": 2},
    ),
    "a metric": (
        ("dwp/evaluation/metrics.py", "ECE_BINS = 15", "ECE_BINS = 10"),
        {"classifiers": 3},
    ),
    "tiles of kernels": (
        ("dwp/plots/kernels.py", "_BARS = 60", "_BARS = 50"),
        dict.fromkeys(OF_KERNELS) | {"norms_and_kl": 2, "images_figure": 1},
    ),
    "a new name in a registry": (
        ("dwp/registry.py", '"shapes": ', '"mine": "dwp.nn.networks.mine:Mine",\n    "shapes": '),
        {},
    ),
}


@pytest.mark.parametrize(("change", "expected"), CHANGES.values(), ids=CHANGES)
def test_a_change_runs_again_only_what_uses_it(copy, change, expected):
    if isinstance(change, dict):
        update_config(copy.config, change)
        copy.write_config()
    else:
        copy.edit(*change)
    due = copy.due()
    assert set(due) == {*expected, *(TABLES if "classifiers" in expected else ())}
    assert {rule: n for rule, n in expected.items() if n}.items() <= due.items()


def test_event_files_lie_with_the_logs(copy):
    pytest.importorskip("tensorboard")
    copy.config["tensorboard"] = True
    copy.write_config()
    prior = f"{RESULTS}/priors/dwp/conv1.safetensors"
    before = (copy.folder / prior).read_bytes()
    copy.made("--force", prior)
    assert (copy.folder / prior).read_bytes() == before
    assert list((copy.folder / "logs/tiny/tensorboard").rglob("events*"))
    log = (copy.folder / "logs/tiny/demo/priors/dwp_conv1.log").read_text()
    assert re.search(r"step \d+ of \d+, .*left, loss=", log)


def test_a_bad_setting_is_refused_in_one_line_before_any_job(finished):
    bad = "domains={demo: {data: {source: emnist}}}"
    status, output = finished.snakemake("--dry-run", "--config", bad)
    assert status != 0
    message = "domains.demo.data.source: data set: expected one of mnist, notmnist"
    profile, line = output.splitlines()  # Snakemake names the profile that it takes
    assert "profiles/default" in profile
    assert line.startswith(f"error in the config: {message}")


def test_every_setting_can_be_changed_on_the_command_line(finished):
    settings = ["tensorboard=false", "data={download: true}", "only=demo"]
    settings += ["domains={demo: {classification: {splits: [0], learning_rate: 1e-3}}}"]
    status, output = finished.snakemake("--dry-run", "--config", *settings)
    assert status == 0, output
    assert re.search("classifiers +3\n", output)


# Kept runs, kills, damage


def kept(project: Project, *splits: int) -> list[tuple[int, bytes]]:
    """The inode, which a net trained again does not keep, and the content of kept nets."""
    folder = project.folder / CELL.format("standard-normal") / ".runs"
    paths = [folder / f"split{split}-seed0.safetensors" for split in splits]
    return [(path.stat().st_ino, path.read_bytes()) for path in paths]


def test_neither_a_metric_nor_batches_nor_a_larger_grid_train_a_finished_net_again(copy):
    before = kept(copy, 0, 1)
    copy.demo[C].update(splits=[0, 1, 2], runs_per_job=2)
    copy.write_config()
    copy.edit("dwp/evaluation/metrics.py", "ECE_BINS = 15", "ECE_BINS = 10")
    copy.made(BATCH.format(0), BATCH.format(1))
    assert kept(copy, 0, 1) == before
    assert set(read_csv(copy.folder / BATCH.format(1))["split"]) == {2}


def test_a_kill_loses_no_finished_net_of_its_batch(copy):
    copy.demo[C].update(splits=[2, 3, 4], epochs=300)
    copy.write_config()
    process = copy.start("--cores", "1", BATCH.format(0))
    folder = copy.folder / CELL.format("standard-normal") / ".runs"
    wait_for((folder / "split2-seed0.safetensors").exists, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (folder / "split4-seed0.safetensors").exists()
    before = kept(copy, 2)
    copy.made(BATCH.format(0))  # no unlocking, nothing to declare
    assert kept(copy, 2) == before
    assert set(read_csv(copy.folder / BATCH.format(0))["split"]) == {2, 3, 4}


# Results, and those that read each; no damage hides another.
DAMAGED = {
    "tables/classification_history.csv": "figures/steps_nll_n10.png",
    "features/dwp/scale0.25/batch0.csv": "tables/features.csv",
    "priors/dwp/scores.json": "tables/priors.csv",
    "convergence/image-vae/dwp/batch0.csv": "tables/convergence_image-vae.csv",
    "convergence/image-vae/dwp/batch0.safetensors": "figures/images_image-vae.png",
}


def test_damaged_results_are_named_where_they_are_used_and_made_again_when_deleted(copy):
    results = copy.folder / RESULTS
    before = {name: (results / name).read_bytes() for pair in DAMAGED.items() for name in pair}
    for name, use in DAMAGED.items():
        times = (results / name).stat()
        (results / name).write_bytes(before[name].replace(b"1", b"0", 1))
        os.utime(results / name, ns=(times.st_atime_ns, times.st_mtime_ns))
        (results / use).unlink()
    uses = [f"{RESULTS}/{use}" for use in DAMAGED.values()]
    status, output = copy.snakemake("--cores", "2", "--keep-going", *uses)
    assert status != 0
    assert "Traceback" not in output
    for name in DAMAGED:
        (line,) = set(re.findall(f"^error: {RESULTS}/{name}: .*", output, re.MULTILINE))
        assert "; delete it and make it again" in line
        (results / name).unlink()
    copy.made(*uses)
    assert {name: (results / name).read_bytes() for name in before} == before


def test_other_jobs_threads_and_order_give_the_same_bytes(finished, tmp_path):
    config = determinism.with_runs_per_job(tiny(), 1)
    names = "figures/latent_dwp_conv1.pdf", "figures/latent_dwp_conv1.png"
    runs = CELL.format("standard-normal").removeprefix(f"{RESULTS}/")
    names += tuple(f"{runs}/.runs/split{split}-seed0.safetensors" for split in (0, 1))
    threads = "--cores", "2", "--set-threads", "prior=2"
    determinism.run(tmp_path, config, *threads, "--", BATCH.format(1))
    latent = f"{RESULTS}/{names[0]}"
    determinism.run(tmp_path, config, *threads, "--", latent, BATCH.format(0))
    for name in names:
        made, expected = (folder / RESULTS / name for folder in (tmp_path, finished.folder))
        assert made.read_bytes() == expected.read_bytes()


# Other workflows in the folder


def test_a_second_workflow_is_refused_while_one_runs(copy):
    table = f"{RESULTS}/tables/kl_conv1.csv"
    (copy.folder / table).unlink()
    first = copy.start("--cores", "1", table)
    locks = copy.folder / ".snakemake" / "locks"
    wait_for(lambda: any(locks.glob("*")), first)
    os.killpg(first.pid, signal.SIGSTOP)
    status, output = copy.snakemake("--cores", "1", table)
    os.killpg(first.pid, signal.SIGCONT)
    assert status != 0
    assert "Directory cannot be locked" in output
    assert "Traceback" not in output
    output = first.communicate()[0]
    assert first.returncode == 0, output


def test_locks_of_another_workflow_stay(finished, tmp_path):
    locks = tmp_path / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text("another.txt")
    config = finished.folder / "config" / "tiny.yaml"
    file = finished.folder / "Snakefile"
    snakemake("-s", file, "--configfile", config, "--cores", 1, "data", cwd=tmp_path).communicate()
    assert (locks / "0.output.lock").read_text() == "another.txt"


def test_the_workflow_in_a_folder_with_a_space_is_a_module_of_another(tmp_path):
    folder = tmp_path / "a folder"
    folder.mkdir()
    Project(folder)
    (tmp_path / "Snakefile").write_text(
        f"""
configfile: "{folder}/config/tiny.yaml"
module dwp:
    snakefile: "{folder}/Snakefile"
    config: config
use rule * from dwp as dwp_*
"""
    )
    made = f"{RESULTS}/data/checked.json"
    process = snakemake("--cores", 2, made, cwd=tmp_path, PYTHONPATH=str(folder))
    output = process.communicate()[0]
    assert process.returncode == 0, output
    assert (tmp_path / made).is_file()


# Files of the user's, and other studies


def test_pretrained_priors_replace_source_nets(fresh, monkeypatch):
    folder = fresh.folder / "dwp" / "priors" / "files"
    monkeypatch.setattr(pretrained, "FOLDER", folder)
    for size in (7, 5):
        KernelVAE(size, hidden=2, latent=2).save(folder / f"tiny-{size}.safetensors")
        (folder / f"tiny-{size}.md").touch()
    for section in ("source_nets", "features", "convergence"):
        del fresh.demo[section]
    fresh.demo["kernels"] = {"layers": {"conv1": {}, "conv2": {}}}
    names = {"conv1": "tiny-7", "conv2": "tiny-5"}
    fresh.demo["priors"] = {"dwp": {"kind": "vae", "pretrained": names}}
    fresh.demo[C].update(priors=["dwp"], splits=[0])
    fresh.write_config()
    due = fresh.due()
    assert due["prior"] == 2
    assert not {"source_nets", "kernels", "prior_table"} & set(due)
    table = f"{CELL.format('dwp')}/batch0.csv"
    fresh.made(table)
    assert values_of(fresh.folder / table)["kl"] > 0
    assert not {"prior", "classifiers"} & set(fresh.due())
    KernelVAE(5, hidden=3, latent=2).save(folder / "tiny-5.safetensors")  # another of the name
    due = fresh.due()
    assert (due["prior"], due["classifiers"]) == (1, 1)


def test_a_data_set_in_a_file_of_the_users(fresh):
    fresh.demo["data"]["target"] = "examples/new_data_set.py:Stripes"
    fresh.write_config()
    made = f"{RESULTS}/data/target.safetensors"
    fresh.made(made)
    data = ImageTensors.load(fresh.folder / made)
    assert (len(data.train_images), len(data.test_images)) == (2000, 500)
    assert fresh.due()["data"] == 1  # the source
    fresh.edit("examples/new_data_set.py", "0.2 * torch", "0.3 * torch")
    assert fresh.due()["data"] == 2


def test_a_network_in_a_file_of_the_users(fresh):
    text = json.dumps(fresh.config).replace("conv1", "body.0").replace("conv2", "body.3")
    fresh.config = json.loads(text)
    fresh.demo["network"] = "examples/new_network.py:Strided"
    fresh.demo.pop("convergence")  # an image VAE takes kernels by the names of MNIST's net
    fresh.write_config()
    fresh.made(f"{RESULTS}/figures/latent_dwp_body.0.pdf")
    fresh.edit("examples/new_network.py", "nn.ELU(),\n            nn.Conv2d", "nn.Conv2d")
    assert {"source_nets", "classifiers", "features", "latent_figure"} <= set(fresh.due())


def test_priors_without_kernels_need_no_figures_of_them():
    config = tiny()
    domain = config["domains"]["demo"]
    for section in ("features", "convergence", "source_nets"):
        del domain[section]
    domain["kernels"] = {"layers": {"conv1": {}, "conv2": {}}}
    domain["priors"] = {"log-uniform": {"kind": "log-uniform"}}
    domain[C] |= {"priors": ["log-uniform"], "inits": ["xavier"]}
    figures = Study(config, root=ROOT).targets["figures"]
    assert figures
    assert not re.search("norms|kernels", str(figures))


def test_targets_make_one_experiment_or_one_domain(fresh):
    without = {k: v for k, v in fresh.demo.items() if k not in ("features", "convergence")}
    crossed = {**fresh.demo[C], "inits": ["dwp", "xavier"]}
    fresh.config["domains"]["plain"] = {**without, C: crossed}
    fresh.write_config()

    def files(*arguments: str) -> set[str]:
        status, output = fresh.snakemake("--dry-run", *arguments)
        assert status == 0, output
        made = re.findall(r"^    output: (.*)$", output, re.MULTILINE)
        return {path for line in made for path in line.split(", ")}

    convergence = files("convergence")
    assert f"{RESULTS}/tables/convergence_image-vae_steps.html" in convergence
    assert not any("/classification/" in path or "/plain/" in path for path in convergence)
    study = files("prior_study", "--config", "only=plain")
    assert all(path.startswith("results/tiny/plain") for path in study)
    assert not any("/classification/" in path for path in study)
    targets = Study(fresh.config, root=ROOT).targets["classification"]
    factorial = [path for path in targets if "/factorial" in path]
    assert len(factorial) == 2
    assert all(path.startswith("results/tiny/plain") for path in factorial)  # it has two inits
