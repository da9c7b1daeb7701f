"""Settings, images and files that several test modules start from."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from dwp.data.tensors import ImageTensors
from dwp.errors import UserError
from dwp.priors import KernelPrior
from dwp.priors.vae import KernelVAE
from dwp.seeds import generator
from dwp.training.prior import fit_prior

ROOT = Path(__file__).parent.parent

CLASSIFICATION = {
    "network": "mnist",
    "filters": [2, 3],
    "epochs": 4,
    "batch_size": 5,
    "learning_rate": 0.01,
    "log_variance": -4.0,
    "samples": 2,
    "validation": 12,
    "evaluate_every": 2,
    "l2": 0.01,
}


def striped_images(
    train: int = 90, test: int = 30, bright: int = 180, noise: int = 70
) -> ImageTensors:
    """Return three classes of noisy 28 x 28 images: stripes across, stripes down, none."""
    random = generator("stripes")

    def part(n: int) -> tuple[Tensor, Tensor]:
        targets = torch.arange(n) % 3
        pattern = torch.zeros(3, 28, 28)
        pattern[0, ::4], pattern[1, :, ::4] = bright, bright
        images = pattern[targets] + torch.randint(0, noise, (n, 28, 28), generator=random)
        return images[:, None].to(torch.uint8), targets

    return ImageTensors(*part(train), *part(test))


def some_kernels(size: int, n: int = 100) -> Tensor:
    """Return random kernels (n, size, size)."""
    return 0.2 * torch.randn((n, size, size), generator=generator("kernels", size))


def two_classes(n: int = 90) -> ImageTensors:
    """Return two kinds of noise as 28 x 28 images, a third of them dark in every other column."""
    images = torch.randint(0, 256, (n, 1, 28, 28), generator=generator("data")).to(torch.uint8)
    targets = torch.arange(n) % 3
    images[targets == 1, :, ::2] = 0
    return ImageTensors(images, targets, images[:6], targets[:6])


def make_prior(kind: str, size: int, latent: int = 2) -> KernelPrior:
    """Return a small frozen prior of a kind; a VAE is untrained, others are fitted to kernels."""
    if kind == "vae":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(size)
            return KernelVAE(size, hidden=4, latent=latent).requires_grad_(False)
    hyperparameters = {
        "gaussian-mixture": {"components": 3, "seed": 0, "floor": 0.1},
        "flow": {"transforms": 2, "hidden": 8},
    }
    random = generator("kernels", size)
    mixing = 0.2 * torch.eye(size**2) + 0.05 * torch.randn((size**2,) * 2, generator=random)
    kernels = torch.randn((size**2 + 50, size**2), generator=random) @ mixing + 0.1
    training = {"epochs": 3, "batch_size": 40, "learning_rate": 0.01, "seed": 0}
    kernels = kernels.unflatten(1, (size, size))
    return fit_prior(kind, size, kernels, hyperparameters.get(kind, {}), training)[0]


def same_state(first: nn.Module | Mapping, second: nn.Module | Mapping) -> bool:
    """Return whether two nets, or two states, are the same to the bit."""
    first, second = (x.state_dict() if isinstance(x, nn.Module) else x for x in (first, second))
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def assert_alike(found: Iterable, expected: Iterable, rel: float = 1e-4) -> None:
    """Check runs, (net, records) each: the same records and weights but for rounding."""
    for (net, records), (other, history) in zip(found, expected, strict=True):
        for record, expected_record in zip(records, history, strict=True):
            assert record == pytest.approx(expected_record, rel=rel, abs=1e-5)
        for name, value in other.state_dict().items():
            weights = net.state_dict()[name].cpu()
            torch.testing.assert_close(weights, value.cpu(), rtol=1e-3, atol=rel)


def refusal(call: Callable, *arguments: Any, **keywords: Any) -> str:
    """Return the one line with which a call is refused."""
    with pytest.raises(UserError) as caught:
        call(*arguments, **keywords)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def script(name: str) -> Any:
    """Return a program of the workflow as a module."""
    return module_at(ROOT / "workflow" / "scripts" / f"{name}.py")


def module_at(path: Path) -> Any:
    """Return the module in a file outside of any package, run afresh."""
    specification = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def run_program(name: str | Callable, **options: Any) -> None:
    """Run a program of the workflow in this process.

    Args:
        name: its name, or its `main`.
        **options: True for a flag; a list of paths or of text for several values; mappings and
            other lists for JSON.
    """
    line = []
    for option, value in options.items():
        values = [] if value is True else [value]
        if value and isinstance(value, list) and isinstance(value[0], str | Path):
            values = value
        elif isinstance(value, Mapping | list):
            values = [json.dumps(value)]
        line += [f"--{option.replace('_', '-')}", *map(str, values)]
    (script(name).main if isinstance(name, str) else name)(line)


def snakemake(
    *arguments: object, cwd: Path = ROOT, stdout: Any = subprocess.PIPE, **environment: str
) -> subprocess.Popen:
    """Start Snakemake in a process group of its own.

    Args:
        *arguments: of its command line.
        cwd: a folder with the code that it runs, which must win over an installed one.
        stdout: where it prints.
        **environment: further variables.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(cwd), **environment},
        stdout=stdout,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for(condition: Callable[[], object], process: subprocess.Popen) -> None:
    """Wait until a process that runs has come so far."""
    end = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, "it has ended"
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.02)


def differences(first: Path, second: Path, *ignored: str) -> list[str]:
    """Return a line for every file that is not the same in two folders, hidden ones too.

    Args:
        first: a folder.
        second: another.
        *ignored: patterns of names of files that do not count.
    """
    command = ["diff", "-rq", *[f"--exclude={name}" for name in ignored], first, second]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode < 2, done.stderr
    return done.stdout.splitlines()


def save_as_released(vae: KernelVAE, folder: Path) -> None:
    """Write a VAE to a new folder like one of the authors' release, its settings left out."""
    names = {
        "encoder": "encoder.features",
        "latent_mean": "encoder.fc_mu",
        "latent_variance": "encoder.fc_var",
        "decoder": "decoder.decoder",
        "kernel_mean": "decoder.fc_mu",
        "kernel_variance": "decoder.fc_var",
    }
    state = {}
    for name, value in vae.state_dict().items():
        module, _, rest = name.partition(".")
        state[f"{names[module]}.{rest}"] = value.contiguous()
    folder.mkdir()
    torch.save(state, folder / "vae_params.torch")


def tiny_config(priors: dict[str, Any], **classification: Any) -> dict[str, Any]:
    """Return the demo's config, reduced to seconds.

    Args:
        priors: the settings of each prior; None: those of the demo.
        **classification: settings of that section.
    """
    config = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())
    config["name"] = "tiny"
    domain = config["domains"]["demo"]
    domain["source_nets"].update(count=2, runs_per_job=2, filters=[6, 4], epochs=1, batch_size=256)
    domain["kernels"]["layers"] = {"conv1": {"quantile": 0.0}, "conv2": {"quantile": 0.5}}
    domain["priors"] = {name: own or domain["priors"][name] for name, own in priors.items()}
    for training in domain["priors"]["dwp"]["training"].values():
        training["epochs"] = 2
    domain["importance_samples"] = 2
    domain["bound_steps"] = 3
    domain["classification"].update(
        filters=[2, 2],
        priors=list(priors),
        inits=["dwp"],
        train_sizes=[10],
        splits=[0, 1],
        samples=2,
        validation=20,
    )
    domain["classification"].update(classification)
    domain["features"].update(scales=["1/4"], inits=["dwp"], seeds=[0], epochs=1)
    domain["convergence"] = {"image-vae": domain["convergence"]["image-vae"]}
    domain["convergence"]["image-vae"].update(
        filters=[2, 2], inits=["dwp"], seeds=[0], steps=20, sample_steps=[0, 20]
    )
    return config
