"""What test modules share: one thread, and a VAE small enough to integrate on a grid."""

import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from helpers import ROOT, save_as_released
from projects import Project
from torch import Tensor

from dwp.priors.vae import KernelVAE

torch.set_num_threads(1)


@pytest.fixture
def small_vae() -> Iterator[KernelVAE]:
    """A 5 x 5 VAE in double precision, untrained, whose kernels depend strongly on z.

    Double is also the default type within the test: a prior draws codes in it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        vae = KernelVAE(5, hidden=4, latent=2)
    vae.double().requires_grad_(False)
    for name, parameter in vae.named_parameters():
        if name.endswith("weight") and not name.startswith("encoder"):
            parameter *= 3
    vae.kernel_variance.bias -= 1
    vae.latent_variance.bias += 1  # r(z|w) wider than p(z): importance weights are bounded
    torch.set_default_dtype(torch.double)
    yield vae
    torch.set_default_dtype(torch.float)


@pytest.fixture
def grid_log_prob() -> Callable[..., Tensor]:
    """log p(w) of a VAE with two latent dimensions, by a Riemann sum over z in [-6, 6]^2."""

    def log_prob(vae: KernelVAE, kernels: Tensor, points: int = 61) -> Tensor:
        axis = torch.linspace(-6, 6, points, dtype=kernels.dtype)
        codes = torch.cartesian_prod(axis, axis)
        mean, variance = (m.flatten(1) for m in vae.decode(codes))  # (codes, d)
        # the sum of squares, multiplied out: (n, codes) without a tensor of (n, codes, d)
        w, precision = kernels.flatten(1), 1 / variance
        distance = w.square() @ precision.T - 2 * w @ (mean * precision).T
        distance = distance + (mean.square() * precision).sum(1)
        log_likelihood = -0.5 * (distance + (2 * math.pi * variance).log().sum(1))
        log_prior = -0.5 * codes.square().sum(1) - math.log(2 * math.pi)
        log_area = 2 * math.log(12 / (points - 1))
        return (log_likelihood + log_prior).logsumexp(1) + log_area

    return log_prob


@pytest.fixture
def fake_release(tmp_path) -> tuple[Path, KernelVAE]:
    """A folder like those of the authors' release, and the untrained 7 x 7 VAE that is in it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        vae = KernelVAE(7, hidden=3, latent=2)
    folder = tmp_path / "vae7x7"
    save_as_released(vae, folder)
    return folder, vae.requires_grad_(False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Project:
    """A project whose workflow has been run to its end."""
    project = Project(tmp_path_factory.mktemp("project"))
    project.made()
    return project


@pytest.fixture
def copy(finished, tmp_path) -> Project:
    """A copy of the finished project, to edit and to run further."""
    return finished.copy(tmp_path / "project")


@pytest.fixture
def fresh(tmp_path) -> Project:
    """A project of which nothing has been run, with the examples of the repository."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    return Project(tmp_path)
