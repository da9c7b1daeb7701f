"""Take the kernels of one layer from the authors' release."""

import argparse

import torch

from dwp.errors import one_line_errors
from dwp.files import save_tensors, write_json
from dwp.kernels import describe, norms, thin
from dwp.release import load_released_kernels, release_folder


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--release", help="folder of the release; default: DWP_RELEASE")
    parser.add_argument("--folder", required=True, help="the layer's folder in it")
    parser.add_argument("--kernels", required=True)
    parser.add_argument("--description", required=True)
    arguments = parser.parse_args()

    folder = release_folder(arguments.release) / arguments.folder
    train, test = load_released_kernels(folder)
    kernel_norms = norms(torch.cat([train, test]))
    cut = float(kernel_norms.min())
    tensors = {"train": train, "test": test, "norms": thin(kernel_norms)}
    header = {"released": arguments.folder, "cut": cut, "collected": len(kernel_norms)}
    save_tensors(arguments.kernels, tensors, kind="kernels", settings=header)
    write_json(arguments.description, describe(kernel_norms, cut, 0, len(train), len(test)))


if __name__ == "__main__":
    main()
