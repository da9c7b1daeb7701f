"""Training a net on few examples under a prior over its kernels."""

import functools
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dwp.data.distort import distort
from dwp.data.subsets import few_shot_subset
from dwp.data.tensors import ImageTensors, to_unit
from dwp.devices import Precision, products
from dwp.fast import visible
from dwp.isolated import isolated, seed_globally
from dwp.kernels import variety
from dwp.nn.bayesian import BayesianConv2d, bayesianize, kl
from dwp.nn.dropout import Dropout
from dwp.nn.elbo import cross_entropy, negative_elbo
from dwp.nn.init import initialise
from dwp.nn.networks import build_network, network_class
from dwp.nn.predict import predict
from dwp.nn.stack import OneAfterAnother, stack, unstack
from dwp.priors import Estimation, KernelPrior
from dwp.seeds import Source, generator
from dwp.study.settings import RunSettings, validated
from dwp.training.loop import Records, by_epochs, one_by_one, optimise
from dwp.training.source import l2_penalty, logits_of_runs

Priors = Mapping[str, KernelPrior] | None
"""Priors by the name of the layer."""

# Of a probability whose log is taken: that of `dwp.evaluation.metrics`, which is not imported, for
# a change of a metric would train every net again
_FLOOR = torch.finfo(torch.float32).tiny


def build_classifier(
    settings: RunSettings | Mapping[str, Any], classes: int, priors: Priors
) -> nn.Module:
    """Return the untrained net of a run, or its ensemble of `members`, to load a state into.

    Args:
        settings: of the run.
        classes: number of classes.
        priors: of the layers to be Bayesian, by name; None: a plain net.
    """
    settings = validated(RunSettings, settings)
    return stack([_build_member(settings, classes, priors) for _ in range(settings.members)])


def _build_member(
    settings: RunSettings, classes: int, priors: Priors, init: Priors = None, seeds: tuple = ()
) -> nn.Module:
    """Return one net of a run; with seeds its weights are drawn."""
    if seeds:
        seed_globally("classification", *seeds)
    net = build_network(settings.network, filters=settings.filters, classes=classes)
    if settings.dropout is not None:
        net.classifier = nn.Sequential(Dropout(settings.dropout), net.classifier)
    if seeds:
        initialise(net, init, generator("classification", "initial", *seeds))
    if priors is not None:
        codes = "codes" if settings.posterior == "codes" else None
        layers = settings.bayesian_layers  # None: those that have priors
        start: Any = settings.log_variance
        if isinstance(start, list):
            start = dict(zip(network_class(settings.network).kernel_sizes, start, strict=True))
        bayesianize(net, priors, layers=layers, posterior=codes, log_variance=start)
    return net


def member_seeds(run: tuple[int, int], members: int) -> list[tuple[int, ...]]:
    """Return the parts of the seeds of a run's members; the first are the run's own."""
    return [run, *((*run, member) for member in range(1, members))]


def estimation_of(settings: RunSettings) -> Estimation:
    """Return how the settings have a KL computed."""
    return Estimation(settings.kl_estimator, settings.kl_bound, settings.latent_samples)


def prior_penalty(
    net: nn.Module,
    priors: Mapping[str, KernelPrior],
    noise: Source = None,
    precision: Precision = "float32",
    runs: int = 1,
) -> Tensor:
    """Return -log p of all kernels of named layers of each run's net, in nats (R,).

    Of a prior whose density is bounded only (a VAE), minus an unbiased estimate of the bound. Added
    to the summed cross-entropy of the training set it makes a net a maximum a posteriori estimate.

    Args:
        net: a net, or a stack of R of them (see `dwp.nn.stack`).
        priors: by the name of the layer.
        noise: where estimates draw from; see `dwp.seeds.standard_normal`.
        precision: of the products inside priors that are nets (see `dwp.devices.products`).
        runs: the number R of runs.
    """
    total = []
    for name, prior in priors.items():
        kernels = net.get_submodule(name).weight.flatten(0, 1)  # (R * out * in, k, k)
        with products(precision if prior.trained else "float32", kernels.device.type):
            total.append(prior.loss(kernels, noise).view(runs, -1).sum(1))
    return sum(total)


@isolated()
def train_classifiers(
    target: ImageTensors,
    settings: RunSettings | Mapping[str, Any],
    runs: Sequence[tuple[int, int]],
    *,
    n: int,
    priors: Priors,
    init: Priors,
    penalty: Priors = None,
    device: str = "cpu",
    tolerant: bool = False,
    **options: Any,
) -> list[tuple[nn.Module, Records]]:
    """Train nets on stratified subsets of the target data set, all together as one stack.

    A run's result does not depend on the others but for rounding: its weights, its batches and its
    noise are its own. Runs that share `init`, split and seed start from the same weights and see
    the same images, whatever their prior. Nets that cannot compute side by side (see
    `dwp.nn.stack`) are trained one after another.

    Args:
        target: the target data set.
        settings: of a run. A net without priors is trained on the mean cross-entropy plus `l2`
            times the sum of squares of the convolutions.
        runs: (split, seed) of each run: which subset of the training set, and the seed of the
            initial weights, the batches and the noise.
        n: training examples of a run.
        priors: of the layers to be Bayesian, by name; None trains a deterministic net.
        init: what the kernels of named layers start from; None: Xavier-normal.
        penalty: of a net without priors: adds 1/N * (-log p) of the kernels of named layers to the
            loss, N = n (see `prior_penalty`).
        device: where to train.
        tolerant: a run whose loss is not finite does not stop the others: the weights that it
            returns and its last records are NaN.
        **options: how to keep and resume the training of all runs, and its name: `checkpoint`,
            `checkpoint_seconds`, `deadline`, `identity` and `label` of
            `dwp.training.loop.optimise`.

    Returns:
        For each run the net, and the records, one every `evaluate_every` epochs: the terms of the
        loss (`penalty` in nats of all kernels; a KL is that at temperature 1), and
        `validation_accuracy` and `validation_nll` (mean nats) of the ensemble of weight samples,
        and the `variety_<layer>` of each layer's kernels or codes (see `dwp.kernels.variety`).
        The members of an ensemble differ in their initial weights, batches and noise; the first is
        what the run would be alone. The net is their stack (see `dwp.nn.stack`), and the terms
        of the loss are those of the first.

    Raises:
        UserError: a setting does not fit, the training set is too small, or a loss is not finite
            (unless `tolerant`).
        OutOfTime: the deadline has passed.
    """
    settings = validated(RunSettings, settings)
    members = settings.members
    seeds = [own for run in runs for own in member_seeds(run, members)]
    nets = [_build_member(settings, target.classes, priors, init, own) for own in seeds]
    for net in nets:
        net.to(device, memory_format=torch.channels_last)
    stacked = stack(nets)
    if len(runs) > 1 and isinstance(stacked, OneAfterAnother):
        own = {"n": n, "priors": priors, "init": init, "penalty": penalty, "tolerant": tolerant}
        train = functools.partial(train_classifiers, target, settings, device=device, **own)
        return one_by_one(train, runs, options)
    stacked.to(memory_format=torch.channels_last)
    subsets = [few_shot_subset(target.train_targets, n, s, settings.validation) for s, *_ in seeds]
    chosen = torch.stack([own for own, _ in subsets])  # (R, n)
    images = to_unit(target.train_images[chosen]).to(device)  # (R, n, c, h, w)
    targets = target.train_targets[chosen].to(device)
    height, width = visible(nets[0], images[0, :1]).shape[2:]
    held_out = subsets[0][1]  # the same for all splits
    validation = to_unit(target.train_images[held_out])[..., :height, :width]
    truth = target.train_targets[held_out]
    if penalty is not None:
        penalty = {name: prior.to(device) for name, prior in penalty.items()}
    noise = [generator("classification", "noise", *own, device=device) for own in seeds]
    for layer in stacked.modules():
        if isinstance(layer, (BayesianConv2d, Dropout)):
            layer.generator = noise
    numbers = torch.arange(len(nets), device=device)[:, None]
    layers = network_class(settings.network).kernel_sizes
    shift, warp, precision = settings.shift, settings.warp, settings.precision
    how = {"kernels_per_step": settings.kernels_per_step, "precision": precision}
    how["estimation"] = estimation_of(settings)

    def objective(batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        seen, classes = images[numbers, batch], targets[numbers, batch]
        if shift or warp:
            seen = distort(seen.flatten(0, 1), noise, shift=shift, warp=warp).view_as(seen)
        logits = logits_of_runs(stacked, seen[..., :height, :width])
        data, of_classifier = cross_entropy(logits, classes), 0.0
        scalars = {"train_nll": data.detach()}
        if settings.l2_classifier:
            squares = l2_penalty(stacked, len(nets), nn.Linear)
            of_classifier = settings.l2_classifier * squares
        if priors is not None:
            terms = kl(stacked, noise, reduction="layer", **how)
            total, temperature = sum(terms.values()), settings.kl_temperature
            loss = negative_elbo(logits, classes, total, n, temperature=temperature)
            loss = loss + n * of_classifier
            scalars |= {f"kl_{name}": value.detach() for name, value in terms.items()}
            return loss, {"loss": loss.detach(), **scalars}
        loss = data + settings.l2 * l2_penalty(stacked, len(nets)) + of_classifier
        if penalty is not None:
            minus_log = prior_penalty(stacked, penalty, noise, precision, len(nets))
            loss, scalars["penalty"] = loss + minus_log / n, minus_log.detach()
        return loss, scalars

    def evaluate(step: int) -> list[dict[str, float]]:
        draws = [generator("classification", "validation", *s, step, device=device) for s in seeds]
        predictions = predict(
            stacked,
            validation,
            samples=0 if priors is None else settings.samples,
            generator=draws,
            runs=len(runs),
            members=members,
            precision=settings.test_precision,
        )
        found = []
        for one in predictions.mean(0).chunk(len(runs), 1):
            values = {"validation_accuracy": float((one.argmax(1) == truth).float().mean())}
            values["validation_nll"] = float(F.nll_loss(one.clamp_min(_FLOOR).log(), truth))
            found += [dict(values) for _ in range(members)]
        for state, values in zip(unstack(stacked, len(nets)), found, strict=True):
            for name in layers:
                kernels = state.get(f"{name}.codes", state[f"{name}.weight"])
                values[f"variety_{name}"] = variety(kernels.flatten(0, 1))
        return found

    with products("float32" if precision == "float32" else "tfloat32", device):
        records = optimise(
            stacked,
            objective,
            seeds=[("classification", *own) for own in seeds],
            noise=noise,
            evaluate=evaluate,
            names=[f"split {split}, seed {seed}" for split, seed, *_ in seeds],
            tolerant=tolerant,
            rates={"log_variance": settings.log_variance_rate},
            **by_epochs(settings, n, settings.evaluate_every),
            **options,
        )
    for net, state in zip(nets, unstack(stacked, len(nets)), strict=True):
        net.load_state_dict(state)
    results = []
    for run, first in zip(runs, range(0, len(nets), members), strict=True):
        ensemble, own = stack(nets[first : first + members]), records[first : first + members]
        diverged = [each for each in own if any(map(math.isnan, each[-1].values()))]
        if diverged:
            print(f"split {run[0]}, seed {run[1]}: diverged; lower learning_rate", file=sys.stderr)
            for parameter in ensemble.parameters():
                parameter.data.fill_(torch.nan)
        results.append((ensemble, [*diverged, own[0]][0]))
    return results
