"""Take the VAE prior of one layer from the authors' release."""

import argparse

from dwp.errors import one_line_errors
from dwp.legacy import load_released_vae, release_folder


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--release", help="folder of the release; default: DWP_RELEASE")
    parser.add_argument("--folder", required=True, help="the layer's folder in it")
    parser.add_argument("--prior", required=True)
    arguments = parser.parse_args()
    folder = release_folder(arguments.release) / arguments.folder
    load_released_vae(folder).save(arguments.prior)


if __name__ == "__main__":
    main()
