"""Tabulate the KL of narrow and wide posteriors from all priors of one layer."""

import argparse
from pathlib import Path

import torch

from dwp.errors import one_line_errors
from dwp.evaluation.study import kl_by_width
from dwp.files import write_csv
from dwp.kernels import load_kernels
from dwp.priors import load_prior


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernels", required=True)
    parser.add_argument("--priors", nargs="+", required=True, help=".../PRIOR/LAYER.safetensors")
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    kernels = load_kernels(arguments.kernels, "test")
    priors = {Path(path).parent.name: load_prior(path) for path in arguments.priors}
    write_csv(arguments.output, kl_by_width(priors, kernels))


if __name__ == "__main__":
    main()
