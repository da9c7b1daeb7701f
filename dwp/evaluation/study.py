"""Studies of priors over kernels: KL against width, reconstructions, latent space."""

import itertools
import math
from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from torch import Tensor

from dwp.kernels import check_kernels
from dwp.priors import GaussianKernels, KernelPrior, kl_divergence, kl_nature
from dwp.priors.vae import KernelVAE
from dwp.seeds import generator

DEVIATIONS = tuple(10 ** (-number / 4) for number in range(12, -1, -1))
"""From 0.001 to 1, four for each power of ten."""


@torch.no_grad()
def kl_by_width(
    priors: Mapping[str, KernelPrior],
    kernels: Tensor,
    deviations: Sequence[float] = DEVIATIONS,
    *,
    seed: int = 0,
    most: int = 1000,
) -> pd.DataFrame:
    """Return the KL of posteriors q = N(w, deviation^2) from priors, for kernels and for noise.

    Noise is white and Gaussian, with the mean square weight of the kernels: a prior that depends on
    the size of weights alone gives both the same KL, one that knows kernels does not. Atanov et al.
    2019 show such curves of the DWP and the standard normal.

    Args:
        priors: by name; each needs a KL of `GaussianKernels` from it.
        kernels: w (n, k, k) or (n, 1, k, k); as many are drawn of noise.
        deviations: standard deviations of every weight under q, above 0.
        seed: of the choice of kernels, the noise and the draws from q; the draws are the same for
            all priors.
        most: the number of kernels to choose, if there are more.

    Returns:
        A row for each `w` ("kernels" or "noise"), `prior` and `deviation`: the `nature` of the KL
        (see `dwp.priors.kl_nature`), `n`, and the `mean` over w in nats per kernel with its
        `standard_error`.

    Raises:
        UserError: the kernels are of another size than a prior's.
        NotImplementedError: a prior has no such KL.
    """
    draws = generator("kl by width", seed)
    kernels = check_kernels(kernels)[torch.randperm(len(kernels), generator=draws)[:most]]
    noise = torch.randn(kernels.shape, generator=draws, dtype=kernels.dtype)
    sources = {"kernels": kernels, "noise": noise * kernels.square().mean().sqrt()}
    rows = []
    for w, name, deviation in itertools.product(sources, priors, deviations):
        prior, means = priors[name], check_kernels(sources[w], priors[name].kernel_size)
        posterior = GaussianKernels(means, torch.full_like(means, 2 * math.log(deviation)))
        random = generator("kl by width", seed, w, deviation)
        kl = kl_divergence(posterior, prior, random).double()  # (n,)
        numbers = len(kl), kl.mean().item(), kl.std().item() / math.sqrt(len(kl))
        rows.append((w, name, deviation, kl_nature(posterior, prior), *numbers))
    columns = ["w", "prior", "deviation", "nature", "n", "mean", "standard_error"]
    return pd.DataFrame(rows, columns=columns)


@torch.no_grad()
def reconstruct(prior: KernelVAE, kernels: Tensor) -> tuple[Tensor, float, float]:
    """Decode the mean codes of kernels.

    Args:
        prior: a VAE.
        kernels: (n, k, k) or (n, 1, k, k).

    Returns:
        The decoder's mean (n, k, k) at the encoder's mean of each kernel; the error, the root mean
        square difference of a weight from its reconstruction; and the kernels' spread, the root
        mean square difference of a weight from the mean kernel: the error of a prior that decodes
        every code to that kernel.

    Raises:
        UserError: the kernels are of another size than the prior's.
    """
    kernels = check_kernels(kernels, prior.kernel_size)
    decoded = prior.reconstruct(kernels)
    error = (decoded - kernels).square().mean().sqrt().item()
    spread = (kernels - kernels.mean(0)).square().mean().sqrt().item()
    return decoded, error, spread


@torch.no_grad()
def latent_grid(prior: KernelVAE, values: Sequence[float]) -> Tensor:
    """Decode a grid of codes.

    Args:
        prior: a VAE.
        values: v values of a coordinate.

    Returns:
        Mean kernels. Of two latent dimensions (v, v, k, k): `grid[i, j]` has the i-th value of the
        second coordinate and the j-th of the first. Of another number (latent, v, k, k): each
        coordinate in turn has the values, the others are zero.
    """
    value = torch.tensor(values, dtype=next(prior.parameters()).dtype)
    if prior.latent == 2:
        codes = torch.cartesian_prod(value, value).flip(1)  # (v * v, 2), the first changes fastest
    else:
        codes = torch.eye(prior.latent, dtype=value.dtype)[:, None] * value[:, None]
    kernels = prior.decode(codes.reshape(-1, prior.latent))[0]
    return kernels.unflatten(0, (-1, len(values)))
