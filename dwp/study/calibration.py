"""What the work of a workflow's stages costs on this machine, from a few real steps of each.

Run as a program of its own (`python -m dwp.study.calibration`), so that it can have the jobs' environment
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
from dwp.priors.kl import DEFAULT, Estimation
from dwp.seeds import generator
from dwp.study.settings import JOB_ENVIRONMENT
from dwp.training.classification import train_classifiers
from dwp.training.convergence import train_from
from dwp.training.features import apply, train_on_features
from dwp.training.prior import fit_prior
from dwp.training.source import accuracy, train_source_nets

IMAGES = 50
"""Images in a unit of the works that predict, the batch of `dwp.nn.predict.predict`."""

Work = Mapping[str, Any]
Seconds = tuple[float, float]


def calibrate(
    works: Sequence[Work], *, processes: int, seconds: float
) -> tuple[list[Seconds], float]:
    """Measure works in the environment of the workflow's jobs.

    On a CPU the seconds are those of the processor, which other programs on the machine do not
    lengthen by taking turns; on a GPU they are those of the clock.

    Args:
        works: what to measure: `work` is a name in `_PROGRAMS` or a function of this module without
            its underscore, the rest its arguments; JSON-serialisable.
        processes: how many processes measure the same at once; their mean is returned.
        seconds: about how long all of it may take.

    Returns:
        For each work its fixed seconds, and seconds a unit; and the share of a core that a process
        got: well below 1, the machine is busy with something else.

    Raises:
        UserError: a measurement failed.
    """
    request = json.dumps({"works": works, "seconds": seconds})
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "dwp.study.calibration"],
            env={**os.environ, **JOB_ENVIRONMENT, "TQDM_DISABLE": "1"},
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
    answers = list(map(json.loads, outputs))
    means = [
        tuple(sum(values) / len(values) for values in zip(*results, strict=True))
        for results in zip(*(answer["results"] for answer in answers), strict=True)
    ]
    return means, sum(answer["share"] for answer in answers) / len(answers)


def seconds_per_unit(
    run: Callable[[int], object], seconds: float, clock: Callable[[], float] = time.process_time
) -> Seconds:
    """Return the fixed seconds of `run(units)` and its seconds a unit, in about `seconds`.

    The second is the difference of a long and a short call, so that fixed costs cancel.

    Args:
        run: does the work of some units.
        seconds: how long to measure, by the clock on the wall.
        clock: what is measured, in seconds.
    """

    def timed(units: int) -> float:
        start = clock()
        run(units)
        return clock() - start

    end = time.perf_counter() + seconds
    timed(1)  # the first call of a shape compiles its products
    few, more = timed(1), 1
    while True:
        unit = max((timed(1 + more) - few) / more, 1e-9)
        left = end - time.perf_counter() - few
        if more * unit > 0.4 * seconds or left < 2 * more * unit:
            return max(few - unit, 0.0), unit
        more = max(2 * more, min(int(0.6 * left / unit), 20 * more))


# Works that are processes. What a process does for the first time (imports, which torch and
# torchmetrics put off until something is used) counts to its start.
_PROGRAMS = {
    "start": "import pandas, dwp.training.prior",
    "training_start": (
        "import pandas, torch, dwp.training.classification, dwp.training.prior\n"
        "training = {'epochs': 1, 'batch_size': 2, 'learning_rate': 0.001, 'seed': 0}\n"
        "sizes, kernels = {'hidden': 1, 'latent': 1}, torch.rand(2, 5, 5)\n"
        "dwp.training.prior.fit_prior('vae', 5, kernels, sizes, training)"
    ),
    "test_start": (
        "import torch, dwp.priors.vae\n"
        "from dwp.evaluation.metrics import classification_metrics, ood_auroc\n"
        "probabilities = torch.rand(50, 10).softmax(1)\n"
        "classification_metrics(probabilities, torch.arange(50) % 10)\n"
        "ood_auroc(probabilities, probabilities)"
    ),
    "figure": (
        "import pandas, tempfile, torch\n"
        "from dwp.plots.kernels import norm_histogram\nfrom dwp.plots.style import save\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    figure = norm_histogram(torch.rand(10_000), 0.5, 5_000, 10_000)\n"
        "    save(figure, [f'{folder}/x.pdf', f'{folder}/x.png'])"
    ),
}


def _program_seconds(name: str) -> Seconds:
    before = _children_seconds()
    subprocess.run([sys.executable, "-c", _PROGRAMS[name]], check=True)
    return _children_seconds() - before, 0.0


def _children_seconds() -> float:
    times = os.times()
    return times.children_user + times.children_system


# The other works. Each returns a function of the number of units; the shapes are those of the real
# work, the content is made up.


def _read(data: str) -> Callable[[int], object]:
    """Units: readings of a data set, as jobs begin with."""

    def run(units: int) -> None:
        for _ in range(units):
            ImageTensors.load(data)
            digest([data])

    return run


def _source_net(settings: dict, shape: list[int], classes: int, nets: int, device: str):
    """Units: training steps of so many nets together, each on a batch."""
    data = _images(settings["batch_size"], shape, classes)
    return lambda units: train_source_nets(
        data, {**settings, "epochs": units}, range(nets), device=device
    )


def _source_accuracy(settings: dict, shape: list[int], classes: int, device: str):
    """Units: images classified, by the 500."""
    net = build_network(settings["network"], filters=settings["filters"], classes=classes)
    net.to(device, memory_format=torch.channels_last)
    data = _images(500, shape, classes)
    images, targets = data.train_images.float().to(device), data.train_targets.to(device)
    return lambda units: [accuracy(net, images, targets) for _ in range(units)]


def _prior(kind: str, size: int, arguments: dict, training: dict | None, kernels: int, device: str):
    """Units: epochs over a number of kernels, or fits of a kind that is not trained in epochs."""
    some = _kernels(kernels, size)
    if training is None:
        return lambda units: [fit_prior(kind, size, some, arguments, None) for _ in range(units)]
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
    penalty: dict | None,
    device: str,
):
    """Units: training steps on a batch of so many images, the whole training set."""
    target = _images(images + 2 * classes, shape, classes)  # 2: class counts differ by up to one
    priors, init = _made_up_priors(priors, device), _made_up_priors(init, "cpu")
    penalty = _made_up_priors(penalty, device)

    def run(units: int) -> object:
        reduced = {"epochs": units, "evaluate_every": units, "validation": classes}
        return train_classifiers(
            target,
            {**settings, **reduced},
            [(0, 0)],
            n=images,
            priors=priors,
            init=init,
            penalty=penalty,
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
    members = settings.get("members", 1)
    draws = [generator("calibration", member, device=device) for member in range(members)]
    data = _images(IMAGES, shape, classes)
    images, targets = data.train_images.float() / 255, data.train_targets

    def run(units: int) -> object:
        several = images.repeat(units, 1, 1, 1)
        return evaluate_classifier(
            net,
            train=(images, targets),
            test=(several, targets.repeat(units)),
            out_of_domain=several,
            samples=settings["samples"] if priors else 0,
            generator=draws,
            members=members,
            precision=settings["test_precision"],
            estimation=Estimation.of(settings) if priors else DEFAULT,
        )

    return run


def _features(settings: dict, shape: list[int], classes: int, device: str):
    """Units: images whose features are computed, by the 250."""
    net = build_network(settings["network"], filters=settings["filters"], classes=classes)
    net.to(device, memory_format=torch.channels_last)
    images = _images(250, shape, classes).train_images.float().to(device)
    return lambda units: [apply(net.features, images) for _ in range(units)]


def _feature_classifier(settings: dict, shape: list[int], classes: int, device: str):
    """Units: hundreds of training steps of the classifier on a batch; one is too short to see."""
    data = _images(settings["batch_size"], shape, classes)
    return lambda units: train_on_features(
        data, {**settings, "epochs": 100 * units}, scale=1, seed=0, init=None, device=device
    )


def _convergence(settings: dict, shape: list[int], classes: int, device: str):
    """Units: training steps on a batch, as long as there is no look."""
    data = _images(settings["batch_size"], shape, classes)
    reduced = {"sample_steps": []}
    return lambda units: train_from(
        data,
        {**settings, **reduced, "steps": units, "evaluate_every": units},
        seed=0,
        init=None,
        device=device,
    )


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
        _features,
        _feature_classifier,
        _convergence,
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
    some = _kernels(max(100, 2 * size**2, arguments.get("components", 1)), size)
    return fit_prior(kind, size, some, arguments, training)[0]


def _made_up_priors(priors: dict | None, device: str) -> dict[str, KernelPrior] | None:
    if priors is None:
        return None
    return {layer: _made_up_prior(**prior).to(device) for layer, prior in priors.items()}


@one_line_errors
def main() -> None:
    torch.set_num_threads(1)
    request = json.load(sys.stdin)
    start = time.perf_counter()
    busy = time.process_time() + _children_seconds()
    results = []
    for number, work in enumerate(request["works"]):
        left = start + request["seconds"] - time.perf_counter()
        share = left / (len(request["works"]) - number)
        if work["work"] in _PROGRAMS:
            results.append(_program_seconds(work["work"]))
            continue
        arguments = {name: value for name, value in work.items() if name != "work"}
        clock = time.perf_counter if work.get("device") == "cuda" else time.process_time
        results.append(seconds_per_unit(_WORKS[work["work"]](**arguments), share, clock))
    busy = time.process_time() + _children_seconds() - busy
    share = busy / (time.perf_counter() - start)
    json.dump({"results": results, "share": share}, sys.stdout)


if __name__ == "__main__":
    main()
