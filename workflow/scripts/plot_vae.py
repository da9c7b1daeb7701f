"""Draw the latent space of a VAE prior, and kernels with their reconstructions.

Args:
    kernels: file of the layer's kernels; without it no codes and no reconstructions are drawn
    latent: figure of decoded kernels, on the plane of two dimensions or along each of more
    reconstructions: figure of real kernels with their reconstructions
"""

from pathlib import Path

import numpy as np
import torch

from dwp.evaluation.study import latent_grid, reconstruct
from dwp.kernels import load_kernels
from dwp.plots.kernels import latent_space, latent_traversal, reconstruction_pairs
from dwp.plots.style import save
from dwp.priors import load_vae
from dwp.study.program import program

_REACH = 3.0  # standard deviations of p(z) to either side
_PLANE = np.linspace(-_REACH, _REACH, 13).tolist()
_ALONG = np.linspace(-2, 2, 9).tolist()


@program
def main(
    *,
    prior: Path,
    kernels: Path | None = None,
    latent: list[Path] | None = None,
    reconstructions: list[Path] | None = None,
) -> None:
    torch.set_num_threads(1)
    vae = load_vae(prior)
    real = load_kernels(kernels, "test", vae.kernel_size) if kernels else None
    codes = None if real is None else vae.encode(real)[0]
    if latent and vae.latent == 2:
        save(latent_space(latent_grid(vae, _PLANE), _REACH, codes), latent)
    elif latent:
        save(latent_traversal(latent_grid(vae, _ALONG), _ALONG, codes), latent)
    if reconstructions:
        save(reconstruction_pairs(real, *reconstruct(vae, real)), reconstructions)


if __name__ == "__main__":
    main()
