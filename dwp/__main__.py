"""The command line: `python -m dwp score|sample|convert|plan`."""

import argparse
import json
from pathlib import Path

import numpy as np

from dwp.errors import UserError, one_line_errors
from dwp.files import atomic
from dwp.priors import KernelPrior, load_prior
from dwp.release import load_kernel_array, load_released_vae
from dwp.seeds import generator

_PRIOR = "a prior file, the name of a pretrained prior, or a folder of the authors' release"


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m dwp", description="Priors over kernels, and the plan of a workflow's run."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("score", help="score kernels under a prior; prints JSON")
    command.add_argument("prior", help=_PRIOR)
    command.add_argument("kernels", help="kernels (n, k, k) or (n, 1, k, k) in a .npy file")
    command.add_argument("--seed", type=int, default=0, help="default: 0")
    command.add_argument(
        "--samples", type=int, default=10, help="draws of z for the ELBO; default: 10"
    )
    command.add_argument(
        "--importance-samples", type=int, default=1000, help="draws of z for log p; default: 1000"
    )
    command.set_defaults(run=_score)

    command = commands.add_parser("sample", help="draw kernels into a .npy file")
    command.add_argument("prior", help=_PRIOR)
    command.add_argument("n", type=int, help="how many kernels")
    command.add_argument("output", help="the .npy file to write, (n, k, k) float32")
    command.add_argument("--seed", type=int, default=0, help="default: 0")
    command.set_defaults(run=_sample)

    command = commands.add_parser("convert", help="turn a released VAE into a prior file")
    command.add_argument("folder", help="a folder of the authors' release")
    command.add_argument("output", help="the .safetensors file to write")
    command.set_defaults(run=_convert)

    command = commands.add_parser("plan", help="tell what a run of the workflow would take")
    command.add_argument("config", help="as for snakemake --configfile")
    command.add_argument(
        "--cores", type=int, nargs="+", help="numbers of cores to plan for; default: this machine's"
    )
    command.add_argument("--gpus", type=int, help="a number of GPUs like the one here")
    command.set_defaults(run=_plan)

    arguments = parser.parse_args()
    arguments.run(arguments)


def _load(path: str) -> KernelPrior:
    return load_released_vae(path) if Path(path).is_dir() else load_prior(path)


def _score(arguments: argparse.Namespace) -> None:
    from dwp.evaluation.scores import score

    result = score(
        _load(arguments.prior),
        load_kernel_array(arguments.kernels),
        seed=arguments.seed,
        samples=arguments.samples,
        importance_samples=arguments.importance_samples,
    )
    print(json.dumps(result, indent=2))


def _sample(arguments: argparse.Namespace) -> None:
    _check_suffix(arguments.output, ".npy")
    if arguments.n < 1:
        raise UserError(f"n: expected at least 1, found {arguments.n}")
    kernels = _load(arguments.prior).sample(arguments.n, generator("sample", arguments.seed))
    with atomic(arguments.output) as path:
        np.save(path, kernels.numpy())


def _convert(arguments: argparse.Namespace) -> None:
    _check_suffix(arguments.output, ".safetensors")
    load_released_vae(arguments.folder).save(arguments.output)


def _plan(arguments: argparse.Namespace) -> None:
    from dwp.study.plan import plan, usable_cores

    cores = arguments.cores or [usable_cores()]
    for name, numbers in (("--cores", cores), ("--gpus", [arguments.gpus])):
        if numbers != [None] and min(numbers) < 1:
            raise UserError(f"{name}: expected at least 1, found {min(numbers)}")
    print(plan(arguments.config, cores, arguments.gpus))


def _check_suffix(path: str, suffix: str) -> None:
    if Path(path).suffix != suffix:
        raise UserError(f"{path}: expected a name that ends in {suffix}")


if __name__ == "__main__":
    main()
