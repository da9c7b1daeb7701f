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
from helpers import refusal, same_state, save_as_released
from torch import nn

from dwp.priors import KINDS, prior_class
from dwp.priors.vae import KernelVAE
from dwp.release import load_kernel_array, load_released_kernels, load_released_vae, release_folder
from dwp.seeds import generator

# The release


@pytest.fixture(scope="module")
def release():
    if not os.environ.get("DWP_RELEASE"):
        pytest.skip("the authors' release is not here: DWP_RELEASE names no folder")
    return Path(os.environ["DWP_RELEASE"])


@pytest.fixture(scope="module")
def kernels(release):
    return load_released_kernels(release / "conv7x7")


@pytest.fixture(scope="module")
def released7(release):
    return load_released_vae(release / "vae7x7")


def test_released_kernels(kernels):
    train, test = kernels
    assert train.shape == (1769, 7, 7)
    assert test.shape == (443, 7, 7)
    assert train.dtype == test.dtype == torch.float32
    # They were pruned by norm.
    assert 0.38 < min(train.flatten(1).norm(dim=1).min(), test.flatten(1).norm(dim=1).min()) < 0.4


def test_released_vae_on_test_kernels(kernels, released7):
    test = kernels[1]
    terms = [released7.elbo_terms(test, generator("elbo", seed)) for seed in range(20)]
    log_likelihood = torch.stack([term[0].mean() for term in terms])
    kl = torch.stack([term[1].mean() for term in terms])
    # Standard deviation of the ELBO over seeds: 0.3, so 0.07 of this mean.
    assert (log_likelihood - kl).mean().item() == pytest.approx(49.6, abs=0.3)
    assert log_likelihood.mean().item() == pytest.approx(57.28, abs=0.3)
    assert kl.mean().item() == pytest.approx(7.660, abs=0.001)


def test_released_vae_by_importance_sampling_and_on_a_latent_grid(
    kernels, released7, grid_log_prob
):
    # About 55.5 with 1,000 samples, which take long; 50 are still far above the ELBO.
    values = released7.importance_log_prob(kernels[1], 50, generator("importance"))
    assert values.mean().item() == pytest.approx(54.1, abs=0.5)
    values = grid_log_prob(released7, kernels[1], 121)  # what importance sampling approaches
    assert values.mean().item() == pytest.approx(61.7, abs=0.2)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("gaussian-full", 91.8), ("gaussian-diagonal", 9.2), ("standard-normal", -46.1)],
)
def test_explicit_densities_of_released_kernels(kernels, kind, expected):
    train, test = kernels
    kind_class = prior_class(kind)
    prior = kind_class.fit(train) if KINDS[kind].needs_kernels else kind_class(7)
    assert prior.log_prob(test).mean().item() == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize(("folder", "sizes"), [("vae7x7", (7, 32, 2)), ("vae5x5", (5, 64, 4))])
def test_released_vae_on_its_own_samples(release, folder, sizes):
    vae = load_released_vae(release / folder)
    assert tuple(vae.arguments[name] for name in ("kernel_size", "hidden", "latent")) == sizes
    samples = vae.sample(300, generator("own"))
    log_likelihood, kl = vae.elbo_terms(samples, generator("terms"))
    # A trained encoder says much of a sample, and the bound is far above that of noise as large.
    noise = samples.std() * torch.randn(samples.shape, generator=generator("as large"))
    assert kl.mean() > 3
    assert (log_likelihood - kl).mean() > -vae.loss(noise, generator("terms")).mean() + 5


# Files like the release's


def make_vae(kernel_size, hidden=3, latent=2):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(kernel_size)
        return KernelVAE(kernel_size, hidden=hidden, latent=latent)


def state_of(vae, folder):
    """The state of a VAE under the release's names."""
    save_as_released(vae, folder)
    return torch.load(folder / "vae_params.torch", weights_only=True)


@pytest.fixture
def state(tmp_path):
    return state_of(make_vae(7), tmp_path / "made")


def write(folder, content, *, legacy=True):
    torch.save(content, folder / "vae_params.torch", _use_new_zipfile_serialization=not legacy)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(("kernel_size", "hidden", "latent"), [(7, 3, 2), (5, 4, 6)])
def test_round_trip_of_the_release_format(tmp_path, kernel_size, hidden, latent, nested):
    vae = make_vae(kernel_size, hidden, latent)
    state = state_of(vae, tmp_path / "made")
    if nested:  # the names differ between the two files of the release
        for old, new in (
            ("encoder.fc_var", "encoder.fc_sigma"),
            ("decoder.fc_mu", "decoder.fc_mu.0"),
            ("decoder.fc_var", "decoder.fc_var.0"),
        ):
            state = {name.replace(old, new): value for name, value in state.items()}
    write(tmp_path, state, legacy=kernel_size == 7)
    found = load_released_vae(tmp_path)
    assert found.arguments == vae.arguments
    assert not any(parameter.requires_grad for parameter in found.parameters())
    assert same_state(found, vae)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_damaged_release_is_refused(tmp_path, state, legacy):
    # Where the file ends decides what its reader raises: IndexError, OSError, struct.error, ...
    path = tmp_path / "vae_params.torch"
    assert refusal(load_released_vae, tmp_path) == f"{path}: no such file"
    write(tmp_path, state, legacy=legacy)
    whole = path.read_bytes()
    lengths = (0, 1, 3, 10, 100, 300, 1000, 2000, len(whole) // 2, len(whole) - 1)
    others = [b"\n", b"<html>\n404\n</html>\n", b"hello", b"\x80\x02.", bytes(100)]
    for content in [*(whole[:length] for length in lengths), *others]:
        path.write_bytes(content)
        line = refusal(load_released_vae, tmp_path)
        assert line.startswith(f"{path}: expected a 5 x 5 or 7 x 7 VAE of the authors' release; ")


class Harmful:
    """Pickled as a call: reading it with code would make a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_release_runs_no_code(tmp_path):
    write(tmp_path, {"encoder.features.0.weight": Harmful(tmp_path / "made")})
    assert "expected a 5 x 5" in refusal(load_released_vae, tmp_path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda state: nn.Linear(2, 3).state_dict(),
        lambda state: {name: value[:1] for name, value in state.items()},
        lambda state: {k: v for k, v in state.items() if k != "encoder.fc_mu.weight"},
        lambda state: state | {"encoder.features.0.weight": torch.zeros(4, 1, 3, 3)},
        lambda state: state | {"encoder.fc_mu.weight": 3},
        lambda state: [torch.zeros(1)],
    ],
)
def test_foreign_release(tmp_path, state, change):
    write(tmp_path, change(state))
    line = refusal(load_released_vae, tmp_path)
    assert "vae_params.torch: expected a 5 x 5 or 7 x 7 VAE" in line


def test_release_folder(monkeypatch):
    monkeypatch.delenv("DWP_RELEASE", raising=False)
    assert "DWP_RELEASE" in refusal(release_folder, None)
    assert release_folder("given") == Path("given")
    monkeypatch.setenv("DWP_RELEASE", "/from/environment")
    assert release_folder(None) == Path("/from/environment")
    assert release_folder("~/given") == Path.home() / "given"


@pytest.mark.parametrize(("shape", "dtype"), [((4, 7, 7), "float32"), ((4, 1, 7, 7), "float64")])
def test_kernel_array(tmp_path, shape, dtype):
    for part in ("train", "test"):
        np.save(tmp_path / f"{part}.npy", np.arange(4 * 49, dtype=dtype).reshape(shape))
    for found in load_released_kernels(tmp_path):
        assert found.dtype == torch.float32
        assert torch.equal(found, torch.arange(4.0 * 49).view(4, 7, 7))


def npy(array, length=None):
    def make(path):
        np.save(path, array, allow_pickle=True)
        path.write_bytes(path.read_bytes()[:length])

    return make


DAMAGED = "expected an array of kernels in .npy"
NO_KERNELS = [
    (npy(np.zeros((3, 7))), r"kernels: expected shape .* found \(3, 7\)"),
    (npy(np.array([Harmful("made"), None])), DAMAGED),
    (npy(np.zeros((4, 7, 7)), 200), DAMAGED),
    (lambda path: path.write_bytes(b"\x93NUMPY\x01\x00\x05\x00os.x("), DAMAGED),
    (lambda path: path.write_text("text\nin lines\n"), DAMAGED),
    (lambda path: path.mkdir(), DAMAGED),
    (lambda path: None, "no such file"),
]


@pytest.mark.parametrize(("make", "line"), NO_KERNELS)
def test_files_that_are_no_kernels(tmp_path, make, line):
    path = tmp_path / "kernels.npy"
    make(path)
    assert re.match(f"{path}: .*{line}", refusal(load_kernel_array, path))
