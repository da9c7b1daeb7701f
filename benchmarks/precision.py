"""What bfloat16 changes: a DWP's gradient, accuracy of source nets, predictions of few-shot nets.

Takes the gradient of a bound of log p(w) under the DWPs that come with the package, trains source
nets in float32 and in bfloat16 from the same seeds, and Bayesian nets under the standard normal
prior whose test images are predicted in both. Needs MNIST and notMNIST in the folder of the data
(`DWP_DATA`, else `data`).
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import dwp
from dwp.data import data_folder, load_dataset
from dwp.data.tensors import ImageTensors, to_unit
from dwp.devices import products
from dwp.evaluation.metrics import classification_metrics
from dwp.files import write_json
from dwp.nn.predict import predict
from dwp.priors.normal import StandardNormal
from dwp.seeds import generator
from dwp.training.classification import train_classifiers
from dwp.training.source import train_source_nets

SOURCE = {"network": "mnist", "filters": [64, 64], "epochs": 10, "batch_size": 128}
TARGET = {"network": "mnist", "filters": [32, 128], "epochs": 1000, "evaluate_every": 1000}
PRECISIONS = ("float32", "bfloat16")


def images(name: str) -> ImageTensors:
    """Return a data set as tensors."""
    parts = [load_dataset(name, data_folder(None), train=train) for train in (True, False)]
    return ImageTensors(*(t for part in parts for t in (part.images, part.targets)))


def gradient_changes(prior_name: str, n: int = 2048) -> dict[str, float]:
    """Return |gradient in bfloat16 - in float32| / |in float32| of a DWP's loss.

    The median over n samples of the prior and over as much noise of their standard deviation.
    """
    prior = dwp.load_prior(prior_name)
    samples = prior.sample(n, generator("precision", "samples"))  # (n, k, k)
    noise = torch.randn(samples.shape, generator=generator("precision", "noise")) * samples.std()

    def gradient(kernels: Tensor, precision: str) -> Tensor:
        kernels = kernels.clone().requires_grad_()
        with products(precision, "cpu"):
            total = prior.loss(kernels, generator("precision", "codes")).sum()
            return torch.autograd.grad(total, kernels)[0].flatten(1)  # (n, k * k)

    changes = {}
    for name, kernels in {"samples": samples, "noise": noise}.items():
        full, half = (gradient(kernels, precision) for precision in PRECISIONS)
        changes[name] = float(((half - full).norm(dim=1) / full.norm(dim=1)).median())
    return changes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source-seeds", type=int, default=4)
    parser.add_argument("--splits", type=int, default=4)
    parser.add_argument("--output", type=Path, default=Path("results/precision.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    gradients = {name: gradient_changes(name) for name in ("mnist-5x5", "mnist-7x7")}
    print("gradient under a DWP, relative change, median over kernels")
    for name, changes in gradients.items():
        print(f"  {name:9}", *(f"{of} {change:.3f}" for of, change in changes.items()))
    data = images("notmnist")
    source: dict[str, list[float]] = {}
    for precision in PRECISIONS:
        settings = {**SOURCE, "precision": precision}
        trained = [train_source_nets(data, settings, [s])[0] for s in range(arguments.source_seeds)]
        source[precision] = [result["test_accuracy"] for _, _, result in trained]
    target = images("mnist")
    test, truth = to_unit(target.test_images), target.test_targets
    priors = {"conv1": StandardNormal(7), "conv2": StandardNormal(5)}
    metrics: dict[str, list[dict[str, float]]] = {precision: [] for precision in PRECISIONS}
    for split in range(arguments.splits):
        ((net, _),) = train_classifiers(
            target, TARGET, [(split, 0)], n=50, priors=priors, init=None, label=f"split {split}"
        )
        for precision in PRECISIONS:
            draws = generator("precision", split)
            drawn = predict(net, test, samples=10, generator=draws, precision=precision)
            metrics[precision].append(classification_metrics(drawn.mean(0), truth))

    print(f"source nets, test accuracy, {arguments.source_seeds} seeds: mean and deviation")
    for precision, values in source.items():
        print(f"  {precision:9} {np.mean(values):.4f} {np.std(values, ddof=1):.4f}")
    print(f"few-shot nets, 50 examples, {arguments.splits} splits: float32, change in bfloat16")
    for name in metrics["float32"][0]:
        full, half = (np.array([m[name] for m in metrics[p]]) for p in PRECISIONS)
        change = half - full
        print(f"  {name:9} {full.mean():.4f} {change.mean():+.5f}, most {abs(change).max():.5f}")
    everything = {"gradients": gradients, "source": source, "prediction": metrics}
    write_json(arguments.output, everything)
    print(f"written: {arguments.output}")


if __name__ == "__main__":
    main()
