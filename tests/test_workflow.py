"""The workflow, run whole on a tiny config, and what runs again after each kind of edit."""

import base64
import html
import itertools
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
import yaml
from helpers import ROOT, tiny_config

from dwp.data.subsets import few_shot_subset
from dwp.data.tensors import ImageTensors, to_unit
from dwp.evaluation.classifier import evaluate_classifier
from dwp.files import load_tensors, read_csv, read_json
from dwp.nn.image_vae import ImageVAE
from dwp.nn.networks.mnist import MnistNet
from dwp.priors import load_prior, prior_class
from dwp.priors.vae import KernelVAE
from dwp.seeds import generator
from dwp.training.classification import train_classifiers
from dwp.training.convergence import train_from
from dwp.training.features import train_on_features

SIZES = MnistNet.kernel_sizes
TINY_PRIORS = {
    "dwp": None,
    "standard-normal": {"kind": "standard-normal"},
    "deterministic-dwp": {"kind": "deterministic", "l2": 0.001, "penalty": "dwp"},
}


def tiny() -> dict:
    """Return the demo's config, cut down to seconds."""
    return tiny_config(TINY_PRIORS, runs_per_job=3, epochs=2, evaluate_every=2)


class Project:
    """A copy of the repository with a tiny config, to run and to edit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("dwp", "profiles", "workflow"):
            shutil.copytree(
                ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        shutil.copy(ROOT / "Snakefile", folder)
        (folder / "config").mkdir()
        self.config = tiny()
        self.write_config()

    def copy(self, folder: Path) -> "Project":
        """Return a copy with all results; hard links stay links."""
        subprocess.run(["cp", "-a", self.folder, folder], check=True)
        project = Project.__new__(Project)
        project.folder, project.config = folder, tiny()
        return project

    def write_config(self) -> None:
        (self.folder / "config" / "tiny.yaml").write_text(yaml.safe_dump(self.config))

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen:
        """Start Snakemake in a process group of its own, with these variables besides."""
        # the copy's own dwp must win over an installed one
        environment = {**os.environ, "PYTHONPATH": str(self.folder), **environment}
        command = [sys.executable, "-m", "snakemake", "--configfile", "config/tiny.yaml"]
        return subprocess.Popen(
            [*command, *arguments],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def snakemake(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Run Snakemake; return its exit status and all that it printed."""
        process = self.start(*arguments, **environment)
        output = process.communicate(timeout=600)[0]
        return process.returncode, output

    def due(self) -> dict[str, int]:
        """Return what a run would run, and how often, whatever runs a job begins with."""
        status, output = self.snakemake("--dry-run")
        assert status == 0, output
        table = re.search(r"^job +count\n[- ]+\n((?:[\w-]+ +\d+\n)+)", output, re.MULTILINE)
        if table is None:
            assert "Nothing to be done" in output, output
            return {}
        jobs = Counter()
        for rule, count in (line.split() for line in table[1].splitlines()):
            jobs[rule.partition("_demo_")[0]] += int(count)
        del jobs["all"], jobs["total"]
        return dict(jobs)

    def edit(self, path: str, old: str, new: str) -> None:
        file = self.folder / path
        text = file.read_text()
        assert old in text, f"{path} no longer holds {old!r}"
        file.write_text(text.replace(old, new, 1))


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Project:
    """A project whose workflow has been run to its end."""
    project = Project(tmp_path_factory.mktemp("project"))
    status, output = project.snakemake("--cores", "2")
    assert status == 0, output
    return project


@pytest.fixture
def project(finished) -> Project:
    """The finished project; sources and config are put back after the test."""
    kept = {
        path: path.read_bytes()
        for pattern in ("dwp/**/*.py", "workflow/**/*", "config/*")
        for path in finished.folder.glob(pattern)
        if path.is_file() and "__pycache__" not in path.parts
    }
    yield finished
    for path, content in kept.items():
        path.write_bytes(content)
    finished.config = tiny()


@pytest.fixture
def copy(finished, tmp_path) -> Project:
    """A copy of the finished project, to run further."""
    return finished.copy(tmp_path / "project")


AFTER_PRIORS = {
    "prior_score",
    "prior_table",
    "classifiers",
    "run_tables",
    "summary_tables",
    "fewshot_figure",
    "steps_figure",
    "kernels_figure",
    "latent_figure",
    *("kl_table", "kl_figure", "reconstruction_figure"),
    *("features", "feature_table", "feature_summary", "feature_figure"),
    *("convergence", "curve_table", "curve_steps", "curve_figure", "images_figure"),
}


def test_every_figure_and_table_is_there_and_nothing_is_left_to_do(finished):
    results = finished.folder / "results" / "tiny" / "demo"
    figures = {path.name for path in (results / "figures").iterdir()}
    names = ["fewshot_accuracy", "fewshot_nll", "steps_accuracy_n10", "steps_nll_n10"]
    of_layers = ("kernels", "norms", "kl", "latent_dwp", "reconstructions_dwp")
    names += [f"{name}_{layer}" for name in of_layers for layer in ("conv1", "conv2")]
    names += ["features_accuracy", "convergence_image-vae", "images_image-vae"]
    pictures = ("kernels", "latent", "reconstructions", "images")
    lines = {f"{name}.svg" for name in names if not name.startswith(pictures)}
    assert figures == {f"{name}.{end}" for name in names for end in ("pdf", "png")} | lines
    assert "standard-normal" in (results / "tables" / "classification_summary.csv").read_text()
    assert not list(results.rglob("*.checkpoint"))
    assert finished.due() == {}


@pytest.mark.parametrize("prior", ["standard-normal", "deterministic-dwp"])
def test_classifiers_are_trained_and_tested_on_what_the_config_says(finished, prior):
    results = finished.folder / "results" / "tiny" / "demo"
    data, init = inputs_of(results)
    folder = (finished.folder / RUN.replace("standard-normal", prior).format(10, 1, "_")).parent
    tensors, run = load_tensors(folder / "weights.safetensors", kind="classifier")
    priors = penalty = None
    if prior == "standard-normal":
        priors = {layer: prior_class(prior)(size) for layer, size in SIZES.items()}
    else:
        penalty = init
    beliefs = {"priors": priors, "init": init, "penalty": penalty}
    ((net, _),) = train_classifiers(data["target"], run, [(1, 0)], n=10, **beliefs)
    assert all(torch.equal(value, tensors[name]) for name, value in net.state_dict().items())
    chosen, _ = few_shot_subset(data["target"].train_targets, 10, 1, run["validation"])
    images = {role: to_unit(part.test_images) for role, part in data.items()}
    expected = evaluate_classifier(
        net,
        train=(to_unit(data["target"].train_images[chosen]), data["target"].train_targets[chosen]),
        test=(images["target"], data["target"].test_targets),
        out_of_domain=images["source"],
        samples=2 if priors else 0,
        generator=generator("evaluation", 1, 0),
    )
    found = read_json(folder / "metrics.json")
    assert dict(found) == pytest.approx(expected, rel=1e-5)


def test_features_and_convergence_start_from_the_init_of_the_config(finished):
    results = finished.folder / "results" / "tiny" / "demo"
    data, init = inputs_of(results)
    demo = finished.config["domains"]["demo"]
    settings = {"network": demo["network"], **demo["features"]}
    _, expected = train_on_features(data["target"], settings, scale=0.25, seed=0, init=init)
    found = read_json(results / "features" / "dwp" / "scale0.25" / "seed0" / "metrics.json")
    assert dict(found) == pytest.approx(expected, rel=1e-5)
    init = {own: init[layer] for own, layer in ImageVAE.kernels_of.items()}
    settings = demo["convergence"]["image-vae"]
    _, records, _ = train_from(data["target"], settings, seed=0, init=init)
    history = read_csv(results / "convergence" / "image-vae" / "dwp" / "seed0" / "history.csv")
    assert history["value"].tolist() == pytest.approx([r["test_elbo"] for r in records], rel=1e-5)


def inputs_of(results: Path) -> tuple[dict, dict]:
    """Return a run's data sets by role, and the DWP of each layer."""
    files = {role: results / "data" / f"{role}.safetensors" for role in ("source", "target")}
    priors = {
        layer: results / "priors" / "fitted" / "dwp" / f"{layer}.safetensors" for layer in SIZES
    }
    data = {role: ImageTensors.load(file) for role, file in files.items()}
    return data, {layer: load_prior(file) for layer, file in priors.items()}


class Resources(HTMLParser):
    """What a page, or an SVG, loads to be shown."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tag = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs) -> None:
        self.tag = tag
        names = ("src", "srcset", "data", "poster", *["href", "xlink:href"] * (tag != "a"))
        self.found += [value for name, value in attrs if name in names and value]
        for name, value in attrs:
            if name == "style":
                self.handle_style(value)

    def handle_data(self, data) -> None:
        if self.tag == "style":
            self.handle_style(data)

    def handle_style(self, style: str) -> None:
        self.found += re.findall(r"(?:url\(|@import)\s*[\"']?([^\"')\s]+)", style)


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
    needed = Resources(page).found
    for path, result in results.items():
        assert len(re.sub("<[^>]*>", "", result["caption"])) > 60, f"{path}: {result['caption']}"
        assert "{{" not in result["caption"]
        assert result["labels"].get("table") or result["labels"].get("figure"), path
        assert result["mime_type"] in ("text/html", "image/svg+xml", "image/png"), path
        content = base64.b64decode(result["data_uri"].partition(";base64,")[2])
        assert content == (finished.folder / path).read_bytes()
        if result["mime_type"] != "image/png":
            needed += Resources(content.decode()).found
    assert needed, "at least the links within SVG files"
    assert [place for place in needed if not place.startswith(("#", "data:"))] == []
    assert all(
        f'results["{path}"]' in html.unescape(front) for path in results if "/tables/" in path
    )


def test_a_touch_runs_nothing(project):
    for path in [*project.folder.glob("dwp/**/*.py"), *project.folder.glob("workflow/**/*.*")]:
        path.touch()
    (project.folder / "Snakefile").touch()
    (project.folder / "config" / "tiny.yaml").touch()
    assert project.due() == {}


def test_a_comment_and_a_docstring_run_nothing(project):
    project.edit("dwp/priors/vae.py", "import math\n", "import math  # of the bound\n")
    project.edit("dwp/training/source.py", '"""Source nets:', '"""The source nets:')
    project.edit("workflow/scripts/train_source.py", "import torch\n", "# why\nimport torch\n")
    assert project.due() == {}


def test_a_setting_of_the_nets_runs_the_nets_and_what_follows(project):
    project.config["domains"]["demo"]["classification"]["epochs"] = 3
    project.write_config()
    due = project.due()
    assert due.pop("classifiers") == 3
    assert set(due) == {"run_tables", "summary_tables", "fewshot_figure", "steps_figure"}


def test_a_setting_of_bayesian_nets_leaves_the_deterministic_ones(project):
    project.config["domains"]["demo"]["classification"]["log_variance"] = -9.0
    project.write_config()
    assert project.due()["classifiers"] == 2


def test_another_value_runs_only_the_nets_that_have_it(project):
    settings = project.config["domains"]["demo"]["classification"]
    settings["vary"] = {"learning_rate": [settings["learning_rate"], 0.01]}
    settings["tune"] = {"log_variance": [settings["log_variance"], -8.0]}
    project.write_config()
    due = project.due()
    # of two Bayesian nets three more combinations; the deterministic one has no log-variance
    assert due.pop("classifiers") == 2 * 3 + 1
    assert set(due) == {"run_tables", "summary_tables", "fewshot_figure", "steps_figure"}


def test_settings_of_random_features_and_levels_of_convergence_run_just_what_uses_them(project):
    project.config["domains"]["demo"]["features"]["epochs"] = 2
    project.config["domains"]["demo"]["convergence"]["image-vae"]["levels"] = [-400]
    project.write_config()
    features = ("features", "feature_table", "feature_summary", "feature_figure")
    assert project.due() == dict.fromkeys([*features, "curve_steps"], 1)


def test_event_files_are_beside_the_results(copy):
    pytest.importorskip("tensorboard")
    copy.config["tensorboard"] = True
    copy.write_config()
    assert copy.due() == {}
    prior = "results/tiny/demo/priors/fitted/dwp/conv1.safetensors"
    before = (copy.folder / prior).read_bytes()
    status, output = copy.snakemake("--cores", "1", "--force", prior)
    assert status == 0, output
    assert (copy.folder / prior).read_bytes() == before
    assert list((copy.folder / "logs/tiny/tensorboard/demo priors dwp conv1").iterdir())
    log = (copy.folder / "logs/tiny/demo/priors/dwp_conv1.log").read_text()
    assert re.search(r"^demo priors dwp conv1: step \d+ of \d+, .* left, loss=", log, re.MULTILINE)


def test_more_splits_run_only_the_jobs_that_have_them(project):
    project.config["domains"]["demo"]["classification"]["splits"] = [0, 1, 2, 3]
    project.write_config()
    due = project.due()
    assert due["classifiers"] == 6  # of each prior: splits 0 to 2, and split 3
    assert not {"source_nets", "kernels", "prior"} & set(due)


def test_the_number_of_source_nets_adds_nets_and_keeps_the_others(project):
    project.config["domains"]["demo"]["source_nets"]["count"] = 5
    project.write_config()
    assert project.due()["source_nets"] == 2  # seeds 2 and 3, and seed 4


def test_neither_the_number_of_runs_a_job_nor_the_time_between_checkpoints_runs_anything(project):
    project.config["checkpoint_minutes"] = 0.5
    domain = project.config["domains"]["demo"]
    domain["source_nets"]["runs_per_job"] = domain["classification"]["runs_per_job"] = 1
    project.write_config()
    assert project.due() == {}


def test_the_decoder_of_the_vae_runs_the_vaes_and_what_follows(project):
    project.edit(
        "dwp/priors/vae.py",
        "return mean, _variance(raw[0])",
        "return 2 * mean, _variance(raw[0])",
    )
    due = project.due()
    assert due["prior"] == 2  # the DWP of two layers, not the standard normal
    assert set(due) == {"prior"} | AFTER_PRIORS


def test_the_code_of_the_source_nets_runs_the_whole_chain_but_the_data(project):
    project.edit(
        "dwp/training/source.py", 'settings["l2"] * penalty', '2 * settings["l2"] * penalty'
    )
    due = project.due()
    assert due["source_nets"] == 1
    assert not {"data", "check_data"} & set(due)
    assert {"kernels", "prior", "classifiers"} <= set(due)


def test_the_code_of_a_metric_tests_the_nets_again(project):
    project.edit("dwp/evaluation/metrics.py", "ECE_BINS = 15", "ECE_BINS = 10")
    due = project.due()
    assert due["classifiers"] == 3
    assert not {"prior", "source_nets"} & set(due)


def test_the_code_of_a_figure_draws_that_figure(project):
    project.edit("dwp/plots/norms.py", "_BARS = 60", "_BARS = 50")
    assert project.due() == {"norms_figure": 2}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("colour=red", "unknown colour; expected only"),
        ("device=tpu", "device: expected enum ['auto', 'cpu', 'cuda']; found 'tpu'"),
        (
            "domains={demo: {data: {source: emnist}}}",
            "domains.demo.data.source: expected a data set, one of mnist, notmnist, glyphs, digits",
        ),
    ],
)
def test_a_bad_setting_is_refused_in_one_line_before_any_job(finished, setting, message):
    status, output = finished.snakemake("--dry-run", "--config", setting)
    assert status != 0
    lines = [line for line in output.splitlines() if line.startswith("error in the config")]
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in output
    assert "rule " not in output


def test_other_jobs_threads_and_order_give_the_same_bytes(finished, tmp_path):
    check = runpy.run_path(str(ROOT / "tests" / "determinism.py"))
    config = check["with_runs_per_job"](tiny(), 1)
    places = "figures/latent_dwp_conv1.pdf", "figures/latent_dwp_conv1.png", "tables/kl_conv1.csv"
    targets = [f"results/tiny/demo/{place}" for place in places]
    last_first = [RUN.format(10, split, "metrics.json") for split in (1, 0)]
    for some in ([last_first[0]], [last_first[1], *targets]):
        threads = "--cores", "2", "--set-threads", "prior=2", "kl_table=2"
        check["snakemake"](tmp_path, config, *threads, "--", *some)
    lines = check["differences"](tmp_path / "results", finished.folder / "results")
    assert not [line for line in lines if not line.startswith(f"only in {finished.folder}")]
    made = {path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("results/**/*")}
    assert made >= {*targets, *last_first}

    (tmp_path / targets[0]).write_bytes((tmp_path / targets[0]).read_bytes() + b"\n")
    (found,) = {*check["differences"](tmp_path / "results", finished.folder / "results")} - {*lines}
    assert found.startswith("differs in ")
    assert found.endswith(targets[0].removeprefix("results/"))


RUN = "results/tiny/demo/classification/standard-normal/dwp/base/n{}/split{}/seed0/{}"


def nets(project: Project, *runs: tuple[int, int]) -> list[tuple[int, bytes]]:
    """The inode, which a net trained again does not keep, and the content of nets' weights."""
    names = ".kept/weights.safetensors", "weights.safetensors"
    paths = [[project.folder / RUN.format(*run, name) for name in names] for run in runs]
    return [(made.stat().st_ino, weights.read_bytes()) for made, weights in paths]


def test_neither_a_failure_nor_a_metric_nor_a_larger_grid_trains_a_finished_net_again(copy):
    settings = copy.config["domains"]["demo"]["classification"]
    before = nets(copy, (10, 0), (10, 1))
    # one job: both finished runs, and one that cannot be
    settings.update(train_sizes=[10, 100_000], splits=[0, 1])
    copy.write_config()
    status, output = copy.snakemake("--cores", "1", RUN.format(100_000, 0, "metrics.json"))
    assert status != 0
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0].startswith(
        "error: demo classification standard-normal dwp base n100000 split0 seed0: "
    )
    assert not (copy.folder / RUN.format(10, 0, "weights.safetensors")).exists()

    settings.update(train_sizes=[10, 20])
    copy.write_config()
    copy.edit("dwp/evaluation/metrics.py", "ECE_BINS = 15", "ECE_BINS = 10")
    status, output = copy.snakemake("--cores", "1", RUN.format(20, 0, "metrics.json"))
    assert status == 0, output
    assert nets(copy, (10, 0), (10, 1)) == before
    assert nets(copy, (20, 0))[0][1] != before[0][1]


def test_a_kill_loses_no_finished_net_of_its_job(copy):
    settings = copy.config["domains"]["demo"]["classification"]
    settings.update(splits=[2, 3, 4], epochs=300)
    copy.write_config()
    target = RUN.format(10, 4, "metrics.json")
    process = copy.start("--cores", "1", target)
    first, last = (copy.folder / RUN.format(10, split, ".kept/identity.json") for split in (2, 4))
    deadline = time.monotonic() + 120
    while not first.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert first.exists()
    assert not last.exists()
    weights = first.with_name("weights.safetensors").stat().st_ino
    status, output = copy.snakemake("--cores", "1", target)  # no unlocking, nothing to declare
    assert status == 0, output
    assert nets(copy, (10, 2))[0][0] == weights
    assert last.exists()


def test_a_damaged_table_is_named_where_it_is_used_and_made_anew_when_deleted(copy):
    results = Path("results", "tiny", "demo")
    table, figure = results / "tables" / "kl_conv1.csv", results / "figures" / "kl_conv1.png"
    path = copy.folder / table
    content, times = path.read_bytes(), path.stat()
    path.write_bytes(content.replace(b"1", b"0", 1))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    drawn = (copy.folder / figure).read_bytes()
    (copy.folder / figure).unlink()
    status, output = copy.snakemake("--cores", "1", str(figure))
    assert status != 0
    assert "Traceback" not in output
    lines = {line for line in output.splitlines() if line.startswith("error: ")}
    damaged = f"error: {table}: damaged, not what {results}/tables/.kl_conv1.csv.sha256 says"
    mend = "delete it and make it again (the workflow does when it is started again)"
    assert lines == {f"{damaged}; {mend}"}

    path.unlink()
    status, output = copy.snakemake("--cores", "1", str(figure))
    assert status == 0, output
    assert (path.read_bytes(), (copy.folder / figure).read_bytes()) == (content, drawn)


def test_a_second_workflow_is_refused_while_one_runs(copy):
    table = "results/tiny/demo/tables/kl_conv1.csv"
    (copy.folder / table).unlink()
    first = copy.start("--cores", "1", table)
    locks = copy.folder / ".snakemake" / "locks"
    deadline = time.monotonic() + 120
    while not any(locks.glob("*")) and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(first.pid, signal.SIGSTOP)
    status, output = copy.snakemake("--cores", "1", table)
    os.killpg(first.pid, signal.SIGCONT)
    assert status != 0
    assert "Directory cannot be locked" in output
    assert "Traceback" not in output
    output = first.communicate()[0]
    assert first.returncode == 0, output
    assert (copy.folder / table).exists()


def test_kernels_and_priors_of_another_machine(tmp_path):
    # As run_bare.py packs them: without the source nets' weights, which are not trained again.
    project = Project(tmp_path)
    layers = ("conv1", "conv2")
    for stage, names, ends in (
        ("data", ("source", "target", "checked"), ("safetensors", "json")),
        ("kernels/collected", layers, ("safetensors", "json")),
        ("priors/fitted/dwp", layers, ("safetensors", "csv")),
        *((f"source/{seed}", ("metrics",), ("json",)) for seed in range(2)),
    ):
        folder = tmp_path / "results" / "tiny" / "demo" / stage
        folder.mkdir(parents=True)
        for name, end in itertools.product(names, ends):
            (folder / f"{name}.{end}").touch()
    due = project.due()
    assert due["prior"] == 2  # the standard normal's
    assert "kernels" not in due
    assert "source_nets" not in due
    assert due["classifiers"] > 0


def test_pretrained_priors_take_the_place_of_source_nets(tmp_path):
    project = Project(tmp_path)
    pretrained = tmp_path / "dwp" / "pretrained"
    for size in (7, 5):
        vae = KernelVAE(size, hidden=2, latent=2)
        vae.save(pretrained / f"tiny-{size}.safetensors")
        (pretrained / f"tiny-{size}.md").touch()
    domain = project.config["domains"]["demo"]
    for section in ("source_nets", "features", "convergence"):
        del domain[section]
    domain["kernels"] = {"layers": {"conv1": {}, "conv2": {}}}
    names = {"conv1": "tiny-7", "conv2": "tiny-5"}
    domain["priors"] = {"dwp": {"kind": "vae", "pretrained": names}}
    domain["classification"].update(priors=["dwp"], splits=[0])
    project.write_config()
    due = project.due()
    assert due["pretrained_prior"] == 2
    assert not {"prior", "source_nets", "kernels", "prior_table"} & set(due)
    status, output = project.snakemake("--cores", "1", "classification")
    assert status == 0, output
    run = tmp_path / RUN.replace("standard-normal", "dwp").format(10, 0, "metrics.json")
    assert read_json(run)["kl"] > 0
    assert not {"pretrained_prior", "classifiers"} & set(project.due())
    KernelVAE(5, hidden=3, latent=2).save(pretrained / "tiny-5.safetensors")  # another of the name
    due = project.due()
    assert (due["pretrained_prior"], due["classifiers"]) == (1, 1)

    names["conv1"] = "tiny-5"
    project.write_config()
    status, output = project.snakemake("--dry-run")
    assert status != 0
    assert "dwp.pretrained.conv1: expected a prior of kind vae over 7 x 7 kernels; " in output


def test_a_data_set_in_a_file_of_ones_own(tmp_path):
    project = Project(tmp_path)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    project.config["domains"]["demo"]["data"]["target"] = "examples/new_data_set.py:Stripes"
    project.write_config()
    made = "results/tiny/demo/data/target.safetensors"
    status, output = project.snakemake("--cores", "1", made)
    assert status == 0, output
    data = ImageTensors.load(tmp_path / made)
    assert (len(data.train_images), len(data.test_images)) == (2000, 500)
    assert project.due()["data"] == 1  # the source
    project.edit("examples/new_data_set.py", "0.2 * torch", "0.3 * torch")
    assert project.due()["data"] == 2
    project.config["domains"]["demo"]["data"]["target"] = "examples/new_data_set.py:Spots"
    project.write_config()
    status, output = project.snakemake("--dry-run")
    assert status != 0
    message = "domains.demo.data.target: examples/new_data_set.py: expected a class Spots"
    assert message in output


def test_a_network_in_a_file_of_ones_own(tmp_path):
    project = Project(tmp_path)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    text = json.dumps(project.config).replace("conv1", "body.0").replace("conv2", "body.3")
    project.config = json.loads(text)
    demo = project.config["domains"]["demo"]
    demo["network"] = "examples/new_network.py:Strided"
    demo.pop("convergence")  # an image VAE takes kernels by the names of MNIST's net
    project.write_config()
    status, output = project.snakemake("--cores", "2")
    assert status == 0, output
    assert (tmp_path / "results/tiny/demo/figures/latent_dwp_body.0.pdf").is_file()
    project.edit("examples/new_network.py", "nn.ELU(),\n            nn.Conv2d", "nn.Conv2d")
    due = project.due()
    assert {"source_nets", "classifiers", "features"} <= set(due)


def test_a_new_name_in_a_registry_runs_nothing(project):
    line = '"mine": "dwp.nn.networks.mine:Mine",\n'
    project.edit("dwp/nn/networks/__init__.py", '"shapes": ', line + '    "shapes": ')
    project.edit(
        "dwp/priors/__init__.py", '"vae": ', '"mine": "dwp.priors.mine:Mine",\n    "vae": '
    )
    line = '"mine": Registered("dwp.data.mine:Mine", (1, 28, 28), 10),\n'
    project.edit("dwp/data/__init__.py", '"mnist": ', line + '    "mnist": ')
    assert project.due() == {}
    project.edit("dwp/nn/networks/__init__.py", "mnist:MnistNet", "cifar:CifarNet")
    status, output = project.snakemake("--dry-run")
    assert status != 0
    assert "takes images of 3x32x32" in output


def test_priors_without_kernels_need_no_figures_of_them(tmp_path):
    project = Project(tmp_path)
    domain = project.config["domains"]["demo"]
    for section in ("features", "convergence", "source_nets"):
        domain.pop(section, None)
    domain["kernels"] = {"layers": {"conv1": {}, "conv2": {}}}
    domain["priors"] = {"log-uniform": {"kind": "log-uniform"}}
    domain["classification"] |= {"priors": ["log-uniform"], "inits": ["xavier"]}
    project.write_config()
    assert not {"kl_table", "kernels_figure"} & set(project.due())


@pytest.mark.parametrize("name", ["figures", "all"])
def test_a_domain_called_as_a_target_is_refused(tmp_path, name):
    project = Project(tmp_path)
    project.config["domains"][name] = project.config["domains"].pop("demo")
    project.write_config()
    status, output = project.snakemake("--dry-run")
    assert status != 0
    assert f"error in the config: domains.{name}: names a target; call it another" in output


def test_a_folder_whose_name_has_a_space(tmp_path):
    folder = tmp_path / "a folder"
    folder.mkdir()
    made = "results/tiny/demo/data/source.safetensors"
    status, output = Project(folder).snakemake("--cores", "1", made)
    assert status == 0, output


def test_targets_make_one_experiment_or_one_domain(tmp_path):
    project = Project(tmp_path)
    domain = project.config["domains"]["demo"]
    without = {k: v for k, v in domain.items() if k not in ("features", "convergence")}
    crossed = {**domain["classification"], "inits": ["dwp", "xavier"]}
    project.config["domains"]["plain"] = {**without, "classification": crossed}
    project.write_config()
    status, output = project.snakemake("--list-target-rules")
    assert status == 0, output
    both = ["classification", "prior_study", "figures"]
    expected = {f"{name}{end}" for name in both for end in ("", "_demo", "_plain")}
    expected |= {"random_features", "random_features_demo", "convergence", "convergence_demo"}
    expected |= {"all", "demo", "plain"}
    assert set(output.split()) >= expected
    assert not {"random_features_plain", "convergence_plain"} & set(output.split())

    results = {}
    for target in ("convergence", "prior_study_plain", "figures_demo", "classification"):
        status, output = project.snakemake("--dry-run", target)
        assert status == 0, output
        made = re.findall(r"^    output: (.*)$", output, re.MULTILINE)
        results[target] = {path for line in made for path in line.split(", ")}
    places = [path.rpartition("/") for path in results["convergence"]]
    assert {name for folder, _, name in places if folder.endswith(("figures", "tables"))} == {
        *("convergence_image-vae.pdf", "convergence_image-vae.png", "images_image-vae.pdf"),
        *("convergence_image-vae.svg", "images_image-vae.png", "convergence_image-vae.csv"),
        *(f"convergence_image-vae_steps.{end}" for end in ("csv", "md", "html")),
    }
    study = "results/tiny/plain"
    assert all(path.startswith(study) for path in results["prior_study_plain"])
    assert {
        *(f"{study}/tables/priors.csv", f"{study}/figures/kernels_conv2.pdf"),
        *(f"{study}/figures/kl_conv1.pdf", f"{study}/figures/reconstructions_dwp_conv2.pdf"),
    } <= results["prior_study_plain"]
    assert not any("/classification/" in path for path in results["prior_study_plain"])
    figures = [path for path in results["figures_demo"] if path.endswith(".pdf")]
    assert len(figures) == 17
    assert not any("/scores/" in path for path in results["figures_demo"])
    factorial = {path for path in results["classification"] if "/factorial" in path}
    assert factorial == {  # of the domain with several inits only
        *(f"{study}/tables/factorial{end}" for end in (".csv", ".md", ".html")),
        *(f"{study}/tables/factorial_effects{end}" for end in (".csv", ".md", ".html")),
        *(f"{study}/figures/factorial{end}" for end in (".pdf", ".png", ".svg")),
    }
