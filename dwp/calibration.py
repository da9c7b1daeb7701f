"""What the work of a workflow's stages costs on this machine, from a few real steps of each.

Run as a program of its own (`python -m dwp.calibration`), so that it can have the jobs' environment
and so that as many can run at once as jobs will: cores share the memory's bandwidth.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dwp.data.tensors import ImageTensors
from dwp.errors import UserError, one_line_errors
from dwp.evaluation.classifier import evaluate_classifier
from dwp.evaluation.scores import score
from dwp.files import digest
from dwp.nn.classifier import build_classifier
from dwp.nn.networks import build_network
from dwp.priors import KernelPrior
from dwp.seeds import generator
from dwp.settings import JOB_ENVIRONMENT
from dwp.training.classification import train_classifier
from dwp.training.prior import fit_prior
from dwp.training.source import accuracy, train_source_net

IMAGES = 50
"""Images in a unit of the works that predict, the batch of `dwp.nn.predict.predict`."""

Work = Mapping[str, Any]
Seconds = tuple[float, float]


def calibrate(works: Sequence[Work], *, processes: int, seconds: float) -> list[Seconds]:
    """Measure works in the environment of the workflow's jobs.

    Args:
        works: what to measure: `work` is "start", "figure" or a function of this module without
            its underscore, the rest its arguments; JSON-serialisable.
        processes: how many processes measure the same at once; their mean is returned.
        seconds: about how long all of it may take.

    Returns:
        For each work its fixed seconds, and seconds a unit.

    Raises:
        UserError: a measurement failed.
    """
    request = json.dumps({"works": works, "seconds": seconds})
    environment = {k: str(v) for k, v in JOB_ENVIRONMENT.items()} | {"TQDM_DISABLE": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "dwp.calibration"],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    for process in running:
        process.stdin.write(request)
        process.stdin.close()
    outputs = [process.stdout.read() for process in running]
    if sum(process.wait() != 0 for process in running):
        raise UserError("calibration: a measurement failed, as told above")
    return [
        tuple(sum(values) / len(values) for values in zip(*results, strict=True))
        for results in zip(*map(json.loads, outputs), strict=True)
    ]


def seconds_per_unit(run: Callable[[int], object], seconds: float) -> Seconds:
    """Return the fixed seconds of `run(units)` and its seconds a unit, in about `seconds`.

    The second is the difference of a long and a short call, so that fixed costs cancel.
    """

    def timed(units: int) -> float:
        start = time.perf_counter()
        run(units)
        return time.perf_counter() - start

    end = time.perf_counter() + seconds
    timed(1)  # the first call of a shape compiles its products
    few, more = timed(1), 1
    while True:
        unit = max((timed(1 + more) - few) / more, 1e-9)
        left = end - time.perf_counter() - few
        if more * unit > 0.4 * seconds or left < 2 * more * unit:
            return max(few - unit, 0.0), unit
        more = max(2 * more, min(int(0.6 * left / unit), 20 * more))


_PROGRAMS = {
    "start": "import pandas, dwp.training.classification",
    "figure": (
        "import pandas, tempfile, torch\n"
        "from dwp.plots.norms import norm_histogram\nfrom dwp.plots.style import save\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    figure = norm_histogram(torch.rand(10_000), 0.5, 5_000)\n"
        "    save(figure, [f'{folder}/x.pdf', f'{folder}/x.png'])"
    ),
}
"""Works that are processes: the start of a job, and one that draws a figure."""


def _program_seconds(name: str) -> Seconds:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", _PROGRAMS[name]], check=True)
    return time.perf_counter() - start, 0.0


# The other works. Each returns a function of the number of units; the shapes are those of the real
# work, the content is made up.


def _read(data: str) -> Callable[[int], object]:
    """Units: readings of a data set, as jobs begin with."""

    def run(units: int) -> None:
        for _ in range(units):
            ImageTensors.load(data)
            digest([data])

    return run


def _source_net(settings: dict, shape: list[int], classes: int, device: str):
    """Units: training steps on a batch."""
    data = _images(settings["batch_size"], shape, classes)
    return lambda units: train_source_net(data, {**settings, "epochs": units}, 0, device=device)


def _source_accuracy(settings: dict, shape: list[int], classes: int, device: str):
    """Units: images classified, by the 500."""
    net = build_network(settings["network"], filters=settings["filters"], classes=classes)
    net.to(device, memory_format=torch.channels_last)
    data = _images(500, shape, classes)
    images, targets = data.train_images.float().to(device), data.train_targets.to(device)
    return lambda units: [accuracy(net, images, targets) for _ in range(units)]


def _prior(kind: str, size: int, arguments: dict, training: dict, kernels: int, device: str):
    """Units: epochs over a number of kernels."""
    some = _kernels(kernels, size)
    return lambda units: fit_prior(
        kind, size, some, arguments, {**training, "epochs": units}, device=device
    )


def _prior_score(kind: str, size: int, arguments: dict, kernels: int):
    """Units: importance samples for a number of kernels."""
    prior, some = _made_up_prior(kind, size, arguments), _kernels(kernels, size)
    return lambda units: score(prior, some, importance_samples=units)


def _classifier(
    settings: dict,
    shape: list[int],
    classes: int,
    images: int,
    priors: dict | None,
    init: dict | None,
    device: str,
):
    """Units: training steps on a batch of so many images, the whole training set."""
    target = _images(images + 2 * classes, shape, classes)  # 2: class counts differ by up to one
    priors, init = _made_up_priors(priors, device), _made_up_priors(init, "cpu")

    def run(units: int) -> object:
        reduced = {"epochs": units, "evaluate_every": units, "validation": classes}
        return train_classifier(
            target,
            {**settings, **reduced},
            n=images,
            split=0,
            seed=0,
            priors=priors,
            init=init,
            device=device,
        )

    return run


def _classifier_test(
    settings: dict, shape: list[int], classes: int, priors: dict | None, device: str
):
    """Units: `IMAGES` test images and as many of another domain."""
    priors = _made_up_priors(priors, device)
    net = build_classifier(settings, classes, priors)
    net.to(device, memory_format=torch.channels_last)
    draws = generator("calibration", device=device)
    data = _images(IMAGES, shape, classes)
    images, targets = data.train_images.float() / 255, data.train_targets

    def run(units: int) -> object:
        several = images.repeat(units, 1, 1, 1)
        return evaluate_classifier(
            net,
            priors,
            train=(images, targets),
            test=(several, targets.repeat(units)),
            out_of_domain=several,
            samples=settings["samples"] if priors else 0,
            generator=draws,
        )

    return run


_WORKS = {
    function.__name__[1:]: function
    for function in (
        _read,
        _source_net,
        _source_accuracy,
        _prior,
        _prior_score,
        _classifier,
        _classifier_test,
    )
}


def _images(n: int, shape: list[int], classes: int) -> ImageTensors:
    draw = generator("calibration", "images")
    images = torch.randint(256, (n, *shape), generator=draw, dtype=torch.uint8)
    targets = torch.arange(n) % classes
    return ImageTensors(images, targets, images[:1], targets[:1])


def _kernels(n: int, size: int) -> Tensor:
    return 0.1 * torch.randn((n, size, size), generator=generator("calibration", "kernels"))


def _made_up_prior(kind: str, size: int, arguments: dict) -> KernelPrior:
    training = {"epochs": 1, "batch_size": 100, "learning_rate": 1e-3, "seed": 0}
    return fit_prior(kind, size, _kernels(100, size), arguments, training)[0]


def _made_up_priors(priors: dict | None, device: str) -> dict[str, KernelPrior] | None:
    if priors is None:
        return None
    return {layer: _made_up_prior(**prior).to(device) for layer, prior in priors.items()}


@one_line_errors
def main() -> None:
    torch.set_num_threads(1)
    request = json.load(sys.stdin)
    end = time.perf_counter() + request["seconds"]
    results = []
    for number, work in enumerate(request["works"]):
        share = (end - time.perf_counter()) / (len(request["works"]) - number)
        if work["work"] in _PROGRAMS:
            results.append(_program_seconds(work["work"]))
            continue
        arguments = {name: value for name, value in work.items() if name != "work"}
        results.append(seconds_per_unit(_WORKS[work["work"]](**arguments), share))
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
