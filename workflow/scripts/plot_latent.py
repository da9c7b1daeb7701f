"""Draw the latent space of a VAE prior: decoded kernels on its plane, or along its coordinates."""

import argparse

import torch

from dwp.errors import one_line_errors
from dwp.kernels import load_kernels
from dwp.plots.latent import latent_space, latent_traversal
from dwp.plots.style import save
from dwp.priors import load_vae

_REACH = 3.0  # standard deviations of p(z) to either side
_TILES = 13
_VALUES = torch.linspace(-2, 2, 9)  # of a coordinate, where there are more or less than two


@one_line_errors
@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prior", required=True)
    parser.add_argument("--kernels", help="none: draw no codes")
    parser.add_argument("--outputs", nargs="+", required=True)
    arguments = parser.parse_args()
    prior = load_vae(arguments.prior)
    codes = None
    if arguments.kernels:
        codes = prior.encode(load_kernels(arguments.kernels, "test", prior.kernel_size))[0]
    if prior.latent == 2:
        places = torch.linspace(-_REACH, _REACH, _TILES)
        second, first = torch.meshgrid(places, places, indexing="ij")
        grid = prior.decode(torch.stack([first, second], -1).flatten(0, 1))[0]
        extent = (-_REACH, _REACH, -_REACH, _REACH)
        figure = latent_space(grid.unflatten(0, (_TILES, _TILES)), extent, codes)
    else:
        places = torch.eye(prior.latent)[:, None] * _VALUES[:, None]  # (latent, values, latent)
        grid = prior.decode(places.flatten(0, 1))[0].unflatten(0, places.shape[:2])
        figure = latent_traversal(grid, _VALUES.tolist(), codes)
    save(figure, arguments.outputs)


if __name__ == "__main__":
    main()
