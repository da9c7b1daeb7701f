"""The commands of `python -m dwp`. What imports torch is imported when a command runs."""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

import dwp
from dwp.errors import UserError
from dwp.files import atomic
from dwp.priors.kinds import KINDS
from dwp.priors.pretrained import pretrained, pretrained_file

_AT_ONCE = 10_000  # kernels drawn between two reports of progress
_PATH = click.Path(path_type=Path)
_PRIOR = click.argument(
    "prior",
    help="A prior file, the name of a pretrained prior, or a folder of the authors' release.",
)
_KERNELS = click.argument(
    "kernels", type=_PATH, help="A .npy file of kernels, (n, k, k) or (n, 1, k, k)."
)
_SEED = click.option("--seed", default=0, help="Of all that is random.")
_COUNT = click.IntRange(min=1)
_FITTED = [name for name, kind in KINDS.items() if kind.needs_kernels]

_progress = partial(  # shown by what takes more than 2 seconds
    tqdm, delay=2, dynamic_ncols=True, mininterval=0.1 if sys.stderr.isatty() else 10
)


@click.group(context_settings={"show_default": True})
def commands() -> None:
    """Priors over convolution kernels, and plans of runs of the workflow.

    COMMAND --help says what a command takes.
    """


@commands.command()
@click.argument("name", required=False, help="Of the prior whose card is printed.")
def priors(name: str | None) -> None:
    """List the pretrained priors, or print the model card of one."""
    cards = pretrained()
    if name:
        pretrained_file(name)  # raises if there is none
        print(cards[name])
        return
    for each, card in cards.items():
        print(f"{each:20} {card.splitlines()[2].partition(':')[0]}")
    print("\nThe model card of one: python -m dwp priors NAME")


@commands.command()
@_KERNELS
@click.argument(
    "output",
    type=_PATH,
    required=False,
    help="The .safetensors file to write; without: named as the kernels' file.",
)
@click.option("--kind", type=click.Choice(_FITTED), default="vae", help="Of the prior.")
@click.option("--hidden", type=_COUNT, help="Width of the nets: vae, flow.")
@click.option("--latent", type=_COUNT, help="Dimensions of the code z: vae.")
@click.option("--components", type=_COUNT, help="Of a gaussian-mixture.")
@click.option(
    "--bandwidth",
    type=click.FloatRange(0, min_open=True),
    help="Of a kernel-density; without: fitted.",
)
@click.option("--centres", type=_COUNT, help="Kernels that a kernel-density uses; without: all.")
@click.option("--transforms", type=_COUNT, help="Of a flow.")
@click.option("--epochs", type=_COUNT, help="Passes over the kernels: vae, flow.")
@click.option("--batch-size", default=64, help="Kernels a step: vae, flow.")
@click.option("--learning-rate", default=1e-3, help="Of Adam, falls linearly to 0: vae, flow.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="cpu")
@_SEED
def fit(kernels: Path, output: Path | None, device: Any, seed: int, **options: Any) -> None:
    """Fit a prior to kernels and write it.

    Without widths and epochs it takes those of dwp.fit_prior, which suit the kernels' size. Drop
    kernels of small norm first: a prior describes what it is fitted to.
    """
    import torch

    from dwp.devices import choose_device
    from dwp.release import load_kernel_array

    output = output or kernels.with_suffix(".safetensors")
    _check_suffix(output, ".safetensors")
    torch.set_num_threads(1)  # the same prior for any number of cores
    given = {name: value for name, value in options.items() if value is not None}
    found = load_kernel_array(kernels)
    dwp.fit_prior(found, generator=seed, device=choose_device(device), **given).save(output)
    print(f"{output}: {given['kind']} of {len(found)} kernels")


@commands.command()
@_PRIOR
@_KERNELS
@click.option("--samples", default=10, help="Draws of z for the ELBO.")
@click.option("--importance-samples", default=1000, help="Draws of z for log p.")
@click.option("--most", type=_COUNT, default=1000, help="Of more kernels so many, at random.")
@click.option("--bound-steps", default=0, help="For which samples follow the prior's bound.")
@_SEED
def score(prior: str, kernels: Path, most: int, bound_steps: int, seed: int, **draws: int) -> None:
    """Print how well a prior describes kernels.

    As JSON, in nats a kernel: the ELBO, its terms and log p.
    """
    import torch

    from dwp.evaluation.scores import follow_bound
    from dwp.release import load_kernel_array

    loaded, found = dwp.load_prior(prior), load_kernel_array(kernels)
    if len(found) > most:
        print(f"{kernels}: scores {most} of {len(found)} kernels (--most)", file=sys.stderr)
        order = torch.randperm(len(found), generator=dwp.generator("score", "kernels", seed))
        found = found[order[:most]]
    options: Any = {"generator": seed, "progress": _progress}
    scores = dwp.score(loaded, found, **draws, **options)
    if bound_steps:
        scores["bound"] = follow_bound(loaded, steps=bound_steps, **options)
    print(json.dumps(scores, indent=2))


@commands.command()
@_PRIOR
@click.argument("n", type=int, help="How many kernels.")
@click.argument("output", type=_PATH, help="The .npy file to write, (n, k, k) in float32.")
@_SEED
def sample(prior: str, n: int, output: Path, seed: int) -> None:
    """Draw kernels from a prior into a .npy file."""
    import numpy as np

    _check_suffix(output, ".npy")
    loaded, draws = dwp.load_prior(prior), dwp.generator("sample", seed)
    parts = [min(_AT_ONCE, n - first) for first in range(0, max(n, 1), _AT_ONCE)]
    kernels = [loaded.sample(part, draws).numpy() for part in _progress(parts, desc="kernels")]
    with atomic(output) as path:
        np.save(path, np.concatenate(kernels))


@commands.command()
@click.argument("folder", type=_PATH, help="Of a VAE in the release.")
@click.argument("output", type=_PATH, help="The .safetensors file to write.")
def convert(folder: Path, output: Path) -> None:
    """Turn a VAE of the authors' release into a prior file."""
    from dwp.release import load_released_vae

    _check_suffix(output, ".safetensors")
    load_released_vae(folder).save(output)


@commands.command()
@click.argument("config", type=_PATH, help="As for snakemake --configfile.")
@click.option("--cores", type=_COUNT, multiple=True, help="To plan for; without: this machine's.")
@click.option("--gpus", type=_COUNT, help="GPUs to plan for, like the one here.")
def plan(config: Path, cores: tuple[int, ...], gpus: int | None) -> None:
    """Print how long a run of the workflow would take.

    --cores may be given several times, for a column each.
    """
    from snakemake.utils import available_cpu_count

    from dwp.study import cost

    print(cost.plan(str(config), [*cores] or [available_cpu_count()], gpus))


def _check_suffix(path: Path, suffix: str) -> None:
    if path.suffix != suffix:
        raise UserError(f"{path}: expected a name that ends in {suffix}")
