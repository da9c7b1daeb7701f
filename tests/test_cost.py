"""What jobs cost: operations, rates, minutes and plans, against cases done by hand."""

import contextlib
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from helpers import ROOT, refusal, tiny_config

from dwp.files import save_tensors
from dwp.study import cost
from dwp.study.cost import RATE, START, STEP, Job, due_jobs, kernel_counts, minutes, schedule, work
from dwp.study.study import Study

PRIORS = dict.fromkeys(("dwp", "standard-normal", "deterministic-l2", "deep-ensemble"))
CONFIG = "config/tiny.yaml"
# Products of the tiny classification's net (filters 2 and 2) on an image: 22 x 22 and 7 x 7 maps
IMAGE = 2 * (49 * 2 * 22**2 + 25 * 4 * 7**2)


@pytest.fixture
def domain() -> dict:
    """The section of the tiny config's domain, to be changed before `study` is made of it."""
    return tiny_config(PRIORS)["domains"]["demo"]


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty current folder, without logs of earlier runs."""
    monkeypatch.chdir(tmp_path)
    cost.earlier_rates.cache_clear()
    yield tmp_path
    cost.earlier_rates.cache_clear()


def study(domain: dict, **settings) -> Study:
    config = {**tiny_config(PRIORS), **settings, "domains": {"demo": domain}}
    return Study(config, root=ROOT)


def job(**wildcards) -> SimpleNamespace:
    return SimpleNamespace(domain="demo", **({"batch": "0"} | wildcards))


def classifiers(prior: str, **wildcards) -> SimpleNamespace:
    return job(**{"prior": prior, "init": "dwp", "variant": "base", "n": "10", **wildcards})


# Operations


def test_source_nets_train_and_predict_all_images(domain):
    domain["source_nets"] |= {"count": 3, "runs_per_job": 2, "epochs": 5, "batch_size": 1500}
    found = work(study(domain), "source_nets", job())
    image = 2 * (49 * 6 * 22**2 + 25 * 24 * 7**2)
    assert found == (2, 5 * 3, 3 * 1500 * image, 5000, image)  # 4,000 glyphs, and 1,000 to test
    assert found.operations == 2 * (15 * (3 * 1500 * image + STEP) + 5000 * image)
    assert work(study(domain), "source_nets", job(batch="1")).runs == 1
    for choice, images in (
        ({"dataset": "mnist", "classes": [0, 1, 2, 3, 4]}, 35_000),
        ({"dataset": "mnist", "train": [0, 100], "test": [100, 130]}, 130),
        ({"dataset": "glyphs", "enlarge": 9000}, 10_000),
    ):
        domain["data"]["source"] = choice
        assert work(study(domain), "source_nets", job()).predicted == images


@pytest.mark.parametrize(
    ("prior", "nets", "passes", "samples"),
    [("standard-normal", 2, 2, 3), ("deterministic-l2", 2, 1, 1), ("deep-ensemble", 4, 1, 1)],
)
def test_classifiers_train_evaluate_and_test(domain, prior, nets, passes, samples):
    settings = {"epochs": 10, "evaluate_every": 4, "validation": 20, "batch_size": 4, "samples": 3}
    domain["classification"] |= settings | {"runs_per_job": 2}
    found = work(study(domain), "classifiers", classifiers(prior))
    predicted = 3 * 20 + 500 + 1000  # test images of digits and glyphs
    expected = nets, 10, predicted, passes * samples * IMAGE
    assert (found.runs, found.steps, found.predicted, found.prediction) == expected
    kl = 3 * 2 * 2 * (2 * 49**2 + 4 * 25**2) if passes == 2 else 0  # in three steps an epoch
    assert found.step == 3 * 10 * passes * IMAGE + kl + 2 * STEP


def test_a_vae_costs_its_kernels_or_those_that_a_step_takes(domain):
    domain["classification"] |= {"kernels_per_step": None, "vary": {"kernels_per_step": [None, 1]}}
    own = study(domain)
    step = {
        v: work(own, "classifiers", classifiers("dwp", variant=v)).step
        for v in own.run_variants("demo", "dwp")
    }
    conv1, conv2 = (2 * 16**2 * products for products in (198 + 774, 423 + 410))
    assert step["base"] - step["kernels_per_step-1"] == pytest.approx(2 * (1 * conv1 + 3 * conv2))


def test_a_kernel_density_costs_the_kernels_that_it_has(domain):
    domain["priors"]["dwp"] = {"kind": "kernel-density", "layers": {"conv1": {"centres": 7}}}
    score = 1003 * (2 * 49 + 20) * 7 + 1006 * (2 * 25 + 20) * 19
    assert work(study(domain), "prior_score", job(prior="dwp")).prediction == score
    names = {"conv1": "mnist-7x7-density", "conv2": "mnist-5x5-density"}
    domain["priors"]["dwp"] = {"kind": "kernel-density", "pretrained": names}
    score = 1003 * (2 * 49 + 20) * 447 + 1006 * (2 * 25 + 20) * 2000
    assert work(study(domain), "prior_score", job(prior="dwp")).prediction == score


def test_a_penalty_costs_what_its_prior_does(domain):
    domain["priors"]["deterministic-l2"]["penalty"] = "dwp"
    own = study(domain)
    net, bayesian = (
        work(own, "classifiers", classifiers(prior)) for prior in ("deterministic-l2", "dwp")
    )
    assert net.step + 30 * IMAGE == pytest.approx(bayesian.step)


def test_priors_fit_and_score_kernels(domain):
    domain["priors"]["dwp"]["training"]["conv1"] |= {"epochs": 7, "batch_size": 4}
    own = study(domain)
    # 2 nets of 6 filters: 12 kernels of conv1, 2 for tests; of conv2 half of 48, 5 for tests
    assert kernel_counts(own, "demo", "conv1") == (10, 2)
    assert kernel_counts(own, "demo", "conv2") == (19, 5)
    density = 2 * 16**2 * (198 + 774)
    assert work(own, "prior", job(prior="dwp", layer="conv1")) == (1, 21, 3 * 4 * density, 0, 0)
    assert work(own, "prior", job(prior="standard-normal", layer="conv1")).operations == 0
    other = 2 * 16**2 * (423 + 410)
    scores, moved = 1003 * density + 1006 * other, 3 * 200 * (density + other)
    assert work(own, "prior_score", job(prior="dwp")) == (1, 3, moved, 2, scores)


def test_kernels_that_are_there_are_counted(domain, here):
    file = here / "results/tiny/demo/kernels/conv1.safetensors"
    parts = {"train": torch.zeros(64, 7, 7), "test": torch.zeros(3, 7, 7)}
    save_tensors(file, parts, kind="kernels", settings={})
    assert kernel_counts(study(domain), "demo", "conv1") == (64, 3)


def test_features_and_convergence(domain):
    features = {"filters": [4, 4], "scales": [0.5], "epochs": 3, "batch_size": 1000}
    domain["features"] |= features | {"seeds": [0, 1], "runs_per_job": 9}
    own = study(domain)
    assert work(own, "features", job(scale="0.5")) == (2, 6, 0, 1797, IMAGE)
    assert work(own, "norms_figure", job(layer="conv1")).operations == 0
    found = work(own, "convergence_nets", job(experiment="image-vae", init="dwp"))
    assert found == (1, 20, 3 * 64 * 2 * IMAGE, 3 * 500, 2 * IMAGE)  # at steps 0, 10 and 20


def test_the_shift_predicts_every_net_at_every_angle(domain):
    domain["classification"] |= {"splits": [0, 1, 2], "samples": 4, "rotations": [0, 90]}
    domain["classification"]["priors"] = ["standard-normal", "deterministic-l2"]
    found = work(study(domain), "shift", job())
    assert found == (1, 0, 0, 3 * 2 * 500, (2 * 4 + 1) * IMAGE)


# Rates and minutes


def write_benchmark(path: str, rule: str, seconds: float, operations: float, **more) -> None:
    file = Path("logs", path)
    file.parent.mkdir(parents=True, exist_ok=True)
    resources = {"gpu": 0, "operations": operations} | more.pop("resources", {})
    row = {"s": seconds, "rule_name": rule, "wildcards": more, "resources": resources}
    file.write_text("\t".join(row) + "\n" + "\t".join(map(str, row.values())) + "\n")


def test_rates_are_those_of_the_kind_then_of_the_rule(here):
    for number, seconds in enumerate((10, 12, 99)):
        own = {"domain": "demo", "prior": "dwp"}
        write_benchmark(f"a/{number}.tsv", "classifiers", START + seconds, 1.2e12, **own)
    write_benchmark("b/demo/x.tsv", "classifiers", START + 1, 5e10, domain="demo", prior="flow")
    write_benchmark("b/demo/y.tsv", "classifiers", START + 1, 0, domain="demo", prior="none")
    on_gpu = {"domain": "demo", "prior": "dwp", "resources": {"gpu": 1}}
    write_benchmark("b/demo/z.tsv", "classifiers", START + 1, 9e12, **on_gpu)
    Path("logs/b/demo/plain.tsv").write_text("s\th:m:s\n1.0\t0:00:01\n")
    assert cost.earlier_rates() == {
        ("classifiers", 0, "demo", "dwp"): pytest.approx(1e11),
        ("classifiers", 0, "demo", "flow"): pytest.approx(5e10),
        ("classifiers", 1, "demo", "dwp"): pytest.approx(9e12),
        ("classifiers", 0): pytest.approx(7.5e10),
        ("classifiers", 1): pytest.approx(9e12),
    }


def test_minutes_are_twice_what_is_expected_within_bounds(domain, here):
    domain["source_nets"] |= {"epochs": 20_000, "batch_size": 4000}
    slow, longest = study(domain), study(domain, longest_job_minutes=30)
    expected = math.ceil(2 * (START + work(slow, "source_nets", job()).operations / RATE) / 60)
    assert 20 < expected < 1440
    assert minutes(slow, "source_nets", job(), 1) == expected
    assert minutes(slow, "source_nets", job(), 3) == min(3 * expected, 1440)
    assert minutes(longest, "source_nets", job(), 1) == 30
    assert minutes(slow, "prior", job(prior="standard-normal", layer="conv1"), 2) == 40


# The plan


def test_jobs_fill_the_cores_and_wait_for_their_inputs():
    def jobs(*after, **of_last):
        made = [Job("demo: x", "x", None, frozenset(each)) for each in after]
        return [*made[:-1], made[-1]._replace(**of_last)]

    free = math.inf
    assert schedule(jobs((), (), ()), [2, 3, 4], 2, free) == [(0, 2), (0, 3), (2, 6)]
    assert schedule(jobs((2,), (), (1,)), [1, 2, 3], 4, free) == [(5, 6), (0, 2), (2, 5)]
    assert schedule(jobs((), (), threads=9), [1, 2], 3, free) == [(0, 1), (1, 3)]
    on_gpu = [Job("demo: x", "x", None, gpu=1)] * 2 + jobs(())
    assert schedule(on_gpu, [2, 2, 1], 4, 1) == [(0, 2), (2, 4), (0, 1)]
    assert schedule(on_gpu, [2, 2, 1], 4, free) == [(0, 2), (0, 2), (0, 1)]


@pytest.fixture
def project(here, domain) -> Path:
    """A project's folder with the tiny config, as the current folder."""
    for name in ("dwp", "workflow", "Snakefile"):
        (here / name).symlink_to(ROOT / name)
    (here / "config").mkdir()
    config = tiny_config(PRIORS) | {"domains": {"demo": domain}}
    Path(CONFIG).write_text(yaml.safe_dump(config))
    return here


def test_jobs_are_those_of_snakemake(project):
    jobs, done = due_jobs(CONFIG)
    assert not done
    number = {job.rule: number for number, job in enumerate(jobs)}
    assert {"data", "check_data", "source_nets", "kernels", "prior", "classifiers"} <= set(number)
    assert {job.stage for job in jobs if job.rule in ("prior", "prior_score")} == {"demo: priors"}
    assert number["check_data"] in jobs[number["source_nets"]].after
    assert vars(jobs[number["source_nets"]].w) == {"domain": "demo", "batch": "0"}
    times = schedule(jobs, [1.0] * len(jobs), 1, math.inf)
    assert max(end for _, end in times) == len(jobs)


def test_a_plan_adds_up(project, monkeypatch):
    measured = {}

    def measure(function, studies, rules, *rest):
        measured.update(dict.fromkeys(rules, (5.0, RATE)))
        return [measured[rule] for rule in rules]

    pool = contextlib.nullcontext(SimpleNamespace(map=measure))
    monkeypatch.setattr(cost, "ProcessPoolExecutor", lambda *_: pool)
    lines = cost.plan(CONFIG, [1, 2]).splitlines()
    assert " ".join(lines[0].split()) == "jobs done core-hours wall, 1 core wall, 2 cores"
    rows = {" ".join(line.split()[:-5]): line.split()[-5:] for line in lines[1:]}
    assert list(rows)[:3] == ["demo: data", "demo: source", "demo: kernels"]
    everything = rows.pop("all")
    assert int(everything[0]) == sum(int(row[0]) for row in rows.values())
    hours = sum(float(row[2]) for row in rows.values())
    assert float(everything[2]) == pytest.approx(hours, abs=0.006)
    assert "prior_score" not in measured


@pytest.mark.parametrize(
    "rule", ["source_nets", "classifiers", "features", "convergence_nets", "prior"]
)
def test_a_reduced_job_is_measured(rule, domain, monkeypatch):
    monkeypatch.setattr(cost, "RATE", 1e9)  # shorter
    w = classifiers("dwp", experiment="image-vae", scale="0.25", layer="conv1")
    start, rate = cost.measure(study(domain), rule, w, "cpu")
    assert start > 0.3
    assert 1e7 < rate < 1e14


def test_a_kernel_density_of_many_kernels_is_measured(domain, monkeypatch):
    monkeypatch.setattr(cost, "RATE", 1e9)
    domain["priors"]["dwp"] = {"kind": "kernel-density", "layers": {"conv1": {"centres": 900}}}
    assert cost.measure(study(domain), "classifiers", classifiers("dwp"), "cpu")[1] > 1e7


def test_errors_are_one_line(project):
    config = tiny_config(PRIORS) | {"device": "tpu"}
    Path(CONFIG).write_text(yaml.safe_dump(config))
    assert refusal(cost.plan, CONFIG, [1]).startswith("device: expected")
    assert refusal(cost.plan, "config/none.yaml", [1]) == "config/none.yaml: no such file"
    Path("Snakefile").unlink()
    assert "Snakemake fails: " in refusal(due_jobs, CONFIG)
