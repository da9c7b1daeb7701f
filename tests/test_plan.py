"""The plan of a run: what is due, what it costs, when it happens, against cases done by hand."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from dwp.errors import UserError
from dwp.files import save_tensors
from dwp.study import plan as planner
from dwp.study.calibration import seconds_per_unit
from dwp.study.plan import Costs, Job, duration, parse_jobs, plan, runs_of, schedule, table

ROOT = Path(__file__).parent.parent
CONFIG = "config/tiny.yaml"
RESULTS = "results/tiny/demo"


def tiny_config() -> dict:
    """Return the demo's config with fewer and smaller nets."""
    config = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())
    config["name"] = "tiny"
    domain = config["domains"]["demo"]
    domain["source_nets"].update(count=3, runs_per_job=1, filters=[6, 4], epochs=1)
    for training in domain["priors"]["dwp"]["training"].values():
        training["epochs"] = 2
    domain["importance_samples"] = 2
    domain["classification"].update(
        filters=[2, 2],
        priors=["dwp", "deterministic-l2"],
        inits=["dwp"],
        epochs=4,
        evaluate_every=2,
        samples=2,
    )
    domain["features"].update(filters=[4, 4], scales=["1/4", 0.5], seeds=[0], epochs=2)
    domain["convergence"].pop("classifier")
    domain["convergence"]["image-vae"].update(filters=[2, 2], seeds=[0, 1], steps=20)
    domain["convergence"]["image-vae"].update(sample_steps=[20], evaluate_every=10)
    return config


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project's folder with a tiny config, as the current folder."""
    for name in ("dwp", "workflow", "Snakefile"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "config").mkdir()
    (tmp_path / CONFIG).write_text(yaml.safe_dump(tiny_config()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def columns(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


# As a user calls it


def test_a_plan_counts_what_is_due_and_what_is_cached(project, monkeypatch):
    monkeypatch.setattr(planner, "CALIBRATION_SECONDS", 1.0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    data = [project / RESULTS / "data" / f"{role}.safetensors" for role in ("source", "target")]
    for path in data:
        images = torch.randint(256, (60, 1, 28, 28), dtype=torch.uint8)
        targets = torch.arange(60) % 10
        tensors = {"train_images": images, "train_targets": targets}
        tensors |= {"test_images": images[:20].clone(), "test_targets": targets[:20].clone()}
        save_tensors(path, tensors, kind="images", settings={})
    make(project / RESULTS / "data" / "checked.json")
    for file in ("weights.safetensors", "history.csv", "metrics.json"):
        make(project / RESULTS / "source" / "0" / file)
    lines = plan(CONFIG, [1, 2], gpus=1).splitlines()
    header, rows = columns(lines[0]), {columns(line)[0]: columns(line)[1:] for line in lines[1:13]}
    walls = ["wall, 1 core", "wall, 2 cores"]
    assert header == ["stage", "runs", "cached", "jobs", "core-hours", *walls]
    counts = {stage: tuple(map(int, row[:2])) for stage, row in rows.items()}
    assert counts == {
        "demo: data": (0, 3),
        "demo: source nets": (2, 1),
        "demo: kernels": (2, 0),
        "demo: priors": (14, 0),  # seven kinds, two layers: nothing asks for the improper one
        "demo: scores": (12, 0),  # all but the improper kind and the kernels themselves
        "demo: classification": (12, 0),  # two priors, two sizes, three splits
        "demo: test": (12, 0),
        "demo: features": (6, 0),  # three inits, two scales
        "demo: convergence": (6, 0),  # three inits, two seeds
        "demo: tables": (13, 0),
        "demo: figures": (19, 0),
        "all": (98, 4),
    }
    hours = {stage: float(row[3]) for stage, row in rows.items()}
    assert hours.pop("all") == pytest.approx(sum(hours.values()), abs=0.006)
    assert hours["demo: data"] == 0
    assert hours["demo: classification"] > 0
    notes = " ".join(lines[13:])
    assert "No GPU is here to calibrate on" in notes
    assert "a step of vae on 20 images" in notes
    assert "a job's start" in notes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"device": "tpu"}, "device: expected enum ['auto', 'cpu', 'cuda']; found 'tpu'"),
        ({"colour": "red"}, "the config: unknown colour; expected only"),
    ],
)
def test_a_bad_config_is_refused_in_one_line(project, change, message):
    (project / CONFIG).write_text(yaml.safe_dump(tiny_config() | change))
    command = [sys.executable, "-m", "dwp", "plan", CONFIG]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: {CONFIG}: {message}")
    assert result.stderr.count("\n") == 1


def test_another_folder_and_a_missing_config_are_refused(project, monkeypatch):
    with pytest.raises(UserError, match=r"config/none\.yaml: no such file"):
        plan("config/none.yaml", [1])
    monkeypatch.chdir(project / "config")
    with pytest.raises(UserError, match="Snakefile: no such file"):
        plan("tiny.yaml", [1])


def test_data_that_are_not_here_are_not_downloaded(tmp_path):
    config = tiny_config()
    config["data"] = {"folder": str(tmp_path), "download": True}
    config["domains"]["demo"]["data"]["target"] = "mnist"
    with pytest.raises(UserError, match=r"mnist is not on this machine .*target\.safetensors"):
        planner.describe_data(config, "demo", "target", tmp_path)


# What is due

PRINTED = f"""\
Building DAG of jobs...
[Tue Nov 24 05:04:06 2026]
rule classifier_dwp_xavier_0:
    input: {RESULTS}/data/target.safetensors, {RESULTS}/data/checked.json
    output: {RESULTS}/classification/dwp/xavier/base/n20/split0/seed0/weights.safetensors, \
{RESULTS}/classification/dwp/xavier/base/n20/split0/seed0/history.csv, \
{RESULTS}/classification/dwp/xavier/base/n50/split0/seed0/weights.safetensors, \
{RESULTS}/classification/dwp/xavier/base/n50/split0/seed0/history.csv
    jobid: 29
    reason: Missing output files
    threads: 3
    resources: tmpdir=/tmp, gpu=1

localrule all:
    input: {RESULTS}/tables/priors.csv
    jobid: 0
Job stats:
job                count
"""


def test_a_job_may_do_several_runs():
    (job,) = parse_jobs(PRINTED)
    assert job.inputs == (f"{RESULTS}/data/target.safetensors", f"{RESULTS}/data/checked.json")
    assert len(job.outputs) == 4
    assert job.threads == 3
    runs = runs_of(job)
    assert [run.stage for run in runs] == ["classification"] * 2
    assert [run.details for run in runs] == [
        {"prior": "dwp", "variant": "base", "n": n} for n in ("20", "50")
    ]


def test_nothing_due_is_no_job():
    assert parse_jobs("Building DAG of jobs...\nNothing to be done (all files present).\n") == []


# When it happens


def test_jobs_fill_the_cores():
    jobs = [Job((), (str(number),)) for number in range(3)]
    assert schedule(jobs, [2, 3, 4], cores=2) == [(0, 2), (0, 3), (2, 6)]
    assert schedule(jobs, [2, 3, 4], cores=1) == [(0, 2), (2, 5), (5, 9)]


def test_jobs_wait_for_their_inputs():
    jobs = [Job(("b",), ("c",)), Job((), ("a",)), Job(("a", "given"), ("b",))]
    assert schedule(jobs, [1, 2, 3], cores=4) == [(5, 6), (0, 2), (2, 5)]


def test_jobs_take_their_threads_and_no_more_than_there_are():
    jobs = [Job((), ("a",), threads=2), Job((), ("b",), threads=9), Job((), ("c",))]
    assert schedule(jobs, [1, 1, 1], cores=3) == [(0, 1), (1, 2), (0, 1)]


def test_only_training_takes_a_gpu():
    train = [Job((), (f"results/x/d/source/{seed}/weights.safetensors",)) for seed in (0, 1)]
    jobs = [*train, Job((), ("results/x/d/figures/y.pdf",))]
    assert schedule(jobs, [2, 2, 1], cores=4, gpus=1) == [(0, 2), (2, 4), (0, 1)]
    assert schedule(jobs, [2, 2, 1], cores=4) == [(0, 2), (0, 2), (0, 1)]


def test_the_table_adds_up():
    jobs = parse_jobs(PRINTED)
    place = ("demo", "classification")
    text = table(jobs, jobs * 2, [{place: 7200.0}], [place], cores=[1], before=60.0)
    rows = [columns(line) for line in text.splitlines()]
    assert rows[1] == ["demo: classification", "2", "2", "1", "2.000*", "2 h 00 min*"]
    assert rows[2] == ["all", "2", "2", "1", "2.000*", "2 h 01 min*"]
    assert len({len(line) for line in text.splitlines()}) == 1


def test_durations_read_well():
    seconds = [0, 59.4, 59.6, 3599, 3600, 25530]
    expected = ["0 s", "59 s", "1 min 00 s", "59 min 59 s", "1 h 00 min", "7 h 06 min"]
    assert [duration(value) for value in seconds] == expected


# What it costs


DATA = {
    "demo": {
        role: {"train": 1000, "test": 300, "shape": [1, 28, 28], "classes": 10, "file": role}
        | {"seconds": 7.0}
        for role in ("source", "target")
    }
}


def costs(measured: dict, config: dict | None = None) -> Costs:
    """Return costs by the name of the work; what is not named costs nothing."""
    return Costs(config or tiny_config(), [], lambda w: measured.get(w["work"], (0, 0)), DATA)


def seconds(costs: Costs, *paths: str) -> float:
    (value,) = costs.job(Job((), tuple(f"{RESULTS}/{path}" for path in paths))).values()
    return value


def test_a_source_net_costs_its_steps_and_its_last_look():
    config = tiny_config()
    config["domains"]["demo"]["source_nets"].update(epochs=5, batch_size=100)
    measured = {"training_start": (2, 0), "read": (0, 0.5), "source_net": (1, 0.1)}
    measured["source_accuracy"] = (9, 0.25)
    found = seconds(costs(measured, config), "source/0/weights.safetensors")
    assert found == pytest.approx(2 + 0.5 + 1 + 5 * 10 * 0.1 + 1300 / 500 * 0.25)


@pytest.mark.parametrize(("per_job", "together"), [(9, 7), (4, 4)])
def test_source_nets_that_a_gpu_trains_together_share_their_steps(per_job, together):
    config = tiny_config()
    nets = {"count": 20, "runs_per_job": per_job, "filters": [64, 144], "epochs": 1}
    config["domains"]["demo"]["source_nets"].update(nets, batch_size=100)
    path = "source/0/weights.safetensors"
    for device, expected in (("cuda", together), ("cpu", 1)):
        works = []

        def lookup(work, works=works):
            works.append(work)
            return (7, 14) if work["work"] == "source_net" else (0, 0)

        found = seconds(Costs(config, [], lookup, DATA, device), path)
        assert found == pytest.approx((7 + 10 * 14) / expected)
        assert [w["nets"] for w in works if w["work"] == "source_net"] == [expected]


def test_several_runs_of_a_job_start_once():
    measured = {"training_start": (2, 0), "source_net": (1, 0)}
    paths = [f"source/{seed}/weights.safetensors" for seed in range(3)]
    assert seconds(costs(measured), *paths) == 2 + 3


def test_a_classifier_costs_its_steps_and_its_looks():
    config = tiny_config()
    config["domains"]["demo"]["classification"].update(
        train_sizes=[20, 100], batch_size=60, epochs=10, evaluate_every=4, validation=200, samples=3
    )
    measured = {"training_start": (2, 0), "classifier_test": (1, 0.07)}

    def lookup(work):
        if work["work"] == "classifier":
            assert work["images"] in (20, 60)
            return (0.5, 0.01) if work["images"] == 20 else (0.6, 0.03)
        return measured.get(work["work"], (0, 0))

    found = Costs(config, [], lookup, DATA)
    run = "classification/dwp/dwp/base/n{}/split0/seed0/weights.safetensors"
    # a unit of the test is 2 * 50 images by 3 samples and 50 by the mean: 7 * 50 passes
    looks = 3 * 200 * 3 * 0.07 / (7 * 50)
    assert seconds(found, run.format(20)) == pytest.approx(2 + 0.5 + 10 * 0.01 + looks)
    # batches of 60 and 40, between the two that were measured
    assert seconds(found, run.format(100)) == pytest.approx(2 + 0.5 + 10 * (0.03 + 0.02) + looks)


def test_variants_cost_what_their_settings_do():
    config = tiny_config()
    config["domains"]["demo"]["classification"].update(
        train_sizes=[20],
        vary={"epochs": [4, 40], "kernels_per_step": [None, 2]},
        tune={"learning_rate": [0.003, 0.1]},
    )
    works = []

    def lookup(work):
        works.append(json.dumps(work, sort_keys=True))
        if work["work"] == "classifier":
            return (0, 0.01) if work["settings"]["kernels_per_step"] == 2 else (0, 0.03)
        return 0, 0

    found = Costs(config, [], lookup, DATA)
    run = "classification/dwp/dwp/{}/n20/split0/seed0/{}"
    for variant, expected in {
        "base": 4 * 0.03,
        "learning_rate-0.1": 4 * 0.03,
        "epochs-40": 40 * 0.03,
        "epochs-40,kernels_per_step-2,learning_rate-0.1": 40 * 0.01,
    }.items():
        cost = seconds(found, run.format(variant, "weights.safetensors"))
        assert cost == pytest.approx(expected), variant
        seconds(found, run.format(variant, "metrics.json"))
    # what the variants share is measured once
    nets = [work for work in set(works) if '"work": "classifier"' in work]
    tests = [work for work in set(works) if '"work": "classifier_test"' in work]
    assert (len(nets), len(tests)) == (2, 1)


def test_settings_that_only_variants_have_are_measured():
    config = tiny_config()
    config["domains"]["demo"]["classification"].update(train_sizes=[20], vary={"shift": [0.0, 1.0]})
    works = []

    def lookup(work):
        works.append(work.get("settings", {}).get("shift"))
        return 0, 0

    found = Costs(config, [], lookup, DATA)
    for variant in ("base", "shift-1.0"):
        seconds(found, f"classification/dwp/dwp/{variant}/n20/split0/seed0/weights.safetensors")
    assert 1.0 in works


def test_members_and_penalties_are_part_of_what_is_measured():
    config = tiny_config()
    priors = config["domains"]["demo"]["priors"]
    priors["ensemble"] = {"kind": "deterministic", "l2": 0.1, "members": 3, "penalty": "dwp"}
    works = []

    def lookup(work):
        works.append(work)
        return 0, 0

    for file in ("weights.safetensors", "metrics.json"):
        run = f"classification/ensemble/dwp/base/n20/split0/seed0/{file}"
        seconds(Costs(config, [], lookup, DATA), run)
    nets = [work for work in works if work["work"].startswith("classifier")]
    assert {work["work"] for work in nets} == {"classifier", "classifier_test"}
    assert all(work["settings"]["members"] == 3 for work in nets)
    for work in nets:
        assert "penalty" not in work["settings"]
        assert ("penalty" in work) == (work["work"] == "classifier")
    penalty = next(work["penalty"] for work in nets if "penalty" in work)
    assert {layer: prior["kind"] for layer, prior in penalty.items()} == {
        "conv1": "vae",
        "conv2": "vae",
    }


def test_a_test_costs_its_images_by_samples_and_by_the_mean():
    measured = {"test_start": (2, 0), "classifier_test": (1, 0.05), "read": (0, 0.1)}
    run = "classification/{}/dwp/base/n20/split0/seed0/metrics.json"
    found = seconds(costs(measured), run.format("dwp"))
    # 2 samples: 5 * 50 passes a unit; 600 images by samples, 300 by the mean
    assert found == pytest.approx(2 + 1 + 0.2 + (600 * 2 + 300) * 0.05 / 250)
    found = seconds(costs(measured), run.format("deterministic-l2"))
    assert found == pytest.approx(2 + 1 + 0.2 + 600 * 0.05 / 100)


def test_random_features_cost_their_images_and_their_steps():
    config = tiny_config()
    config["domains"]["demo"]["features"].update(epochs=6, batch_size=100)
    measured = {"training_start": (2, 0), "read": (0, 0.5), "features": (9, 1.0)}
    measured["feature_classifier"] = (0.25, 1.0)  # 100 steps
    run = "features/dwp/scale{}/seed0/metrics.json"
    found = costs(measured, config)  # the larger scale is measured
    assert seconds(found, run.format(0.5)) == pytest.approx(2.75 + 60 * 0.01 + 1300 / 250)
    assert seconds(found, run.format(0.25)) == pytest.approx(2.75 + 30 * 0.01 + 1300 / 1000)


def test_convergence_costs_its_steps_and_its_looks():
    measured = {"training_start": (2, 0), "read": (0, 0.5), "convergence": (0.25, 0.1)}
    run = "convergence/image-vae/dwp/seed0/history.csv"
    # 20 steps; looks at 0, 10 and 20; 300 test images, 64 a step
    expected = 2.75 + 20 * 0.1 + 3 * 300 / 64 * 0.1 / 3
    assert seconds(costs(measured), run) == pytest.approx(expected)


def test_a_fitted_prior_costs_its_epochs_and_a_closed_form_its_start():
    config = tiny_config()
    config["domains"]["demo"]["priors"]["dwp"]["training"]["conv1"].update(epochs=9, batch_size=2)
    measured = {"training_start": (2, 0), "start": (3, 0), "prior": (1, 0.5)}
    found = costs(measured, config)
    # 3 nets, 6 filters, the fifth part dropped: 15 kernels, 3 of them for tests; 8 are measured
    fitted = "priors/fitted/{}/conv1.safetensors"
    assert seconds(found, fitted.format("dwp")) == pytest.approx(2 + 1 + 9 * 12 / 8 * 0.5)
    assert seconds(found, fitted.format("gaussian-diagonal")) == 3
    assert not found.bounds


def test_a_fit_that_iterates_costs_its_kernels():
    measured = {"start": (2, 0), "prior": (1, 0.5)}
    found = costs(measured)
    # 12 kernels of 7 x 7, and 4 * 49 measured: a covariance needs more kernels than weights
    for kind in ("gaussian-mixture", "student-t"):
        expected = 2 + 1 + 12 / 196 * 0.5
        assert seconds(found, f"priors/fitted/{kind}/conv1.safetensors") == pytest.approx(expected)


def test_a_score_costs_its_samples():
    measured = {"start": (2, 0), "prior_score": (1, 0.5)}
    scored = "priors/scores/{}/conv1.json"
    assert seconds(costs(measured), scored.format("dwp")) == pytest.approx(2 + 1 + 2 * 0.5)
    assert seconds(costs(measured), scored.format("standard-normal")) == 2


def test_kernels_above_a_threshold_are_a_bound_until_they_are_there(project):
    config = tiny_config()
    config["domains"]["demo"]["kernels"]["layers"]["conv1"] = {"threshold": 0.4}
    config["domains"]["demo"]["priors"]["dwp"]["training"]["conv1"].update(epochs=1, batch_size=4)
    measured = {"prior": (0, 1)}
    job = "priors/fitted/dwp/conv1.safetensors"
    found = costs(measured, config)
    assert seconds(found, job) == pytest.approx(14 / 14)  # 18 kernels, 4 of them for tests
    assert found.bounds == {("demo", "priors")}
    path = f"{RESULTS}/kernels/collected/conv1.safetensors"
    tensors = {"train": torch.zeros(64, 7, 7), "test": torch.zeros(2, 7, 7)}
    save_tensors(path, tensors, kind="kernels", settings={})
    found = costs(measured, config)
    assert seconds(found, job) == pytest.approx(64 / 16)
    assert not found.bounds
    stale = Costs(config, [Job((), (path,))], lambda work: (0, 1), DATA)
    seconds(stale, job)
    assert stale.bounds  # what is there will be made again


def test_fixed_costs_cancel_from_the_seconds_a_unit(monkeypatch):
    now, calls = [0.0], []

    def clock():
        return now[0]

    monkeypatch.setattr("dwp.study.calibration.time.perf_counter", clock)

    def run(units):
        now[0] += 0.3 + 0.01 * units + (5.0 if not calls else 0.0)
        calls.append(units)

    assert seconds_per_unit(run, 8.0, clock) == pytest.approx((0.3, 0.01))
    assert now[0] < 9
    assert max(calls) > 20


def test_both_data_sets_are_read_for_a_test_and_all_kernels_are_scored(project):
    read = {"source": 0.1, "target": 0.7}

    def lookup(work):
        return (0, read[work["data"]]) if work["work"] == "read" else (0, 0)

    run = "classification/dwp/dwp/base/n20/split0/seed0/metrics.json"
    assert seconds(Costs(tiny_config(), [], lookup, DATA), run) == pytest.approx(0.8)
    tensors = {"train": torch.zeros(1, 7, 7), "test": torch.zeros(4000, 7, 7)}
    path = f"{RESULTS}/kernels/collected/conv1.safetensors"
    save_tensors(path, tensors, kind="kernels", settings={})
    found = costs({"prior_score": (1, 0.5)})  # of 2,000 kernels, and 1,001 places beside
    expected = 5001 / 3001 * (1 + 2 * 0.5)
    assert seconds(found, "priors/scores/dwp/conv1.json") == pytest.approx(expected)
