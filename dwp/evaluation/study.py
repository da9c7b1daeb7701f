"""What a prior prefers, and what its code keeps of a kernel."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from torch import Tensor

from dwp.errors import UserError
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
    """Tell the KL of the posterior q = N(w, deviation^2) from priors, for kernels and for noise.

    Noise is white and Gaussian, with the mean square weight of the kernels: a prior that looks at
    the size of weights alone gives both the same KL, one that knows kernels tells them apart.
    Atanov et al. 2019 show such curves of the DWP and the standard normal.

    Args:
        priors: by name; each needs a KL of `GaussianKernels` from it.
        kernels: w (n, k, k) or (n, 1, k, k), the same in number as noise is drawn.
        deviations: standard deviations of every weight under q.
        seed: of the choice of kernels, the noise and the draws from q; the draws are the same for
            all priors.
        most: kernels; of more so many are chosen.

    Returns:
        A row for each of what `w` is ("kernels" or "noise"), `prior` and `deviation`: the `nature`
        of the KL (see `dwp.priors.kl_nature`), `n`, and the `mean` over w in nats per kernel with
        its `standard_error`.

    Raises:
        UserError: the kernels are of another size than a prior's, or a deviation is not positive.
        NotImplementedError: a prior has no such KL.
    """
    if min(deviations) <= 0:
        raise UserError(f"deviations: expected numbers above 0, found {min(deviations)}")
    kernels = check_kernels(kernels)
    draws = generator("kl by width", seed)
    kernels = kernels[torch.randperm(len(kernels), generator=draws)[:most]]
    noise = torch.randn(kernels.shape, generator=draws) * kernels.square().mean().sqrt()
    rows = []
    for w, means in (("kernels", kernels), ("noise", noise)):
        for name, prior in priors.items():
            check_kernels(means, prior.kernel_size)
            for deviation in deviations:
                log_variance = torch.full_like(means, 2 * math.log(deviation))
                posterior = GaussianKernels(means, log_variance)
                random = generator("kl by width", seed, w, deviation)
                kl = kl_divergence(posterior, prior, random).double()
                rows.append(
                    {
                        "w": w,
                        "prior": name,
                        "deviation": deviation,
                        "nature": kl_nature(posterior, prior),
                        "n": len(kl),
                        "mean": kl.mean().item(),
                        "standard_error": kl.std().item() / math.sqrt(len(kl)),
                    }
                )
    return pd.DataFrame(rows)


@torch.no_grad()
def reconstruct(prior: KernelVAE, kernels: Tensor) -> tuple[Tensor, float, float]:
    """Decode the mean codes of kernels.

    Args:
        prior: a VAE.
        kernels: (n, k, k) or (n, 1, k, k).

    Returns:
        The decoder's mean (n, k, k) at the encoder's mean of each kernel; the error, the root mean
        square difference of a weight from its reconstruction; and the kernels' spread, the root
        mean square difference of a weight from the mean kernel, which is the error of a prior that
        decodes everything to that.

    Raises:
        UserError: the kernels are of another size than the prior's.
    """
    kernels = check_kernels(kernels, prior.kernel_size)
    decoded = prior.reconstruct(kernels)
    error = (decoded - kernels).square().mean().sqrt().item()
    spread = (kernels - kernels.mean(0)).square().mean().sqrt().item()
    return decoded, error, spread
