"""The test of a few-shot run: the metrics of its classifier."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from dwp.data.subsets import few_shot_subset
from dwp.data.tensors import ImageTensors, to_unit
from dwp.devices import Precision
from dwp.evaluation.metrics import classification_metrics, ood_auroc
from dwp.fast import visible
from dwp.isolated import isolated
from dwp.nn.bayesian import bayesian_layers, kl
from dwp.nn.predict import predict
from dwp.priors import KernelPrior
from dwp.priors.kl import DEFAULT, Estimation
from dwp.seeds import Source, generator as make_generator
from dwp.study.settings import RunSettings, validated
from dwp.training.classification import build_classifier, estimation_of, member_seeds

_KL_DRAWS = 10  # draws that a reported KL is averaged over, for pairs where it is estimated


@isolated()
def evaluate_run(
    state: Mapping[str, Tensor],
    run: tuple[int, int],
    target: ImageTensors,
    source: ImageTensors,
    *,
    settings: RunSettings | Mapping[str, Any],
    n: int,
    priors: Mapping[str, KernelPrior] | None,
    device: str = "cpu",
) -> dict[str, float | None]:
    """Return the metrics of a run that `train_classifiers` trained (see `evaluate_classifier`).

    Args:
        state: of the net. If it has NaN, as that of a run that diverged, all metrics are None.
        run: its split and seed.
        target: the target data set.
        source: out-of-distribution images: its test images.
        settings: of the training.
        n: training images.
        priors: of the Bayesian layers, by name; None: a plain net.
        device: where to compute.
    """
    settings = validated(RunSettings, settings)
    net = build_classifier(settings, target.classes, priors)
    net.load_state_dict({name: tensor.nan_to_num() for name, tensor in state.items()})
    net.to(device, memory_format=torch.channels_last)
    images, _ = few_shot_subset(target.train_targets, n, run[0], settings.validation)
    seeds = member_seeds(run, settings.members)
    metrics = evaluate_classifier(
        net,
        train=(to_unit(target.train_images[images]), target.train_targets[images]),
        test=(to_unit(target.test_images), target.test_targets),
        out_of_domain=to_unit(source.test_images),
        samples=settings.samples if priors else 0,
        generator=[make_generator("evaluation", *own, device=device) for own in seeds],
        members=settings.members,
        precision=settings.test_precision,
        estimation=estimation_of(settings),
    )
    diverged = any(tensor.isnan().any() for tensor in state.values())
    return dict.fromkeys(metrics) if diverged else dict(metrics)


@isolated()
def evaluate_classifier(
    net: nn.Module,
    *,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    out_of_domain: Tensor,
    samples: int,
    generator: Source,
    members: int = 1,
    precision: Precision = "float32",
    estimation: Estimation = DEFAULT,
) -> dict[str, float]:
    """Return the metrics of a trained net.

    `train_nll` (mean nats per example of one weight sample); for a Bayesian net `kl_<layer>`, `kl`
    and `elbo` (nats, of the whole training set; an estimated KL is the mean of 10 draws; always at
    temperature 1, whatever factor the KL had in training); for the ensemble of all weight samples,
    for one sample and for the mean weights `<which>_accuracy`, `_nll` (mean nats), `_ece`,
    `_brier`; `ensemble_ood_auroc` by predictive entropy. A deterministic net has one prediction,
    so these three are equal. Of an ensemble of nets, `train_nll`, the KL and the ELBO are means
    over the members, `sample` and `mean` are of the first.

    Args:
        net: the trained net; its Bayesian layers, if any, have priors.
        train: training images (n, c, h, w) in [0, 1] and targets (n,).
        test: test images and targets.
        out_of_domain: out-of-distribution images.
        samples: weight samples of the ensemble; 0 for a deterministic net.
        generator: the source of the samples; for an ensemble one for each member.
        members: nets in `net`, if it is a stack of them.
        precision: of the products of predictions; KLs are computed in float32.
        estimation: the bound to report for a KL without a closed form.
    """
    options = {"members": members, "precision": precision}
    some = train[0][:1].repeat(1, members, 1, 1).to(next(net.parameters(), train[0]).device)
    height, width = visible(net, some).shape[2:]
    train, test = ((images[..., :height, :width], targets) for images, targets in (train, test))
    out_of_domain = out_of_domain[..., :height, :width]
    fitted = predict(net, train[0], samples=samples, generator=generator, **options)
    targets = train[1].cpu()
    train_nll = sum(classification_metrics(p, targets)["nll"] for p in fitted) / len(fitted)
    metrics = {"train_nll": train_nll}
    if bayesian_layers(net):
        with torch.no_grad():
            exact = replace(estimation, estimator="exact")
            draws = [
                kl(net, generator, reduction="layer", estimation=exact) for _ in range(_KL_DRAWS)
            ]
        for name in draws[0]:
            metrics[f"kl_{name}"] = sum(float(draw[name].mean()) for draw in draws) / len(draws)
        metrics["kl"] = sum(metrics[f"kl_{name}"] for name in draws[0])
        metrics["elbo"] = -train_nll * len(targets) - metrics["kl"]
    drawn = predict(net, test[0], samples=samples, generator=generator, **options)
    mean = predict(net, test[0], samples=0, **options)[0] if samples else drawn[0]
    predictions = {"ensemble": drawn.mean(0), "sample": drawn[0], "mean": mean}
    for which, probabilities in predictions.items():
        for name, value in classification_metrics(probabilities, test[1]).items():
            metrics[f"{which}_{name}"] = value
    ood = predict(net, out_of_domain, samples=samples, generator=generator, **options).mean(0)
    metrics["ensemble_ood_auroc"] = ood_auroc(predictions["ensemble"], ood)
    return metrics
