"""Draw real kernels of one layer beside samples of the priors."""

import argparse
from pathlib import Path

from dwp.errors import one_line_errors
from dwp.kernels import load_kernels
from dwp.plots.kernels import kernels_beside_samples
from dwp.plots.style import save
from dwp.priors import load_prior
from dwp.seeds import generator

_TILES = 6


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernels", help="none: draw samples only")
    parser.add_argument("--priors", nargs="*", required=True, help=".../PRIOR/LAYER.safetensors")
    parser.add_argument("--outputs", nargs="+", required=True)
    arguments = parser.parse_args()
    real = load_kernels(arguments.kernels, "test") if arguments.kernels else None
    samples = {
        Path(path).parent.name: load_prior(path).sample(_TILES**2, generator("figure"))
        for path in arguments.priors
    }
    save(kernels_beside_samples(real, samples, _TILES), arguments.outputs)


if __name__ == "__main__":
    main()
