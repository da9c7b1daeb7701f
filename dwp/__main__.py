"""The command line: `python -m dwp score|sample|convert|plan`."""

import json
from pathlib import Path

from dwp.errors import UserError
from dwp.study.program import program


def score(
    prior: str,
    kernels: Path,
    /,
    *,
    seed: int = 0,
    samples: int = 10,
    importance_samples: int = 1000,
    bound_steps: int = 0,
) -> None:
    """Score kernels under a prior and print the scores as JSON.

    Args:
        prior: a prior file, the name of a pretrained prior, or a folder of the authors' release
        kernels: a .npy file of kernels, (n, k, k) or (n, 1, k, k)
        seed: of the draws; default: 0
        samples: draws of z for the ELBO; default: 10
        importance_samples: draws of z for log p; default: 1000
        bound_steps: for which samples follow the prior's bound, to its modes; default: 0, none
    """
    from dwp.evaluation.modes import follow_bound
    from dwp.evaluation.scores import score
    from dwp.priors import load_prior
    from dwp.release import load_kernel_array

    draws = {"generator": seed, "samples": samples, "importance_samples": importance_samples}
    loaded = load_prior(prior)
    scores = score(loaded, load_kernel_array(kernels), **draws)
    if bound_steps:
        scores["bound"] = follow_bound(loaded, steps=bound_steps, seed=seed)
    print(json.dumps(scores, indent=2))


def sample(prior: str, n: int, output: Path, /, *, seed: int = 0) -> None:
    """Draw kernels into a .npy file.

    Args:
        prior: a prior file, the name of a pretrained prior, or a folder of the authors' release
        n: how many kernels
        output: the .npy file to write, (n, k, k) float32
        seed: of the draws; default: 0
    """
    import numpy as np

    from dwp.files import atomic
    from dwp.priors import load_prior
    from dwp.seeds import generator

    _check_suffix(output, ".npy")
    kernels = load_prior(prior).sample(n, generator("sample", seed))
    with atomic(output) as path:
        np.save(path, kernels.numpy())


def convert(folder: Path, output: Path, /) -> None:
    """Turn a VAE of the authors' release into a prior file.

    Args:
        folder: its folder in the release
        output: the .safetensors file to write
    """
    from dwp.release import load_released_vae

    _check_suffix(output, ".safetensors")
    load_released_vae(folder).save(output)


def plan(config: Path, /, *, cores: list[int] | None = None, gpus: int | None = None) -> None:
    """Print how long a run of the workflow would take.

    Args:
        config: as for snakemake --configfile
        cores: numbers of cores to plan for; default: this machine's
        gpus: a number of GPUs like the one here
    """
    from snakemake.utils import available_cpu_count

    from dwp.study import cost

    cores = cores or [available_cpu_count()]
    for name, number in (("--cores", min(cores)), ("--gpus", gpus)):
        if number is not None and number < 1:
            raise UserError(f"{name}: expected at least 1, found {number}")
    print(cost.plan(str(config), cores, gpus))


def _check_suffix(path: Path, suffix: str) -> None:
    if path.suffix != suffix:
        raise UserError(f"{path}: expected a name that ends in {suffix}")


main = program(score, sample, convert, plan, name="python -m dwp")

if __name__ == "__main__":
    main()
