"""Draw real kernels of one layer beside what a VAE prior makes of them."""

import argparse

import torch

from dwp.errors import one_line_errors
from dwp.evaluation.study import reconstruct
from dwp.kernels import load_kernels
from dwp.plots.kernels import kernels_beside_reconstructions
from dwp.plots.style import save
from dwp.priors import load_vae


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prior", required=True)
    parser.add_argument("--kernels", required=True)
    parser.add_argument("--outputs", nargs="+", required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    prior = load_vae(arguments.prior)
    kernels = load_kernels(arguments.kernels, "test", prior.kernel_size)
    results = reconstruct(prior, kernels)
    save(kernels_beside_reconstructions(kernels, *results), arguments.outputs)


if __name__ == "__main__":
    main()
