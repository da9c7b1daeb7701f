"""The authors' released kernels and trained VAEs of 2018.

A released VAE is a folder with `params.yaml` and `vae_params.torch` (a pickled state dict, read
with `weights_only=True`); released kernels are a folder with `train.npy` and `test.npy`.
"""

import os
import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dwp.errors import UserError, reading
from dwp.kernels import check_kernels
from dwp.priors import KernelPrior, prior_class

_NAMES = (
    (r"^encoder\.features\.", "encoder."),
    (r"^encoder\.fc_mu\.", "latent_mean."),
    (r"^encoder\.fc_(var|sigma)\.", "latent_variance."),
    (r"^decoder\.decoder\.", "decoder."),
    (r"^decoder\.fc_mu\.(0\.)?", "kernel_mean."),
    (r"^decoder\.fc_var\.(0\.)?", "kernel_variance."),
)


def release_folder(configured: str | None) -> Path:
    """Return the folder of the release: as configured, else the environment's `DWP_RELEASE`.

    Raises:
        UserError: neither is given.
    """
    folder = configured or os.environ.get("DWP_RELEASE")
    if not folder:
        raise UserError(
            "release: expected the folder of the authors' release (vae7x7, vae5x5, conv7x7 in it), "
            "found none; set `release` in the config or the environment variable DWP_RELEASE"
        )
    return Path(folder).expanduser()


def load_released_vae(folder: str | os.PathLike) -> KernelPrior:
    """Read a released VAE as a frozen `KernelVAE`.

    Args:
        folder: holds `vae_params.torch`; sizes are read off its tensors.

    Raises:
        UserError: the file is missing, unreadable, or not a VAE of the release.
    """
    path = Path(folder) / "vae_params.torch"
    with reading(path, "a 5 x 5 or 7 x 7 VAE of the authors' release"):
        tensors = torch.load(path, map_location="cpu", weights_only=True)
        for pattern, replacement in _NAMES:
            tensors = {re.sub(pattern, replacement, name): v for name, v in tensors.items()}
        hidden = tensors["encoder.0.weight"].shape[0]  # (hidden, 1, 3, 3)
        latent = tensors["latent_mean.weight"].shape[0]  # (latent, width, 1, 1)
        size = 5 if "encoder.6.weight" in tensors else 7
        vae = prior_class("vae")(size, hidden=hidden, latent=latent)
        vae.load_state_dict(tensors)
    return vae.requires_grad_(False)


def load_released_kernels(folder: str | os.PathLike) -> tuple[Tensor, Tensor]:
    """Read released kernels: the train and the test part, (n, k, k).

    Raises:
        UserError: a file is missing or is not an array of kernels.
    """
    train, test = (load_kernel_array(Path(folder) / f"{part}.npy") for part in ("train", "test"))
    return train, test


def load_kernel_array(path: str | os.PathLike) -> Tensor:
    """Read kernels (n, k, k) or (n, 1, k, k) from a `.npy` file as `dwp.kernels.check_kernels`.

    Raises:
        UserError: the file is missing, unreadable, or holds something else.
    """
    with reading(path, "an array of kernels in .npy"):
        return check_kernels(np.load(path, allow_pickle=False))
