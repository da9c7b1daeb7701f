"""The authors' release: its numbers where it is at hand, and its formats everywhere.

Tests of the release itself need its folder (with conv7x7, vae7x7 and vae5x5 in it) in the
environment variable DWP_RELEASE.
"""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dwp.errors import UserError
from dwp.priors import load_prior, prior_class
from dwp.priors.vae import KernelVAE
from dwp.release import (
    load_kernel_array,
    load_released_kernels,
    load_released_vae,
    release_folder,
)
from dwp.seeds import generator

needs_release = pytest.mark.skipif(
    not os.environ.get("DWP_RELEASE"),
    reason="the authors' release is not here: DWP_RELEASE names no folder",
)


def user_error(function, *arguments):
    """The one line of the UserError that a call raises."""
    with pytest.raises(UserError) as caught:
        function(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


# The release


@pytest.fixture(scope="module")
def release():
    return Path(os.environ["DWP_RELEASE"])


@pytest.fixture(scope="module")
def kernels(release):
    return load_released_kernels(release / "conv7x7")


@pytest.fixture(scope="module")
def released7(release):
    return load_released_vae(release / "vae7x7")


@needs_release
def test_released_kernels(kernels):
    train, test = kernels
    assert train.shape == (1769, 7, 7)
    assert test.shape == (443, 7, 7)
    assert train.dtype == test.dtype == torch.float32
    # They were pruned by norm.
    assert 0.38 < min(train.flatten(1).norm(dim=1).min(), test.flatten(1).norm(dim=1).min()) < 0.4


@needs_release
def test_released_vae_on_test_kernels(kernels, released7):
    test = kernels[1]
    terms = [released7.elbo_terms(test, generator("elbo", seed)) for seed in range(20)]
    log_likelihood = torch.stack([term[0].mean() for term in terms])
    kl = torch.stack([term[1].mean() for term in terms])
    # Standard deviation of the ELBO over seeds: 0.3, so 0.07 of this mean.
    assert (log_likelihood - kl).mean().item() == pytest.approx(49.6, abs=0.3)
    assert log_likelihood.mean().item() == pytest.approx(57.28, abs=0.3)
    assert kl.mean().item() == pytest.approx(7.660, abs=0.001)


@needs_release
def test_released_vae_by_importance_sampling(kernels, released7):
    # About 55.5 with 1,000 samples, which take long; 200 are still far above the ELBO.
    values = released7.importance_log_prob(kernels[1], 200, generator("importance"))
    assert values.mean().item() == pytest.approx(54.9, abs=0.4)


@needs_release
def test_released_vae_on_a_latent_grid(kernels, released7, grid_log_prob):
    # What importance sampling approaches.
    values = grid_log_prob(released7, kernels[1], 121)
    assert values.mean().item() == pytest.approx(61.7, abs=0.2)


@needs_release
@pytest.mark.parametrize(
    ("kind", "expected"),
    [("gaussian-full", 91.8), ("gaussian-diagonal", 9.2), ("standard-normal", -46.1)],
)
def test_explicit_densities_of_released_kernels(kernels, kind, expected):
    train, test = kernels
    kind_class = prior_class(kind)
    prior = kind_class.fit(train) if kind_class.needs_kernels else kind_class(7)
    assert prior.log_prob(test).mean().item() == pytest.approx(expected, abs=0.1)


@needs_release
@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("vae7x7", {"kernel_size": 7, "hidden": 32, "latent": 2}),
        ("vae5x5", {"kernel_size": 5, "hidden": 64, "latent": 4}),
    ],
)
def test_released_vae_on_its_own_samples(release, folder, expected):
    vae = load_released_vae(release / folder)
    assert vae.arguments == expected
    assert not any(parameter.requires_grad for parameter in vae.parameters())
    samples = vae.sample(300, generator("own"))
    log_likelihood, kl = vae.elbo_terms(samples, generator("terms"))
    assert log_likelihood.isfinite().all()
    assert (kl > 0).all()
    # A trained encoder says much of a sample, and the bound is far above that of noise as large.
    noise = samples.std() * torch.randn(samples.shape, generator=generator("as large"))
    assert kl.mean() > 3
    assert (log_likelihood - kl).mean() > -vae.loss(noise, generator("terms")).mean() + 5


@needs_release
def test_released_vae_becomes_a_prior_file(tmp_path, released7, kernels):
    released7.save(tmp_path / "prior.safetensors")
    prior = load_prior(tmp_path / "prior.safetensors")
    first, second = (p.loss(kernels[1], generator(0)) for p in (released7, prior))
    assert torch.equal(first, second)


# Files like the release's


def released_names(vae, *, nested):
    """The state of a VAE under the release's names, which differ between its two files."""
    names = {
        "encoder": "encoder.features",
        "latent_mean": "encoder.fc_mu",
        "latent_variance": "encoder.fc_sigma" if nested else "encoder.fc_var",
        "decoder": "decoder.decoder",
        "kernel_mean": "decoder.fc_mu.0" if nested else "decoder.fc_mu",
        "kernel_variance": "decoder.fc_var.0" if nested else "decoder.fc_var",
    }
    state = {}
    for name, value in vae.state_dict().items():
        module, _, rest = name.partition(".")
        state[f"{names[module]}.{rest}"] = value.contiguous()
    return state


def write(folder, content, *, legacy=True):
    torch.save(content, folder / "vae_params.torch", _use_new_zipfile_serialization=not legacy)


def make_vae(kernel_size, hidden=3, latent=2):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(kernel_size)
        return KernelVAE(kernel_size, hidden=hidden, latent=latent)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(("kernel_size", "hidden", "latent"), [(7, 3, 2), (5, 4, 6)])
def test_round_trip_of_the_release_format(tmp_path, kernel_size, hidden, latent, nested, legacy):
    vae = make_vae(kernel_size, hidden, latent)
    write(tmp_path, released_names(vae, nested=nested), legacy=legacy)
    found = load_released_vae(tmp_path)
    assert found.arguments == vae.arguments
    assert not any(parameter.requires_grad for parameter in found.parameters())
    assert found.state_dict().keys() == vae.state_dict().keys()
    for name, value in vae.state_dict().items():
        assert torch.equal(found.state_dict()[name], value)
    vae.requires_grad_(False)
    samples = vae.sample(4, generator(0))
    assert torch.equal(samples, found.sample(4, generator(0)))
    assert torch.equal(vae.loss(samples, generator(1)), found.loss(samples, generator(1)))


def test_missing_release(tmp_path):
    message = user_error(load_released_vae, tmp_path)
    assert message.startswith(f"{tmp_path / 'vae_params.torch'}: no such file")


@pytest.mark.parametrize("legacy", [False, True])
def test_truncated_release(tmp_path, legacy):
    # Where the file ends decides what its reader raises: IndexError, OSError, struct.error, ...
    path = tmp_path / "vae_params.torch"
    write(tmp_path, released_names(make_vae(7), nested=False), legacy=legacy)
    content = path.read_bytes()
    for length in (0, 1, 3, 10, 100, 300, 1000, 2000, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        message = user_error(load_released_vae, tmp_path)
        assert message.startswith(f"{path}: not a readable state dict")


@pytest.mark.parametrize(
    "content", [b"\n", b"<html>\n404\n</html>\n", b"hello", b"\x80\x02.", bytes(100)]
)
def test_corrupt_release(tmp_path, content):
    path = tmp_path / "vae_params.torch"
    path.write_bytes(content)
    assert user_error(load_released_vae, tmp_path).startswith(f"{path}: not a readable state dict")


class Harmful:
    """Pickled as a call: reading it with code would make a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_release_runs_no_code(tmp_path):
    write(tmp_path, {"encoder.features.0.weight": Harmful(tmp_path / "made")})
    user_error(load_released_vae, tmp_path)
    assert not (tmp_path / "made").exists()


def without(state, name):
    return {k: v for k, v in state.items() if k != name}


STATE = released_names(make_vae(7), nested=False)


@pytest.mark.parametrize(
    "content",
    [
        nn.Linear(2, 3).state_dict(),
        released_names(make_vae(16), nested=False),
        make_vae(7).state_dict() | {"more": torch.zeros(1)},
        without(STATE, "encoder.fc_mu.weight"),
        without(STATE, "decoder.decoder.2.bias"),
        STATE | {"encoder.features.0.weight": torch.zeros(4, 1, 3, 3)},
        STATE | {"encoder.features.0.weight": torch.tensor(1.0)},
        STATE | {"encoder.fc_mu.weight": 3},
        {1: torch.zeros(1)},
        {},
        [torch.zeros(1)],
        torch.zeros(3),
        None,
    ],
    ids=lambda content: type(content).__name__,
)
def test_foreign_release(tmp_path, content):
    write(tmp_path, content)
    message = user_error(load_released_vae, tmp_path)
    expected = f"{tmp_path / 'vae_params.torch'}: not a 5 x 5 or 7 x 7 VAE"
    assert message.startswith(expected)


def test_release_folder(monkeypatch):
    monkeypatch.delenv("DWP_RELEASE", raising=False)
    assert "DWP_RELEASE" in user_error(release_folder, None)
    assert release_folder("given") == Path("given")
    monkeypatch.setenv("DWP_RELEASE", "/from/environment")
    assert release_folder(None) == Path("/from/environment")
    assert release_folder("~/given") == Path.home() / "given"


@pytest.mark.parametrize("shape", [(4, 7, 7), (4, 1, 7, 7)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kernel_array(tmp_path, shape, dtype):
    array = np.arange(4 * 49, dtype=dtype).reshape(shape)
    np.save(tmp_path / "kernels.npy", array)
    found = load_kernel_array(tmp_path / "kernels.npy")
    assert found.dtype == torch.float32
    assert torch.equal(found, torch.arange(4.0 * 49).view(4, 7, 7))


def test_released_kernels_are_two_parts(tmp_path):
    for n, part in ((3, "train"), (2, "test")):
        np.save(tmp_path / f"{part}.npy", np.zeros((n, 1, 5, 5), "float32"))
    assert [len(part) for part in load_released_kernels(tmp_path)] == [3, 2]
    (tmp_path / "test.npy").unlink()
    message = user_error(load_released_kernels, tmp_path)
    assert message == f"{tmp_path / 'test.npy'}: no such file"


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.zeros((3, 7)), "(3, 7)"),
        (np.zeros((3, 2, 7, 7)), "(3, 2, 7, 7)"),
        (np.zeros((0, 7, 7)), "(0, 7, 7)"),
        (np.array(1.0), "()"),
        (np.full((1, 3, 3), np.nan), "NaN"),
        (np.full((1, 3, 3), 1e300), "infinity"),
        (np.full((1, 3, 3), "text"), "could not convert"),
        (np.array([None]), "Python objects"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_arrays_that_are_no_kernels(tmp_path, array, found):
    path = tmp_path / "kernels.npy"
    np.save(path, array, allow_pickle=True)
    message = user_error(load_kernel_array, path)
    assert message.startswith(f"{path}: ")
    assert re.search(re.escape(found), message)


@pytest.mark.parametrize("length", [0, 5, 20, 200])
def test_truncated_kernel_array(tmp_path, length):
    path = tmp_path / "kernels.npy"
    np.save(path, np.zeros((4, 7, 7)))
    path.write_bytes(path.read_bytes()[:length])
    assert user_error(load_kernel_array, path).startswith(f"{path}: expected an array of kernels")


def test_other_files_are_no_kernel_array(tmp_path):
    path = tmp_path / "kernels.npy"
    path.write_text("text\nin lines\n")
    assert user_error(load_kernel_array, path).startswith(f"{path}: expected an array of kernels")
    with open(path, "wb") as file:
        np.savez(file, kernels=np.zeros((4, 7, 7)))
    assert user_error(load_kernel_array, path).startswith(f"{path}: expected an array of kernels")
    assert str(tmp_path) in user_error(load_kernel_array, tmp_path)  # a folder
