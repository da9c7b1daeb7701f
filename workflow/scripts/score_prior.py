"""Score the test kernels of one layer under one prior, and what its samples remember."""

import argparse

import torch

from dwp.errors import one_line_errors
from dwp.evaluation.scores import nearest, score
from dwp.files import write_json
from dwp.kernels import load_kernels
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
    prior = load_prior(arguments.prior)
    train, test = (
        load_kernels(arguments.kernels, part, prior.kernel_size) for part in ("train", "test")
    )
    result = score(prior, test, importance_samples=arguments.importance_samples)
    write_json(arguments.output, result | nearest(prior, train, test))


if __name__ == "__main__":
    main()
