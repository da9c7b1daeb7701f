"""Score the test kernels of one layer under one prior."""

import argparse

import torch

from dwp.errors import one_line_errors
from dwp.evaluation.scores import score
from dwp.files import load_tensors, write_json
from dwp.priors import load_prior


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prior", required=True)
    parser.add_argument("--kernels", required=True)
    parser.add_argument("--importance-samples", type=int, required=True)
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    kernels = load_tensors(arguments.kernels, kind="kernels")[0]["test"]
    result = score(
        load_prior(arguments.prior), kernels, importance_samples=arguments.importance_samples
    )
    write_json(arguments.output, result)


if __name__ == "__main__":
    main()
