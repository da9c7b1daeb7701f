"""Take the kernels of one layer from the authors' release."""

from pathlib import Path

import torch

from dwp.files import save_tensors, write_json
from dwp.kernels import describe, norms, thin
from dwp.release import load_released_kernels, release_folder
from dwp.study.program import program


@program
def main(*, folder: str, kernels: Path, description: Path, release: Path | None = None) -> None:
    """Take the kernels of one layer from the authors' release.

    Args:
        folder: the layer's folder in the release.
        release: folder of the release; default: DWP_RELEASE.
    """
    train, test = load_released_kernels(release_folder(release) / folder)
    kernel_norms = norms(torch.cat([train, test]))
    threshold = float(kernel_norms.min())
    tensors = {"train": train, "test": test, "norms": thin(kernel_norms)}
    header = {"released": folder, "cut": threshold, "collected": len(kernel_norms)}
    save_tensors(kernels, tensors, kind="kernels", settings=header)
    write_json(description, describe(kernel_norms, threshold, 0, len(train), len(test)))


if __name__ == "__main__":
    main()
