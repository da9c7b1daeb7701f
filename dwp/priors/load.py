"""Priors by the name of their kind, and from their files."""

import os
from collections.abc import Sequence
from pathlib import Path

from dwp.errors import UserError, check_one_of, reading
from dwp.files import load_tensors
from dwp.priors.base import KernelPrior
from dwp.priors.kinds import KINDS
from dwp.priors.pretrained import pretrained, pretrained_file
from dwp.registry import class_at


def prior_class(kind: str) -> type[KernelPrior]:
    """Return the class of a kind of prior.

    Raises:
        UserError: nobody registered the kind.
    """
    check_one_of("prior kind", kind, KINDS)
    return class_at(KINDS[kind].location)


def load_prior(path: str | os.PathLike) -> KernelPrior:
    """Read a prior of any kind, frozen and ready for use.

    Args:
        path: the name of a prior that comes with the package, one of `dwp.pretrained()`; a file as
            `KernelPrior.save` writes it; or the folder of a VAE of the authors' release, with
            `vae_params.torch` in it. A string without a suffix and a slash is a name first.

    Raises:
        UserError: the name is unknown, or the file is missing, unreadable, or not a prior.
    """
    named = isinstance(path, str) and not (Path(path).suffix or os.path.dirname(path))
    if Path(path).is_dir() and not (named and path in pretrained()):
        # by its name: else each stage that reads a prior would depend on the release's format
        return class_at("dwp.release:load_released_vae")(path)
    if named:
        path = pretrained_file(str(path))
    tensors, settings = load_tensors(path, kind="prior")
    remedy = "make it again, or install the missing package"
    with reading(path, f"a prior of kind '{settings['kind']}'", remedy):
        prior = prior_class(settings["kind"])(**settings["arguments"])
        prior.load_state_dict(tensors)
    if any(tensor.isnan().any() for tensor in tensors.values()):
        raise UserError(f"{path}: expected numbers, found NaN; make it again")
    return prior.requires_grad_(False)


def load_priors(files: Sequence[Path] | None) -> dict[str, KernelPrior] | None:
    """Return the priors of files that are named by their layers, by layer; None without files."""
    return {file.stem: load_prior(file) for file in files or ()} or None
