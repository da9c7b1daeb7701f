"""The authors' released kernels and trained VAEs of 2018.

A released VAE is a folder with `params.yaml` and `vae_params.torch` (a pickled state dict, read
with `weights_only=True`); released kernels are a folder with `train.npy` and `test.npy`.
"""

import os
import re
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dwp.errors import UserError
from dwp.kernels import check_kernels
from dwp.priors.vae import KernelVAE

_NAMES = (
    (r"^encoder\.features\.", "encoder."),
    (r"^encoder\.fc_mu\.", "latent_mean."),
    (r"^encoder\.fc_(var|sigma)\.", "latent_variance."),
    (r"^decoder\.decoder\.", "decoder."),
    (r"^decoder\.fc_mu\.(0\.)?", "kernel_mean."),
    (r"^decoder\.fc_var\.(0\.)?", "kernel_variance."),
)

_MOST_BYTES = 2**28  # of a VAE; the released ones have some millions


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


def load_released_vae(folder: str | os.PathLike) -> KernelVAE:
    """Read a released VAE as a frozen `KernelVAE`.

    Args:
        folder: holds `vae_params.torch`; sizes are read off its tensors.

    Raises:
        UserError: the file is missing, unreadable, or not a VAE of the release.
    """
    path = Path(folder) / "vae_params.torch"
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected a folder of the authors' release")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                _check_size(sum(member.file_size for member in archive.infolist()))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can make its reader raise almost anything
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"{path}: not a readable state dict ({reason}); fetch it again") from None
    try:
        tensors = {_rename(name): value for name, value in state.items()}
        first = tensors["encoder.0.weight"]  # (hidden, 1, 3, 3)
        latent = tensors["latent_mean.weight"]  # (latent, width, 1, 1)
        kernel_size = 5 if "encoder.6.weight" in tensors else 7
        # Stored once, a number can stand for a whole tensor: their sizes, not the file's.
        _check_size(sum(value.numel() * value.element_size() for value in tensors.values()))
        sizes = {"hidden": first.shape[0], "latent": latent.shape[0]}
        with torch.device("meta"):  # a look at the shapes, before memory is given to them
            KernelVAE(kernel_size, **sizes).load_state_dict(tensors, assign=True)
        vae = KernelVAE(kernel_size, **sizes)
        vae.load_state_dict(tensors)
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        names = list(state)[:3] if isinstance(state, dict) else type(state).__name__
        raise UserError(
            f"{path}: not a 5 x 5 or 7 x 7 VAE of the authors' release; found {names}"
        ) from None
    return vae.requires_grad_(False)


def _check_size(size: int) -> None:
    if size > _MOST_BYTES:
        raise ValueError(f"{size} bytes, more than {_MOST_BYTES}")


def _rename(name: str) -> str:
    for pattern, replacement in _NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def load_released_kernels(folder: str | os.PathLike) -> tuple[Tensor, Tensor]:
    """Read released kernels: the train and the test part, float32 (n, k, k).

    Raises:
        UserError: a file is missing or is not an array of kernels.
    """
    return tuple(load_kernel_array(Path(folder) / f"{part}.npy") for part in ("train", "test"))


def load_kernel_array(path: str | os.PathLike) -> Tensor:
    """Read kernels (n, k, k) or (n, 1, k, k) from a `.npy` file as float32 (n, k, k).

    Raises:
        UserError: the file is missing, unreadable, or holds something else.
    """
    try:
        # Mapped, so that the header's shape is held against the file before memory is given to it
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        return check_kernels(torch.from_numpy(np.array(array, dtype=np.float32)))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except Exception as error:  # a damaged header can make its reader raise almost anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: expected an array of kernels in .npy, found {reason}") from None
