"""What jobs cost: one model for the time they ask a cluster for and for `python -m dwp plan`.

A job takes start + operations / rate seconds. Its operations follow from the settings. Its rate is
that of earlier jobs of its kind (rule, domain, prior); else, for a plan, it is measured with a
reduced job; else it is that of earlier jobs of its rule; else `RATE`.
"""

import ast
import heapq
import math
import multiprocessing
import os
import statistics
import time
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

from safetensors import safe_open

from dwp.data import registered
from dwp.errors import UserError
from dwp.priors.pretrained import pretrained_arguments
from dwp.registry import NETWORKS, class_facts
from dwp.study.settings import DataChoice, FitTraining, PriorFit, RunSettings, read_config
from dwp.study.study import JOB_ENVIRONMENT, Study

RATE = 1e11  # operations a second of a core: half of what one with AVX-512 does at best
STEP = 1e8  # operations that a training step is worth, but for those on its images
# Seconds: of a job with operations until it trains, of a job without them as a share of it, and of
# every job's end and Snakemake's part in it
START, SMALL, OVERHEAD = 2.5, 0.5, 0.3

_IMAGES = {"digits": (1297, 500), "four-shapes": (13_000, 1970), "glyphs": (4000, 1000)}
_IMAGES |= dict.fromkeys(("cifar10", "cifar100"), (50_000, 10_000))
_MOST_KERNELS = 100_000  # of a layer, as long as its kernels are not there
_READ = ("domain", "prior", "layer", "variant", "n", "experiment", "scale")  # wildcards
_FOLDERS = "data source kernels priors classification features convergence tables figures"
# Products of a VAE's encoder and decoder for a kernel, over their squared width, by kernel size
_VAE = {3: (2, 18), 5: (423, 410), 7: (198, 774), 16: (1872, 3072)}

# Operations


class Work(NamedTuple):
    """The work of a job: how many runs it has, and of each run training steps and predictions.

    Attributes:
        runs: nets or priors.
        steps: training steps of a run, of classifiers epochs.
        step: operations of a step, but for `STEP`.
        predicted: images or kernels that a run predicts.
        prediction: operations of a prediction.
    """

    runs: int = 0
    steps: int = 0
    step: float = 0
    predicted: int = 0
    prediction: float = 0

    @property
    def operations(self) -> int:
        """About how many floating-point operations the job does, two a product."""
        predictions = self.predicted * self.prediction
        return round(self.runs * (self.steps * (self.step + STEP) + predictions))


def work(study: Study, rule: str, w: Any) -> Work:
    """Return the work of a job; one that neither trains nor predicts has no runs.

    Args:
        study: the study.
        rule: the name of the job's rule.
        w: the job's wildcards, as attributes.
    """
    _, batches = _run(study, rule, w)
    one = _work_of_run(study, rule, *(getattr(w, name, None) for name in _READ))
    return one._replace(runs=one.runs * (len(batches[int(w.batch)]) if batches else 1))


@cache  # the same for every initialisation, split and seed
def _work_of_run(study: Study, rule: str, *wildcards: str | None) -> Work:
    """Return the work of a run of a job, from those wildcards that count (`_READ`)."""
    w = SimpleNamespace(**dict(zip(_READ, wildcards, strict=True)))
    domain, (settings, batches) = w.domain, _run(study, rule, w)
    if rule == "prior_score":
        # of test kernels and 1,001 more (`dwp.evaluation.scores`); of 200 that move (`modes`)
        sample, step = 0.0, 0.0
        for name, layer in study.scored_priors(domain):
            if name == w.prior:
                train, test = kernel_counts(study, domain, layer)
                density = _density(study.prior_fit(domain, name, layer), train)
                sample += (test + 1001) * density
                step += 3 * 200 * density
        steps = study.domains[domain].bound_steps
        return Work(1, steps, step, study.importance_samples(domain, w.prior), sample)
    if rule == "prior" and (training := settings.training):  # else in closed form, or taken
        kernels = math.ceil((1 - training.quantile) * kernel_counts(study, domain, w.layer)[0])
        kernels = min(kernels, training.kernels or math.inf)
        steps = training.epochs * math.ceil(kernels / training.batch_size)
        return Work(1, steps, 3 * min(kernels, training.batch_size) * _density(settings, kernels))
    if rule == "shift":
        section, passes = study.domains[domain].classification, 0.0
        for cell in study.shift_cells(domain):
            own = {"domain": domain, **cell}
            net = _work_of_run(study, "classifiers", *map(own.get, _READ))
            passes += net.runs * net.prediction
        images = len(section.rotations) * min(_images(study.domains[domain].data.target)[1], 2000)
        return Work(1, 0, 0, len(section.splits) * len(section.seeds) * images, passes)
    if not batches:
        return Work()
    (source, others), (train, test) = (_images(choice) for _, choice in study.domains[domain].data)
    layers = _layers(study, domain, [float(w.scale or 1) * n for n in settings.filters])
    image, batch = sum(operations for _, operations in layers.values()), settings.batch_size
    if rule == "source_nets":  # a gradient is two passes more
        steps = settings.epochs * math.ceil(source / batch)
        return Work(1, steps, 3 * batch * image, source + others, image)
    if rule == "features":
        return Work(1, settings.epochs * math.ceil(train / batch), 0, train + test, image)
    if rule == "convergence_nets":
        image *= 2 if settings.kind == "image-vae" else 1  # MNIST's net and its mirror image
        predicted = (1 + settings.steps // settings.evaluate_every) * test
        return Work(1, settings.steps, 3 * batch * image, predicted, image)
    bayesian, name, of_net = _priors(study, w, settings)
    image *= 2 if bayesian else 1  # mean and variance
    steps, of_kernels = math.ceil(int(w.n) / batch), 0.0  # of an epoch, of the KL in a step
    for layer in of_net:
        kernels = min(layers[layer][0], settings.kernels_per_step or math.inf)
        fit, (fitted, _) = study.prior_fit(domain, name, layer), kernel_counts(study, domain, layer)
        of_kernels += 2 * kernels * _density(fit, fitted, settings.latent_samples)
    epoch = 3 * int(w.n) * image + steps * of_kernels + (steps - 1) * STEP
    predicted = math.ceil(settings.epochs / settings.evaluate_every) * settings.validation
    image *= max(settings.samples, 1) if bayesian else 1
    return Work(settings.members, settings.epochs, epoch, predicted + test + others, image)


def _run(study: Study, rule: str, w: Any) -> tuple[Any, list[list]]:
    """Return the settings of a run of a job, and the batches of its cell's runs."""
    if rule == "prior":
        return study.prior_fit(w.domain, w.prior, w.layer), []
    if rule == "source_nets":
        return study.source_training(w.domain), study.source_batches(w.domain)
    if rule == "classifiers":
        settings = study.run_settings(w.domain, w.prior, w.variant)
        return settings, study.run_batches(w.domain)
    if rule == "features":
        return study.feature_training(w.domain), study.feature_batches(w.domain)
    if rule == "convergence_nets":
        settings = study.convergence_training(w.domain, w.experiment)
        return settings, study.convergence_batches(w.domain, w.experiment)
    return None, []


def _priors(study: Study, w: Any, settings: RunSettings) -> tuple[bool, str | None, list[str]]:
    """Return whether a run is Bayesian, the prior that its loss has, and in which layers."""
    if layers := study.prior_layers(w.domain, w.prior, w.variant):
        return True, w.prior, layers
    return False, settings.penalty, list(study.kernel_sizes(w.domain)) if settings.penalty else []


def _images(choice: DataChoice) -> tuple[int, int]:
    """Return the numbers of training and test images of a source or target."""
    train, test = _IMAGES.get(choice.dataset, (60_000, 10_000))
    train = choice.train[1] - choice.train[0] if choice.train else train
    test = choice.test[1] - choice.test[0] if choice.test else test
    share = len(choice.classes) / registered(choice.dataset).classes if choice.classes else 1
    return max(round(share * train), choice.enlarge or 0), round(share * test)


def _layers(study: Study, domain: str, filters: list[float]) -> dict[str, tuple[int, float]]:
    """Return the kernels of each convolution of a net, and its operations on an image.

    As in the paper's nets: no padding, one max-pool after the first convolution.
    """
    network, found = study.domains[domain].network, {}
    inputs, side, _ = class_facts("network", network, NETWORKS, "image_shape")["image_shape"]
    for (layer, size), outputs in zip(study.kernel_sizes(domain).items(), filters, strict=False):
        side = max((side // 2 if len(found) == 1 else side) - size + 1, 1)
        found[layer] = round(inputs * outputs), 2 * size**2 * side**2 * inputs * outputs
        inputs = outputs
    return found


def kernel_counts(study: Study, domain: str, layer: str) -> tuple[int, int]:
    """Return the numbers of training and test kernels of a layer: a guess until it has them."""
    file = Path(study.results, domain, "kernels", f"{layer}.safetensors")
    if file.is_file():
        with safe_open(file, framework="np") as kernels:
            return tuple(kernels.get_slice(part).get_shape()[0] for part in ("train", "test"))
    nets, settings = study.domains[domain].source_nets, study.collected_kernels(domain, layer)
    count: float = _MOST_KERNELS
    if settings.collected:
        collected = nets.count * _layers(study, domain, nets.filters)[layer][0]
        count = min(count, collected * (1 - (settings.quantile or 0)))
    test = max(1, round(settings.test_fraction * count))
    return round(count) - test, test


def _density(fit: PriorFit, fitted: int, latent_samples: int = 1) -> float:
    """Return the operations of the log density of a kernel, of a VAE its bound's.

    Args:
        fit: of the prior.
        fitted: how many kernels it is fitted to.
        latent_samples: draws of z in the bound.
    """
    weights, own = fit.kernel_size**2, fit.hyperparameters
    if fit.pretrained:
        own = pretrained_arguments(fit.pretrained)
    if fit.kind == "vae":
        encoder, decoder = _VAE.get(fit.kernel_size, (10 * weights, 10 * weights))
        return 2 * own.get("hidden", 64) ** 2 * (encoder + latent_samples * decoder)
    if fit.kind == "kernel-density":  # a product and an exponential for each of some kernels
        return (2 * weights + 20) * (own.get("n") or own.get("centres") or fitted)
    return 2 * weights**2 * own.get("components", own.get("transforms", 1))


# Rates


def kind_of(rule: str, w: Any, gpu: int) -> tuple[str, int, str, str]:
    """Return the kind of a job: its rule, whether on a GPU, its domain, its prior or experiment.

    Scores are of one kind with the fits of their prior.
    """
    third = getattr(w, "prior", getattr(w, "experiment", ""))
    return rule.removesuffix("_score"), gpu, w.domain, third


@cache
def earlier_rates(folder: str = "logs") -> dict[tuple, float]:
    """Return the median rates of earlier jobs, by kind, and by rule and whether on a GPU.

    They come from all `benchmark:` files below a folder.
    """
    found = defaultdict(list)
    for file in sorted(Path(folder).glob("*/**/*.tsv")):
        try:
            names, values = file.read_text("utf-8").splitlines()
            row = dict(zip(names.split("\t"), values.split("\t"), strict=True))
            w, asked = (ast.literal_eval(row[name]) for name in ("wildcards", "resources"))
            kind = kind_of(row["rule_name"], SimpleNamespace(**w), asked.get("gpu", 0))
            rate = asked["operations"] / max(float(row["s"]) - START, 0.1 * float(row["s"]), 0.1)
        except (AttributeError, KeyError, ValueError, SyntaxError):
            continue  # made without `benchmark-extended`
        for key in (kind, kind[:2]) if rate else ():
            found[key].append(rate)
    return {key: statistics.median(rates) for key, rates in found.items()}


def minutes(study: Study, rule: str, w: Any, attempt: int) -> int:
    """Return the minutes that a job asks a cluster for: twice what it takes, more each attempt.

    Args:
        study: the study.
        rule: the name of the job's rule.
        w: the job's wildcards, as attributes.
        attempt: 1 for the first.
    """
    kind = kind_of(rule, w, int(study.settings.device != "cpu" and rule != "prior_score"))
    rate = earlier_rates().get(kind) or earlier_rates().get(kind[:2], RATE)
    seconds = START + work(study, rule, w).operations / rate
    asked = attempt * max(20, math.ceil(2 * seconds / 60))
    return min(asked, study.settings.longest_job_minutes)


# Measurement, in processes of their own that have the environment of jobs


def measure(study: Study, rule: str, w: Any, device: str) -> tuple[float, float]:
    """Return the seconds in which a job starts, and its rate on made-up images and kernels.

    The rate is what a longer run does more than a shorter in the seconds that it takes more. On a
    CPU the seconds are the processor's: other programs on the machine lengthen them little.
    """
    import torch

    torch.set_num_threads(1)
    clock = time.perf_counter if device == "cuda" else time.process_time
    _, batches = _run(study, rule, w)
    runs = len(batches[int(w.batch)]) if (rule, device) == ("classifiers", "cuda") else 1
    whole, taken = work(study, rule, w)._replace(runs=runs), []
    for goal in (0, 0, RATE):  # the first imports, and makes ready what shapes need
        part, start = goal / whole.operations, clock()
        steps, predicted = 1 + math.ceil(part * whole.steps), math.ceil(part * whole.predicted)
        reduced = whole._replace(steps=steps, predicted=predicted)
        _train(study, rule, w, reduced, device)
        taken.append((reduced.operations, clock() - start, time.process_time()))
    (*_, begin), (few, short, _), (many, long, _) = taken
    return begin, (many - few) / max(long - short, 1e-3)


def _train(study: Study, rule: str, w: Any, reduced: Work, device: str) -> None:
    """Train and predict as the runs of a job do, but only so much."""
    from dwp.training import classification, convergence, features, source

    (settings, _), data = _run(study, rule, w), study.domains[w.domain].data
    steps, predicted, options = reduced.steps, reduced.predicted, {"init": None, "device": device}
    if rule == "prior":
        update = {"epochs": steps, "kernels": settings.training.batch_size}
        _fitted(settings, 0, settings.training.model_copy(update=update), device)
    elif rule == "classifiers":
        n, predicted = int(w.n), max(predicted, 20)
        own = {"epochs": steps, "evaluate_every": steps, "validation": predicted, "members": 1}
        bayesian, name, layers = _priors(study, w, settings)
        fits = {each: study.prior_fit(w.domain, name, each) for each in layers}
        priors = {k: _fitted(v, kernel_counts(study, w.domain, k)[0]) for k, v in fits.items()}
        priors = priors or None
        options |= {"n": n, "priors": None, "priors" if bayesian else "penalty": priors}
        images = _made_up(data.target, n + predicted + 100, 1)
        runs = [(0, seed) for seed in range(reduced.runs)]
        classification.train_classifiers(images, settings.model_copy(update=own), runs, **options)
    elif rule == "convergence_nets":
        update = {"steps": steps, "evaluate_every": steps, "sample_steps": []}
        images = _made_up(data.target, settings.batch_size, 1 + predicted // 2)
        convergence.train_from(images, settings.model_copy(update=update), seed=0, **options)
    else:
        choice, update = data.source if rule == "source_nets" else data.target, {"epochs": steps}
        images = _made_up(choice, settings.batch_size, 1 + predicted)
        settings = settings.model_copy(update=update)
        if rule == "source_nets":
            source.train_source_nets(images, settings, [0], device=device)
        else:
            features.train_on_features(images, settings, scale=float(w.scale), seed=0, **options)


def _made_up(choice: DataChoice, train: int, test: int) -> Any:
    import torch

    from dwp.data.tensors import ImageTensors

    _, shape, classes = registered(choice.dataset)
    images = torch.randint(256, (train + test, *shape), dtype=torch.uint8)
    targets = torch.arange(train + test) % len(choice.classes or range(classes))
    return ImageTensors(images[:train], targets[:train], images[train:], targets[train:])


def _fitted(
    fit: PriorFit, count: int, training: FitTraining | None = None, device: str = "cpu"
) -> Any:
    """Return a prior of made-up kernels, `count` if its cost depends on their number."""
    import torch

    from dwp.priors import load_prior
    from dwp.training.prior import fit_prior

    if fit.pretrained:
        return load_prior(fit.pretrained)
    own = {"vae": {"hidden": 64, "latent": 4}, "kernel-density": {"bandwidth": 0.1}}
    own = own.get(fit.kind, {}) | fit.hyperparameters
    few = 100 + 2 * fit.kernel_size**2
    kernels = own.get("centres") or count if fit.kind == "kernel-density" else few
    training = training or FitTraining(epochs=1, kernels=kernels)
    kernels = 0.1 * torch.randn(training.kernels, fit.kernel_size, fit.kernel_size)
    return fit_prior(fit.kind, fit.kernel_size, kernels, own, training, device=device)[0]


# The plan


class Job(NamedTuple):
    """A job that is to run: its stage, rule, wildcards, and the numbers of the jobs before it."""

    stage: str
    rule: str
    w: Any
    after: frozenset[int] = frozenset()
    threads: int = 1
    gpu: int = 0


def due_jobs(config: str) -> tuple[list[Job], Counter[str]]:
    """Return the jobs that are to run, and how many of each stage are done, as Snakemake says.

    Raises:
        UserError: Snakemake refuses the workflow.
    """
    from snakemake import api
    from snakemake.settings import types

    output = types.OutputSettings(quiet={types.Quietness.ALL}, enable_file_logging=False)
    configs = types.ConfigSettings(configfiles=[Path(config)])
    try:
        with api.SnakemakeApi(output) as snakemake:
            workflow = snakemake.workflow(types.ResourceSettings(cores=1), configs)
            workflow.dag(
                types.DAGSettings(force_incomplete=True, max_checksum_file_size=10**11)
            ).execute_workflow("dryrun")
            dag = workflow._workflow.dag
    except Exception as error:
        raise UserError(f"{config}: Snakemake fails: {' '.join(str(error).split())}") from error
    # results/NAME/DOMAIN/FOLDER/...
    stages = {job: ": ".join(str(job.output[0]).split("/")[2:4]) for job in dag.jobs if job.output}
    needed = [job for job in dag.needrun_jobs(exclude_finished=False) if job in stages]
    numbers = {job: number for number, job in enumerate(needed)}
    jobs = []
    for job in needed:
        w, gpu = SimpleNamespace(**job.wildcards_dict), job.resources.get("gpu", 0)
        after = frozenset(map(numbers.get, dag.dependencies[job])) - {None}
        jobs.append(Job(stages[job], job.rule.name, w, after, job.threads, gpu))
    return jobs, Counter(stage for job, stage in stages.items() if job not in numbers)


def schedule(jobs: list[Job], seconds: list[float], cores: int, gpus: float) -> list[tuple]:
    """Return when each job starts and ends, in seconds, if every job starts as soon as it can.

    A job waits for those that make its inputs, then for free cores (and a GPU); among those that
    can start, the first in the list does.

    Args:
        jobs: what is to run.
        seconds: of each job.
        cores: how many there are; a job that asks for more takes all.
        gpus: how many there are; infinity: no job waits for one.
    """
    free, now, ended = (cores, gpus), 0.0, set()
    waiting, running, times = dict(enumerate(jobs)), [], {}
    while waiting or running:
        for number, job in list(waiting.items()):
            left = free[0] - min(job.threads, cores), free[1] - job.gpu
            if job.after <= ended and min(left) >= 0:
                free, times[number] = left, (now, now + seconds[number])
                heapq.heappush(running, (times[number][1], number))
                del waiting[number]
        now, number = heapq.heappop(running)
        free = free[0] + min(jobs[number].threads, cores), free[1] + jobs[number].gpu
        ended.add(number)
    return [times[number] for number in range(len(jobs))]


def predict(study: Study, jobs: list[Job], processes: int, device: str) -> list[float]:
    """Return the seconds that each job takes.

    Args:
        study: the study.
        jobs: of the study.
        processes: how many measure at once: as many as jobs will run.
        device: where nets are trained.
    """
    from tqdm import tqdm  # here: what it shows is not switched off below

    counts = [work(study, job.rule, job.w).operations for job in jobs]
    kinds = [kind_of(job.rule, job.w, job.gpu) for job in jobs]
    rates, start, largest = dict(earlier_rates()), START, {}
    for count, kind, job in sorted(zip(counts, kinds, jobs, strict=True), key=lambda each: each[0]):
        if count > 0.1 * RATE and kind not in rates and job.rule not in ("prior_score", "shift"):
            largest[kind] = study, job.rule, job.w, device
    if largest:
        spawn, tasks = multiprocessing.get_context("spawn"), zip(*largest.values(), strict=True)
        of_jobs = {**JOB_ENVIRONMENT, "TQDM_DISABLE": "1"}  # spawned processes inherit it
        with mock.patch.dict(os.environ, of_jobs), ProcessPoolExecutor(processes, spawn) as pool:
            found = tqdm(pool.map(measure, *tasks), "measuring", len(largest), delay=2)
            starts, measured = zip(*found, strict=True)
        rates, start = rates | dict(zip(largest, measured, strict=True)), min(starts)
    return [
        OVERHEAD + (start + count / rates.get(kind, RATE) if count else SMALL * start)
        for kind, count in zip(kinds, counts, strict=True)
    ]


def plan(config: str, cores: list[int], gpus: int | None = None) -> str:
    """Return what a run of the workflow would do, and how long it would take, as text.

    A stage's wall time is that from its first job's start to its last job's end; stages overlap.

    Args:
        config: as for `snakemake --configfile`; the current folder is the project's.
        cores: numbers of cores to plan for.
        gpus: the number of GPUs to plan for, like the one here.

    Raises:
        UserError: this is not the project's folder, or the config is refused.
    """
    import pandas as pd
    import torch
    from snakemake.utils import available_cpu_count

    study, begin = Study(read_config(config), config, root=Path.cwd()), time.perf_counter()
    jobs, done = due_jobs(config)
    before = time.perf_counter() - begin if jobs else 0.0
    limit, gpu = gpus or math.inf, gpus is not None and torch.cuda.is_available()
    processes = 1 if gpu else min(max(cores), available_cpu_count())
    seconds = predict(study, jobs, processes, "cuda" if gpu else "cpu")
    times = {number: schedule(jobs, seconds, number, limit) for number in cores}
    stages = {*done, *(job.stage for job in jobs)}
    stages = sorted(stages, key=lambda each: (each.split()[0], _FOLDERS.find(each.split()[1])))
    rows, done["all"] = {}, done.total()
    for stage in [*stages, "all"]:
        own = [number for number, job in enumerate(jobs) if stage in (job.stage, "all")]
        row = rows[stage] = {"jobs": len(own), "done": done[stage]}
        row["core-hours"] = f"{sum(seconds[number] for number in own) / 3600:.3f}"
        if gpus is not None:
            row["GPU-hours"] = f"{sum(seconds[n] * jobs[n].gpu for n in own) / 3600:.3f}"
        for number, of_jobs in times.items():
            starts, ends = zip(*(of_jobs[n] for n in own), strict=True) if own else ((0,), (0,))
            wall = max(ends) - min(starts) + (before if stage == "all" else 0)
            row[f"wall, {number} core{'s' * (number > 1)}"] = str(timedelta(seconds=round(wall)))
    note = "\nNo GPU is here: trainings are timed on a core." * (gpus is not None and not gpu)
    return pd.DataFrame.from_dict(rows, orient="index").to_string() + note
