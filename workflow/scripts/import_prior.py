"""Take the prior of one layer from the authors' release, or from those that come with dwp."""

import argparse

from dwp.errors import one_line_errors
from dwp.priors import load_prior
from dwp.release import load_released_vae, release_folder


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--release", help="folder of the release; default: DWP_RELEASE")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--folder", help="the layer's folder in it")
    place.add_argument("--pretrained", help="the name of one that comes with dwp")
    parser.add_argument("--prior", required=True)
    arguments = parser.parse_args()
    if arguments.pretrained:
        prior = load_prior(arguments.pretrained)
    else:
        prior = load_released_vae(release_folder(arguments.release) / arguments.folder)
    prior.save(arguments.prior)


if __name__ == "__main__":
    main()
