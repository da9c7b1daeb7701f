"""Draw the latent space of a VAE prior, and kernels with their reconstructions.

Args:
    kernels: file of the layer's kernels; without it no codes and no reconstructions are drawn
    latent: figure of decoded kernels, on the plane of two dimensions or along each of more
    reconstructions: figure of real kernels with their reconstructions
"""

from pathlib import Path

import numpy as np

from dwp.evaluation.study import latent_grid, reconstruct
from dwp.kernels import load_kernels
from dwp.plots.kernels import latent_space, latent_traversal, reconstruction_pairs
from dwp.plots.style import save
from dwp.priors import load_prior
from dwp.study.program import program

# standard deviations of p(z)
_PLANE = np.linspace(-3, 3, 13).tolist()
_ALONG = np.linspace(-2, 2, 9).tolist()


@program
def main(
    *,
    prior: Path,
    kernels: list[Path] | None = None,
    latent: list[Path] | None = None,
    reconstructions: list[Path] | None = None,
) -> None:
    vae = load_prior(prior)
    (real,) = [load_kernels(path, "test", vae.kernel_size) for path in kernels or []] or [None]
    if latent:
        codes = None if real is None else vae.encode(real)[0]
        draw, values = (latent_space, _PLANE) if vae.latent == 2 else (latent_traversal, _ALONG)
        save(draw(latent_grid(vae, values), values, codes), latent)
    if reconstructions:
        save(reconstruction_pairs(real, *reconstruct(vae, real)), reconstructions)


if __name__ == "__main__":
    main()
