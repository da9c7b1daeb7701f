"""The command line: `python -m dwp score|sample|convert|plan`."""

import argparse
import json
from pathlib import Path

from dwp.errors import UserError, one_line_errors

_PRIOR = "a prior file, the name of a pretrained prior, or a folder of the authors' release"


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m dwp", description="Priors over kernels, and the plan of a workflow's run."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(run, description: str) -> argparse.ArgumentParser:
        added = commands.add_parser(run.__name__, help=description, description=description)
        added.set_defaults(run=run)
        return added

    options = command(score, "score kernels under a prior; prints JSON")
    options.add_argument("prior", help=_PRIOR)
    options.add_argument("kernels", help="kernels (n, k, k) or (n, 1, k, k) in a .npy file")
    options.add_argument("--seed", type=int, default=0, help="default: 0")
    options.add_argument("--samples", type=int, default=10, help="draws of z for the ELBO")
    options.add_argument(
        "--importance-samples", type=int, default=1000, help="draws of z for log p; default: 1000"
    )

    options = command(sample, "draw kernels into a .npy file")
    options.add_argument("prior", help=_PRIOR)
    options.add_argument("n", type=int, help="how many kernels")
    options.add_argument("output", help="the .npy file to write, (n, k, k) float32")
    options.add_argument("--seed", type=int, default=0, help="default: 0")

    options = command(convert, "turn a released VAE into a prior file")
    options.add_argument("folder", help="a folder of the authors' release")
    options.add_argument("output", help="the .safetensors file to write")

    options = command(plan, "print how long a run of the workflow would take")
    options.add_argument("config", help="as for snakemake --configfile")
    options.add_argument(
        "--cores", type=int, nargs="+", help="numbers of cores to plan for; default: this machine's"
    )
    options.add_argument("--gpus", type=int, help="a number of GPUs like the one here")

    arguments = vars(parser.parse_args())
    arguments.pop("run")(**arguments)


def _load(path: str):
    from dwp.priors import load_prior
    from dwp.release import load_released_vae

    return load_released_vae(path) if Path(path).is_dir() else load_prior(path)


def score(prior: str, kernels: str, **options: int) -> None:
    from dwp.evaluation.scores import score
    from dwp.release import load_kernel_array

    print(json.dumps(score(_load(prior), load_kernel_array(kernels), **options), indent=2))


def sample(prior: str, n: int, output: str, seed: int) -> None:
    import numpy as np

    from dwp.files import atomic
    from dwp.seeds import generator

    _check_suffix(output, ".npy")
    kernels = _load(prior).sample(n, generator("sample", seed))
    with atomic(output) as path:
        np.save(path, kernels.numpy())


def convert(folder: str, output: str) -> None:
    from dwp.release import load_released_vae

    _check_suffix(output, ".safetensors")
    load_released_vae(folder).save(output)


def plan(config: str, cores: list[int] | None, gpus: int | None) -> None:
    from snakemake.utils import available_cpu_count

    from dwp.study import cost

    cores = cores or [available_cpu_count()]
    for name, number in (("--cores", min(cores)), ("--gpus", gpus)):
        if number is not None and number < 1:
            raise UserError(f"{name}: expected at least 1, found {number}")
    print(cost.plan(config, cores, gpus))


def _check_suffix(path: str, suffix: str) -> None:
    if Path(path).suffix != suffix:
        raise UserError(f"{path}: expected a name that ends in {suffix}")


if __name__ == "__main__":
    main()
