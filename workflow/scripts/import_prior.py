"""Take the prior of one layer from the authors' release, or from those that come with dwp."""

from pathlib import Path

from dwp.errors import UserError
from dwp.priors import load_prior
from dwp.release import load_released_vae, release_folder
from dwp.study.program import program


@program
def main(
    *,
    prior: Path,
    folder: str | None = None,
    pretrained: str | None = None,
    release: Path | None = None,
) -> None:
    """Take the prior of one layer from the authors' release, or from those that come with dwp.

    Args:
        prior: the file to write.
        folder: the layer's folder in the release.
        pretrained: instead of it, the name of a prior that comes with dwp.
        release: folder of the release; default: DWP_RELEASE.
    """
    if (folder is None) == (pretrained is None):
        raise UserError("expected either --folder or --pretrained, found both or none")
    if pretrained is not None:
        load_prior(pretrained).save(prior)
    else:
        load_released_vae(release_folder(release) / str(folder)).save(prior)


if __name__ == "__main__":
    main()
