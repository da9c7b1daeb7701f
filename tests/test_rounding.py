"""Other threads, processors and precisions: results within what docs/reliability.md says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import CLASSIFICATION, striped_images

from dwp.data.subsets import few_shot_subset
from dwp.data.tensors import to_unit
from dwp.evaluation.classifier import evaluate_classifier
from dwp.fast import faster
from dwp.priors import prior_class
from dwp.seeds import generator
from dwp.study.settings import SourceTraining
from dwp.training.classification import train_classifiers
from dwp.training.prior import fit_prior
from dwp.training.source import train_source_nets

SETTINGS = CLASSIFICATION | {"filters": [4, 6], "batch_size": 32, "learning_rate": 0.005}
SETTINGS |= {"epochs": 20, "evaluate_every": 20, "samples": 5, "validation": 30, "l2": 0.001}
SETTINGS |= {"log_variance": -6.0}
FITTING = {"epochs": 5, "batch_size": 30, "learning_rate": 0.005, "seed": 0}
COUNTS = ("accuracy", "ece", "auroc")  # a single image moves them by a step
SIZES = {"conv1": 7, "conv2": 5}
OLDER = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
OLDER |= {"MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "OMP_WAIT_POLICY": "passive"}


def metrics(test_precision="float32"):
    """Train one net of each stage and kind; return their final metrics by name."""
    data, found = striped_images(150, 90, bright=90, noise=166), {}
    settings = SETTINGS | {"test_precision": test_precision}
    source = {k: v for k, v in settings.items() if k in SourceTraining.model_fields}
    _, records, scores = train_source_nets(data, source | {"epochs": 4}, [0])[0]
    found["source net"] = scores | {"cross_entropy": records[-1]["cross_entropy"]}
    kinds = {"deterministic": None, "vae": {}}
    for layer, size in SIZES.items():
        kernels = 0.3 * torch.randn((90, size, size), generator=generator(size))
        ansatz = {"hidden": 4, "latent": 2}
        kinds["vae"][layer], records = fit_prior("vae", size, kernels, ansatz, FITTING)
        found[f"VAE {size}"] = {"loss": records[-1]["loss"]}
    for kind in ("standard-normal", "log-uniform"):
        kinds[kind] = {layer: prior_class(kind)(size) for layer, size in SIZES.items()}
    chosen, _ = few_shot_subset(data.train_targets, 24, 0, SETTINGS["validation"])
    for kind, over in kinds.items():
        ((net, _),) = train_classifiers(data, settings, [(0, 0)], n=24, priors=over, init=None)
        found[kind] = evaluate_classifier(
            net,
            train=(to_unit(data.train_images[chosen]), data.train_targets[chosen]),
            test=(to_unit(data.test_images), data.test_targets),
            out_of_domain=torch.rand((20, 1, 28, 28), generator=generator("out")),
            samples=5 if over else 0,
            generator=generator("report"),
            precision=test_precision,
        )
    return {f"{kind} {name}": v for kind, each in found.items() for name, v in each.items()}


def older_processor_with_two_threads():
    program = "import json, runpy, sys, torch; torch.set_num_threads(2); "
    program += "print(json.dumps(runpy.run_path(sys.argv[1])['metrics']()))"
    command = [sys.executable, "-c", program, __file__]
    environment = os.environ | OLDER | {"PYTHONPATH": str(Path(__file__).parent)}
    return json.loads(subprocess.check_output(command, env=environment, text=True))


def half_precision():
    rough = ("ece", "auroc")
    return {name: v for name, v in metrics("bfloat16").items() if not name.endswith(rough)}


def plain_path():
    with faster(False):
        return metrics()


@pytest.fixture(scope="module")
def here():
    return metrics()


@pytest.mark.parametrize("way", [older_processor_with_two_threads, plain_path, half_precision])
def test_results_are_those_of_here(here, way):
    """What is in nats and Brier scores may differ by a part of its value (at least of 1)."""
    relative, counts = (0.02, 0.1) if way is half_precision else (1e-4, 0.02)
    found = way()
    assert len(found) > 10
    for name, value in found.items():
        allowed = counts if name.endswith(COUNTS) else relative * max(1.0, abs(here[name]))
        assert value == pytest.approx(here[name], abs=allowed), name
