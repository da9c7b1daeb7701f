"""The metrics of a trained classifier."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from dwp.devices import Precision
from dwp.evaluation.metrics import classification_metrics, ood_auroc
from dwp.fast import visible
from dwp.isolated import isolated
from dwp.nn.bayesian import bayesian_layers, kl
from dwp.nn.predict import predict
from dwp.priors.kl import DEFAULT, Estimation
from dwp.seeds import Source

_KL_DRAWS = 10  # draws that a reported KL is averaged over, for pairs where it is estimated


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
