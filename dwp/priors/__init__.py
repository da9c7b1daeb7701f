"""Priors over kernels: one interface, one file a kind."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from dwp.errors import UserError
from dwp.files import load_tensors
from dwp.priors.base import KernelPrior
from dwp.priors.kl import Estimation, kl_divergence, kl_nature, register_kl
from dwp.priors.posteriors import GaussianKernels, MultiplicativeKernels
from dwp.priors.pretrained import pretrained_file
from dwp.registry import class_at

__all__ = [
    "KINDS",
    "Estimation",
    "GaussianKernels",
    "KernelPrior",
    "MultiplicativeKernels",
    "kl_divergence",
    "kl_nature",
    "load_prior",
    "load_priors",
    "load_vae",
    "prior_class",
    "register_kl",
]

KINDS: dict[str, str] = {
    "vae": "dwp.priors.vae:KernelVAE",
    "standard-normal": "dwp.priors.normal:StandardNormal",
    "gaussian-diagonal": "dwp.priors.gaussian:DiagonalGaussian",
    "gaussian-full": "dwp.priors.gaussian:FullGaussian",
    "gaussian-mixture": "dwp.priors.mixture:GaussianMixture",
    "student-t": "dwp.priors.student:StudentT",
    "flow": "dwp.priors.flow:Flow",
    "log-uniform": "dwp.priors.log_uniform:LogUniform",
    "empirical": "dwp.priors.empirical:Empirical",
}
"""Kinds of prior: a new one is a file and a line here, and is imported only when used."""


def prior_class(kind: str) -> type[KernelPrior]:
    """Return the class of a kind of prior.

    Raises:
        UserError: nobody registered the kind.
    """
    if kind not in KINDS:  # no file of one's own: the kind comes with any prior that is read
        raise UserError(f"prior kind '{kind}' is unknown; expected one of {', '.join(KINDS)}")
    return class_at(KINDS[kind])


def load_prior(path: str | os.PathLike) -> KernelPrior:
    """Read a prior of any kind from its file, frozen and ready for use.

    Args:
        path: the file; or, as a string without a suffix and a folder, the name of a prior that
            comes with the package, one of `dwp.pretrained()`.

    Raises:
        UserError: the name is unknown, or the file is missing, unreadable, or not a prior.
    """
    if isinstance(path, str) and not (Path(path).suffix or os.path.dirname(path)):
        path = pretrained_file(path)
    tensors, settings = load_tensors(path, kind="prior")
    try:
        kind = prior_class(settings["kind"])
        if kind.kind == "flow":  # zuko's nets cannot be built as shapes; their sizes are bounded
            most = math.isqrt(sum(tensor.numel() for tensor in tensors.values()))
            if max(settings["arguments"].values()) > most:
                raise ValueError("sizes that do not fit the tensors")
            expected = kind(**settings["arguments"]).state_dict()
        else:
            with torch.device("meta"):  # a look at the shapes, before memory is given to them
                expected = kind(**settings["arguments"]).state_dict()
    except UserError as error:
        raise UserError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
    except ImportError as error:
        raise UserError(
            f"{path}: a '{settings['kind']}' prior needs a package; install it ({error})"
        ) from None
    except Exception as error:  # the arguments are whatever the file says
        raise UserError(
            f"{path}: expected the arguments of a '{settings['kind']}' prior, found "
            f"{settings['arguments']} ({error}); make it again"
        ) from None
    shapes, found = ({k: v.shape for k, v in state.items()} for state in (expected, tensors))
    if shapes != found:
        raise UserError(
            f"{path}: its tensors are not those of a '{settings['kind']}' prior; make it again"
        )
    if any(tensor.isnan().any() for tensor in tensors.values()):
        raise UserError(f"{path}: expected numbers, found NaN; make it again")
    prior = kind(**settings["arguments"])
    prior.load_state_dict(tensors)
    return prior.requires_grad_(False)


def load_vae(path: str | os.PathLike) -> KernelPrior:
    """Read a prior that must be a VAE, as `load_prior`."""
    prior = load_prior(path)
    if prior.kind != "vae":
        raise UserError(f"{path}: expected a prior of kind 'vae', found '{prior.kind}'")
    return prior


def load_priors(places: Sequence[str] | None) -> dict[str, KernelPrior] | None:
    """Read the priors of several layers from `layer=path` strings; None for no strings.

    Raises:
        UserError: a string has no `=`, or a file is no prior.
    """
    if not places:
        return None
    pairs = [place.partition("=") for place in places]
    for layer, sign, path in pairs:
        if not (layer and sign and path):
            raise UserError(f"expected LAYER=FILE, found '{layer}{sign}{path}'")
    return {layer: load_prior(path) for layer, _, path in pairs}
