"""What a run of the workflow would do, and how long it would take.

Snakemake says which jobs are due (a dry run, in a process of its own); `dwp.study.calibration` measures
what their work costs on this machine; the jobs are then scheduled on a number of cores.
"""

import heapq
import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from dwp.data import data_folder, load_dataset
from dwp.data.choice import choose, dataset_of
from dwp.data.tensors import ImageTensors
from dwp.errors import UserError
from dwp.nn.networks import build_network, network_class, scaled
from dwp.priors import KINDS, load_prior, prior_class
from dwp.release import load_released_kernels, load_released_vae, release_folder
from dwp.study.calibration import IMAGES, Seconds, Work, calibrate
from dwp.study.settings import (
    DETERMINISTIC,
    XAVIER,
    ignored_settings,
    read_config,
    settings_of_prior,
)
from dwp.training.source import nets_together
from dwp.variants import as_text, variants

CALIBRATION_SECONDS = 35.0

_RUN = r"classification/(?P<prior>[^/]+)/[^/]+/(?P<variant>[^/]+)"
STAGES = {
    "data": r"data/(?:(?P<role>source|target)\.safetensors|checked\.json)",
    "source nets": r"source/\d+/weights\.safetensors",
    "kernels": r"kernels/(?:collected|released)/(?P<layer>[^/]+)\.safetensors",
    "priors": (
        r"priors/(?P<place>fitted|released|pretrained)/(?P<prior>[^/]+)/(?P<layer>[^/]+)\.safetensors"
    ),
    "scores": r"priors/scores/(?P<prior>[^/]+)/(?P<layer>[^/]+)\.json",
    "classification": rf"{_RUN}/n(?P<n>\d+)/.+/weights\.safetensors",
    "test": rf"{_RUN}/n\d+/.+/metrics\.json",
    "features": r"features/[^/]+/scale(?P<scale>[^/]+)/seed\d+/metrics\.json",
    "convergence": r"convergence/(?P<experiment>[^/]+)/[^/]+/seed\d+/history\.csv",
    "tables": r"tables/[^/]+\.csv",
    "figures": r"figures/[^/]+\.pdf",
}
"""Stages in order, by the file that a run of them makes, below `results/<name>/<domain>/`."""

# Settings of a run that do not change what a step costs, and those that a test has no use for:
# works that differ in nothing else are measured once.
_FREE = (
    "epochs",
    "learning_rate",
    "log_variance",
    "kl_temperature",
    "validation",
    "evaluate_every",
)
_UNTESTED = (*_FREE, "batch_size", "kernels_per_step", "precision")
_TRAINING = (  # on a GPU if there is one
    *("source nets", "priors", "classification", "test", "features", "convergence"),
)
_MOST_SCORED = 2000  # kernels in the measurement of a score
_PRIOR_BATCHES = 4  # batches in the measurement of a prior's epoch
_MOST_FITTED = 2000  # kernels in the measurement of a fit that iterates


@dataclass(frozen=True)
class Job:
    """A job of the workflow: the files it reads and makes, and the cores it takes."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    threads: int = 1


@dataclass(frozen=True)
class Run:
    """A unit of a stage's work, such as one trained net; a job may do several."""

    domain: str
    stage: str
    details: Mapping[str, str]


# What is due


def _start_dry_run(config_file: str, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "snakemake", "--configfile", config_file, "--dry-run"]
    return subprocess.Popen(
        [*command, "--nocolor", "--quiet", "reason", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _finish(process: subprocess.Popen, config_file: str) -> str:
    output = process.communicate()[0]
    if process.returncode:
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        refusals = [line for line in lines if line.startswith("error in the config: ")]
        reason = (refusals or lines or ["Snakemake failed and does not say why"])[-1]
        raise UserError(f"{config_file}: {reason.removeprefix('error in the config: ')}")
    return output


def parse_jobs(text: str) -> list[Job]:
    """Return the jobs that a dry run of Snakemake printed; those that make no file are left out."""
    jobs: list[Job] = []
    # A job is a line "rule NAME:" and lines "    KEY: VALUE" below it.
    blocks = re.findall(r"^(?:local)?rule [^\n]+:\n((?:    [^\n]*\n)+)", text, re.MULTILINE)
    for block in blocks:
        values = dict(re.findall(r"^    (\w+): (.*)$", block, re.MULTILINE))
        inputs, outputs = (
            tuple(filter(None, values.get(key, "").split(", "))) for key in ("input", "output")
        )
        if outputs:
            jobs.append(Job(inputs, outputs, int(values.get("threads", 1))))
    return jobs


def runs_of(job: Job) -> list[Run]:
    """Return the units of work that a job does, in the order of the stages."""
    found = []
    for stage, pattern in STAGES.items():
        for path in job.outputs:
            match = re.fullmatch(rf"results/[^/]+/(?P<domain>[^/]+)/{pattern}", path)
            if match:
                details = {k: v for k, v in match.groupdict().items() if v and k != "domain"}
                found.append(Run(match["domain"], stage, details))
    return found


# What it costs


class Costs:
    """The seconds that jobs take on one core, from measured works.

    Args:
        config: a config that Snakemake accepted.
        due: the jobs that will run.
        measured: gives a work's fixed seconds and its seconds a unit (see `dwp.study.calibration`).
        data: what `describe_data` returns for the domains whose data matter.
        device: where nets are trained.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        due: Sequence[Job],
        measured: Callable[[Work], Seconds],
        data: Mapping[str, Mapping[str, Any]],
        device: str = "cpu",
    ) -> None:
        self.config = config
        self.due = {path for job in due for path in job.outputs}
        self.measured = measured
        self.data = data
        self.device = device
        self.bounds: set[tuple[str, str]] = set()
        """(domain, stage) whose costs are upper bounds, as far as they were asked for."""

    def job(self, job: Job) -> dict[tuple[str, str], float]:
        """Return the seconds of a job by domain and stage; its start counts to the first."""
        runs = runs_of(job)
        if not runs:
            return {}
        seconds = dict.fromkeys(((run.domain, run.stage) for run in runs), 0.0)
        for run in runs:
            seconds[run.domain, run.stage] += self._run(run)
        seconds[runs[0].domain, runs[0].stage] += self.measured({"work": self._start(runs[0])})[0]
        return seconds

    def _start(self, run: Run) -> str:
        if run.stage == "priors" and run.details["place"] == "fitted":
            kind = self.config["domains"][run.domain]["priors"][run.details["prior"]]["kind"]
            return "training_start" if prior_class(kind).trained else "start"
        starts = dict.fromkeys(
            ("source nets", "classification", "features", "convergence"), "training_start"
        )
        return (starts | {"test": "test_start", "figures": "figure"}).get(run.stage, "start")

    def _run(self, run: Run) -> float:
        section = self.config["domains"][run.domain]
        if run.stage == "data" and "role" in run.details:
            return self.data[run.domain][run.details["role"]]["seconds"]
        if run.stage == "source nets":
            return self._source_net(section, self.data[run.domain]["source"])
        if run.stage == "priors" and run.details["place"] == "fitted":
            return self._prior(run.domain, **run.details)
        if run.stage == "scores":
            return self._score(run.domain, **run.details)
        if run.stage == "classification":
            return self._classifier(run.domain, **run.details)
        if run.stage == "test":
            return self._test(run.domain, **run.details)
        if run.stage == "features":
            return self._features(run.domain, float(run.details["scale"]))
        if run.stage == "convergence":
            return self._convergence(run.domain, run.details["experiment"])
        return 0.0

    def _read(self, data: Mapping[str, Any]) -> float:
        return self.measured({"work": "read", "data": data["file"]})[1]

    def _source_net(self, section: Mapping[str, Any], data: Mapping[str, Any]) -> float:
        settings = {"network": section["network"], **section["source_nets"]}
        epochs, count = settings.pop("epochs"), data["train"]
        settings["batch_size"] = min(settings["batch_size"], count)
        of_a_job = min(settings.pop("count"), settings.pop("runs_per_job"))
        nets = min(of_a_job, nets_together(settings, self.device))
        work = {"settings": settings, **_form(data), "device": self.device}
        together = self.measured({"work": "source_net", "nets": nets, **work})
        fixed, step = (seconds / nets for seconds in together)
        accuracy = self.measured({"work": "source_accuracy", **work})[1] / 500
        steps = epochs * count / settings["batch_size"]
        return self._read(data) + fixed + steps * step + (count + data["test"]) * accuracy

    def _prior(self, domain: str, prior: str, layer: str, place: str) -> float:
        section = self.config["domains"][domain]["priors"][prior]
        kind = prior_class(section["kind"])
        if not (kind.trained or KINDS[section["kind"]].iterative):
            return 0.0  # closed forms take less than the start of the job
        kernels, _ = self._kernels(domain, layer, "priors")
        work = self._prior_kind(domain, prior, layer)
        training, epochs = None, 1
        if kind.trained:
            training = dict(section["training"][layer])
            epochs, kernels = training.pop("epochs"), min(training.pop("kernels", kernels), kernels)
            some = min(kernels, _PRIOR_BATCHES * training["batch_size"])
        else:  # a covariance needs more kernels than weights, whatever little is known yet
            some = max(min(kernels, _MOST_FITTED), 4 * work["size"] ** 2)
        work |= {"work": "prior", "training": training, "kernels": some, "device": self.device}
        fixed, epoch = self.measured(work)
        return fixed + epochs * kernels / some * epoch

    def _score(self, domain: str, prior: str, layer: str) -> float:
        work = self._prior_kind(domain, prior, layer)
        if prior_class(work["kind"]).density != "bound":
            return 0.0
        _, kernels = self._kernels(domain, layer, "scores")
        some = min(kernels, _MOST_SCORED)
        fixed, sample = self.measured({"work": "prior_score", **work, "kernels": some})
        more = (kernels + 1001) / (some + 1001)  # 1,001: the places that a score tells beside
        return more * (fixed + self.config["domains"][domain]["importance_samples"] * sample)

    def _classifier(self, domain: str, prior: str, variant: str, n: str) -> float:
        section = self.config["domains"][domain]["classification"]
        settings = self._variant(domain, prior, variant)
        batch = settings["batch_size"]
        sizes = [min(size, batch) for size in section["train_sizes"]]
        init = section["inits"][0]
        penalty = self.config["domains"][domain]["priors"][prior].get("penalty")
        work = {
            "work": "classifier",
            **self._net(domain, prior, variant, _FREE),
            "init": None if init == XAVIER else self._layers(domain, init),
            "penalty": self._layers(domain, penalty) if penalty else None,
        }
        least, most = (self.measured({**work, "images": f(sizes)}) for f in (min, max))
        slope = (most[1] - least[1]) / max(max(sizes) - min(sizes), 1)

        def step(images: int) -> float:
            return least[1] + slope * (images - min(sizes))

        full, rest = divmod(int(n), batch)
        epoch = full * step(batch) + (step(rest) if rest else 0.0)
        looks = -(-settings["epochs"] // settings["evaluate_every"])
        look = self._predictions(domain, prior, variant)[1] * settings["validation"]
        read = self._read(self.data[domain]["target"])
        return read + least[0] + settings["epochs"] * epoch + looks * look

    def _test(self, domain: str, prior: str, variant: str) -> float:
        fixed, look, mean = self._predictions(domain, prior, variant)
        source, target = (self.data[domain][role] for role in ("source", "target"))
        images = target["test"] + source["test"]
        read = self._read(source) + self._read(target)
        return read + fixed + look * images + mean * target["test"]

    def _features(self, domain: str, scale: float) -> float:
        section = self.config["domains"][domain]
        settings, data = section["features"], self.data[domain]["target"]
        # Measured at the largest scale, where the time goes: convolutions grow with its square
        largest = max(float(Fraction(k)) for k in settings["scales"])
        batch = min(settings["batch_size"], data["train"])
        work = {
            "settings": {
                "network": section["network"],
                "filters": scaled(settings["filters"], largest),
                "batch_size": batch,
                "learning_rate": settings["learning_rate"],
            },
            **_form(data),
            "device": self.device,
        }
        fixed, step = self.measured({"work": "feature_classifier", **work})
        image = self.measured({"work": "features", **work})[1] / 250
        share = scale / largest
        hundreds = settings["epochs"] * data["train"] / batch / 100
        images = data["train"] + data["test"]
        return self._read(data) + fixed + share * hundreds * step + share**2 * images * image

    def _convergence(self, domain: str, experiment: str) -> float:
        section, data = self.config["domains"][domain], self.data[domain]["target"]
        varied = ("runs_per_job", "inits", "seeds", "steps", "evaluate_every", "levels")
        settings = section["convergence"][experiment]
        steps, looks = settings["steps"], 1 + -(-settings["steps"] // settings["evaluate_every"])
        settings = {k: v for k, v in settings.items() if k not in (*varied, "sample_steps")}
        settings |= {"network": section["network"]}
        work = {"settings": settings, **_form(data), "device": self.device}
        fixed, step = self.measured({"work": "convergence", **work})
        # a look does what the first third of a step does
        look = data["test"] / settings["batch_size"] * step / 3
        return self._read(data) + fixed + steps * step + looks * look

    def _predictions(self, domain: str, prior: str, variant: str) -> tuple[float, float, float]:
        """Return a test's fixed seconds, and the seconds an image by samples and by the mean."""
        work = self._net(domain, prior, variant, _UNTESTED)
        fixed, unit = self.measured({"work": "classifier_test", **work})
        if work["priors"] is None:
            return fixed, unit / (2 * IMAGES), 0.0
        passes = 2 * work["settings"]["samples"] + 1
        mean = unit / (passes * IMAGES)
        return fixed, work["settings"]["samples"] * mean, mean

    def _variant(self, domain: str, prior: str, variant: str) -> dict[str, Any]:
        section = self.config["domains"][domain]
        ignored = ignored_settings(section["priors"][prior]["kind"])
        return variants(section["classification"], ignored)[variant]

    def _net(self, domain: str, prior: str, variant: str, free: Sequence[str]) -> dict[str, Any]:
        section = self.config["domains"][domain]
        settings = self._variant(domain, prior, variant)
        settings |= {k: section["classification"][k] for k in free if k in settings}
        settings |= settings_of_prior(section, prior)
        priors = None
        if section["priors"][prior]["kind"] == DETERMINISTIC:
            settings["l2"] = 0.001
            settings.pop("penalty", None)
        else:
            layers = settings["bayesian_layers"]
            priors = {layer: self._prior_kind(domain, prior, layer) for layer in layers}
        return {
            "settings": {"network": section["network"], **settings},
            **_form(self.data[domain]["target"]),
            "priors": priors,
            "device": self.device,
        }

    def _layers(self, domain: str, prior: str) -> dict[str, Any]:
        layers = self.config["domains"][domain]["kernels"]["layers"]
        return {layer: self._prior_kind(domain, prior, layer) for layer in layers}

    def _prior_kind(self, domain: str, prior: str, layer: str) -> dict[str, Any]:
        section = self.config["domains"][domain]["priors"][prior]
        size = network_class(self.config["domains"][domain]["network"]).kernel_sizes[layer]
        arguments = section.get("layers", {}).get(layer, {})
        if layer in section.get("released", {}):
            folder = release_folder(self.config["release"]) / section["released"][layer]
            arguments = dict(load_released_vae(folder).arguments)
            del arguments["kernel_size"]
        elif layer in section.get("pretrained", {}):
            arguments = dict(load_prior(section["pretrained"][layer]).arguments)
            del arguments["kernel_size"]
        return {"kind": section["kind"], "size": size, "arguments": arguments}

    def _kernels(self, domain: str, layer: str, stage: str) -> tuple[int, int]:
        """Return how many kernels there are to fit and to score: what is known of them so far."""
        section = self.config["domains"][domain]
        settings = section["kernels"]["layers"][layer]
        place = "released" if "released" in settings else "collected"
        path = f"results/{self.config['name']}/{domain}/kernels/{place}/{layer}.safetensors"
        if path not in self.due and Path(path).is_file():
            with safe_open(path, framework="pt") as file:
                train, test = (file.get_slice(part).get_shape()[0] for part in ("train", "test"))
            return train, test
        if "released" in settings:
            folder = release_folder(self.config["release"]) / settings["released"]
            train, test = map(len, load_released_kernels(folder))
            return train, test
        if "threshold" in settings:
            self.bounds.add((domain, stage))
        nets = section["source_nets"]
        with torch.device("meta"):
            net = build_network(section["network"], filters=nets["filters"], classes=2)
        outputs, inputs = net.get_submodule(layer).weight.shape[:2]
        kernels = nets["count"] * outputs * inputs
        kept = kernels - int(settings.get("quantile", 0.0) * kernels + 1e-9)
        test = max(1, round(section["kernels"]["test_fraction"] * kept))
        return kept - test, test


def _form(data: Mapping[str, Any]) -> dict[str, Any]:
    return {"shape": data["shape"], "classes": data["classes"]}


def describe_data(
    config: Mapping[str, Any], domain: str, role: str, folder: Path
) -> dict[str, Any]:
    """Return numbers of images, their shape and classes, a file of them and the seconds to read it.

    The images are those of the workflow if they are there, else they are read from where the
    config says; never downloaded.

    Args:
        config: the config.
        domain: which domain.
        role: "source" or "target".
        folder: where to write the file if the workflow has none.

    Raises:
        UserError: the images are not on this machine.
    """
    start = time.perf_counter()
    choice = config["domains"][domain]["data"][role]
    path = Path(f"results/{config['name']}/{domain}/data/{role}.safetensors")
    if path.is_file():
        images = ImageTensors.load(path)
    else:
        location = data_folder(config["data"]["folder"])
        try:
            dataset = dataset_of(choice)
            train, test = (load_dataset(dataset, location, train=t) for t in (True, False))
        except UserError as error:
            if not config["data"]["download"]:
                raise
            raise UserError(
                f"{dataset} is not on this machine yet and the plan needs its size; first run "
                f"snakemake --cores 1 {path} --configfile CONFIG"
            ) from error
        images = choose(choice, train, test)
        path = folder / f"{domain}-{role}.safetensors"
        images.save(path, {})
    return {
        "train": len(images.train_images),
        "test": len(images.test_images),
        "shape": list(images.train_images.shape[1:]),
        "classes": images.classes,
        "file": str(path),
        "seconds": time.perf_counter() - start,
    }


# When it happens


def uses_gpu(job: Job) -> bool:
    """Tell whether the job trains or tests nets, on a GPU if there is one."""
    return any(run.stage in _TRAINING for run in runs_of(job))


def schedule(
    jobs: Sequence[Job], seconds: Sequence[float], *, cores: int, gpus: int | None = None
) -> list[tuple[float, float]]:
    """Return when each job starts and ends, in seconds, if every job starts as soon as it can.

    A job waits for the jobs that make its inputs, then for free cores (and for a GPU, if it uses
    one); among those that can start, the first in the list does.

    Args:
        jobs: in any order.
        seconds: of each job.
        cores: how many there are; a job that asks for more takes all.
        gpus: how many there are; None: no job needs one.
    """
    maker = {path: number for number, job in enumerate(jobs) for path in job.outputs}
    waits = [{maker[path] for path in job.inputs if path in maker} for job in jobs]
    followers: list[list[int]] = [[] for _ in jobs]
    for number, earlier in enumerate(waits):
        for one in earlier:
            followers[one].append(number)
    needs = [(min(job.threads, cores), int(gpus is not None and uses_gpu(job))) for job in jobs]
    free = [cores, gpus or 0]
    ready = [number for number, earlier in enumerate(waits) if not earlier]
    running: list[tuple[float, int]] = []
    times = [(0.0, 0.0)] * len(jobs)
    now = 0.0
    while ready or running:
        for number in list(ready):
            if not free[0]:
                break
            if all(need <= there for need, there in zip(needs[number], free, strict=True)):
                ready.remove(number)
                free = [there - need for need, there in zip(needs[number], free, strict=True)]
                times[number] = now, now + seconds[number]
                heapq.heappush(running, (times[number][1], number))
        now, number = heapq.heappop(running)
        free = [there + need for need, there in zip(needs[number], free, strict=True)]
        for follower in followers[number]:
            waits[follower].discard(number)
            if not waits[follower]:
                ready.append(follower)
    return times


# The report


def plan(config_file: str, cores: Sequence[int], gpus: int | None = None) -> str:
    """Return what a run would do and how long it would take, as text.

    Args:
        config_file: as for `snakemake --configfile`; the current folder is the project's.
        cores: numbers of cores to plan for.
        gpus: a number of GPUs to plan for, if one is here to calibrate on.

    Raises:
        UserError: not the project's folder, the config is refused, or the data are not here.
    """
    for path in ("Snakefile", config_file):
        if not Path(path).is_file():
            raise UserError(f"{path}: no such file; run this in the project's folder")
    config = read_config(config_file)
    start = time.perf_counter()
    # Without what is there already, and with it: both at once.
    running = [_start_dry_run(config_file, *force) for force in ((), ("--forceall",))]
    due, everything = (parse_jobs(_finish(process, config_file)) for process in running)
    planning = time.perf_counter() - start

    notes = []
    if gpus is not None and not torch.cuda.is_available():
        notes.append("No GPU is here to calibrate on: this is for cores alone.")
        gpus = None
    device = "cpu" if gpus is None else "cuda"
    processes = 1 if gpus else min(max(cores), usable_cores())
    with tempfile.TemporaryDirectory(prefix="dwp-") as folder:
        data = _data_of(config, due, Path(folder))
        needed: dict[str, Work] = {}

        def note(work: Work) -> Seconds:
            needed.setdefault(_key(work), work)
            return 0.0, 0.0

        _seconds(due, Costs(config, due, note, data, device))
        start = time.perf_counter()
        results, share = calibrate(
            list(needed.values()), processes=processes, seconds=CALIBRATION_SECONDS
        )
        took = time.perf_counter() - start
    measured = dict(zip(needed, results, strict=True))
    differing = _differing(needed.values())
    costs = Costs(config, due, lambda work: measured[_key(work)], data, device)
    seconds = _seconds(due, costs)
    text = table(due, everything, seconds, costs.bounds, cores=cores, gpus=gpus, before=planning)
    notes.append(
        f"Calibrated in {took:.0f} s, {processes} process{'es' if processes > 1 else ''} at once"
        f" on {usable_cores()} core{'s' if usable_cores() > 1 else ''} of this machine: "
        + "; ".join(_describe(work, measured[key], differing) for key, work in needed.items())
        + "."
    )
    if device == "cpu" and share < 0.9:
        notes.append(
            f"The machine is busy: the calibration got {share:.0%} of a core. The times are "
            "those of a machine that is left to the workflow."
        )
    if max(cores) > usable_cores():
        notes.append("Cores beyond those here are taken to be as fast as these all at once.")
    if costs.bounds:
        notes.append("At most (*): how many kernels pass a threshold is not known before.")
    return "\n".join([text, *(textwrap.fill(line, 100) for line in notes)])


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def table(
    due: Sequence[Job],
    everything: Sequence[Job],
    seconds: Sequence[Mapping[tuple[str, str], float]],
    bounds: Iterable[tuple[str, str]],
    *,
    cores: Sequence[int],
    gpus: int | None = None,
    before: float = 0.0,
) -> str:
    """Return the plan as an aligned table, a line for each domain and stage and one for all.

    A stage's wall time is that from the start of its first job to the end of its last; stages
    overlap.

    Args:
        due: the jobs to run.
        everything: the jobs to run if nothing were there.
        seconds: of each job that is due, by domain and stage.
        bounds: (domain, stage) whose seconds are upper bounds.
        cores: numbers of cores.
        gpus: number of GPUs; None: none.
        before: seconds that Snakemake takes before the first job.
    """
    bounds = set(bounds)
    total = [sum(parts.values()) for parts in seconds]
    times = [schedule(due, total, cores=number, gpus=gpus) for number in cores]
    header = ["stage", "runs", "cached", "jobs", "core-hours"]
    header += ["GPU-hours"] * (gpus is not None)
    header += [f"wall, {number} core{'s' if number > 1 else ''}" for number in cores]
    lines = [header]
    all_runs, due_runs = _count(everything), _count(due)
    order = list(STAGES)
    for place in sorted(all_runs, key=lambda place: (place[0], order.index(place[1]))):
        mine = [number for number, parts in enumerate(seconds) if place in parts]
        hours = sum(seconds[number][place] for number in mine) / 3600
        mark = "*" if place in bounds else ""
        runs = due_runs.get(place, 0)
        line = [f"{place[0]}: {place[1]}", runs, all_runs[place] - runs, len(mine)]
        line += [f"{hours:.3f}{mark}"]
        line += [f"{hours * (place[1] in _TRAINING):.3f}{mark}"] * (gpus is not None)
        for when in times:
            starts, ends = (
                zip(*(when[number] for number in mine), strict=True) if mine else ((0,), (0,))
            )
            line.append(duration(max(ends) - min(starts)) + mark)
        lines.append(line)
    mark = "*" if bounds else ""
    line = ["all", sum(due_runs.values())]
    line += [sum(all_runs.values()) - sum(due_runs.values()), len(due)]
    line += [f"{sum(total) / 3600:.3f}{mark}"]
    if gpus is not None:
        on_gpu = sum(
            s for parts in seconds for (_, stage), s in parts.items() if stage in _TRAINING
        )
        line += [f"{on_gpu / 3600:.3f}{mark}"]
    for when in times:
        line.append(
            duration(before * bool(due) + max((end for _, end in when), default=0.0)) + mark
        )
    lines.append(line)
    cells = [[str(cell) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in cells
    )


def duration(seconds: float) -> str:
    """Return seconds as text, such as 45 s, 3 min 20 s or 7 h 05 min."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _seconds(due: Sequence[Job], costs: Costs) -> list[dict[tuple[str, str], float]]:
    return [costs.job(job) for job in due]


def _count(jobs: Iterable[Job]) -> Counter:
    return Counter((run.domain, run.stage) for job in jobs for run in runs_of(job))


def _data_of(config: Mapping[str, Any], due: Sequence[Job], folder: Path) -> dict[str, Any]:
    """Describe the data of the domains whose data are read by jobs that are due."""
    reading = {"data", *_TRAINING} - {"priors"}
    domains = {run.domain for job in due for run in runs_of(job) if run.stage in reading}
    return {
        domain: {role: describe_data(config, domain, role, folder) for role in ("source", "target")}
        for domain in domains
    }


def _key(work: Work) -> str:
    return json.dumps(work, sort_keys=True)


def _differing(works: Iterable[Work]) -> set[tuple[str, str]]:
    """Return the (work, setting) that have several values among the works."""
    values: dict[tuple[str, str], set[str]] = {}
    for work in works:
        for name, value in work.get("settings", {}).items():
            values.setdefault((work["work"], name), set()).add(as_text(value))
    return {place for place, found in values.items() if len(found) > 1}


def _describe(work: Work, seconds: Seconds, differing: Collection[tuple[str, str]]) -> str:
    """Return what was measured, in words, with the settings that tell it from the like."""
    fixed, unit = seconds
    settings = [
        f"{name} {as_text(value)}"
        for name, value in work.get("settings", {}).items()
        if (work["work"], name) in differing
    ]
    told = f" ({', '.join(settings)})" if settings else ""
    priors = work.get("priors")
    kind = "deterministic" if not priors else next(iter(priors.values()))["kind"]
    return {
        "start": lambda: f"a job's start {_short(fixed)}",
        "training_start": lambda: f"one that trains {_short(fixed)}",
        "test_start": lambda: f"one that tests {_short(fixed)}",
        "figure": lambda: f"a figure {_short(fixed)}",
        "read": lambda: f"reading {Path(work['data']).stem} {_short(unit)}",
        "source_net": lambda: (
            f"a step of {work['nets']} source net{'s' * (work['nets'] > 1)}{told} {_short(unit)}"
        ),
        "source_accuracy": lambda: f"its prediction of 500 images{told} {_short(unit)}",
        "prior": lambda: (
            f"{'an epoch' if work['training'] else 'the fit'} of a {work['size']}x{work['size']} "
            f"{work['kind']} on {work['kernels']} kernels {_short(unit)}"
        ),
        "prior_score": lambda: (
            f"a {work['size']}x{work['size']} {work['kind']}'s density of {work['kernels']} "
            f"kernels {_short(unit)} a sample"
        ),
        "classifier": lambda: f"a step of {kind} on {work['images']} images{told} {_short(unit)}",
        "classifier_test": lambda: f"{kind} tested on {2 * IMAGES} images{told} {_short(unit)}",
        "features": lambda: f"features of 250 images {_short(unit)}",
        "feature_classifier": lambda: f"100 steps on them {_short(unit)}",
        "convergence": lambda: f"a step of a whole {work['settings']['kind']} {_short(unit)}",
    }[work["work"]]()


def _short(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"
