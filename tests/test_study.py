"""Studies of priors: the KL against the posterior's width, reconstructions, latent grids."""

import math

import pytest
import torch

from dwp.errors import UserError
from dwp.evaluation.study import DEVIATIONS, kl_by_width, latent_grid, reconstruct
from dwp.priors import GaussianKernels, kl_divergence, prior_class
from dwp.priors.normal import StandardNormal
from dwp.priors.vae import KernelVAE
from dwp.seeds import generator


@pytest.fixture
def vae(small_vae):
    """The small VAE in single precision, as priors come from their files."""
    torch.set_default_dtype(torch.float)
    return small_vae.float()


@pytest.fixture
def kernels(vae):
    return vae.sample(64, generator("own samples"))


def means(table, w, prior):
    return table[(table["w"] == w) & (table["prior"] == prior)]["mean"].tolist()


def test_from_the_standard_normal_it_is_the_closed_form(kernels):
    table = kl_by_width({"normal": StandardNormal(5)}, kernels)
    rows = table[table["w"] == "kernels"]
    assert rows["deviation"].tolist() == pytest.approx(DEVIATIONS)
    assert (DEVIATIONS[0], DEVIATIONS[-1]) == (0.001, 1)
    squares = kernels.double().square().sum((1, 2))
    # the KL of kernels differs by half their squared norms, whatever the deviation
    error = (squares / 2).std().item() / math.sqrt(len(kernels))
    for row in rows.itertuples():
        variance = row.deviation**2
        expected = 0.5 * (25 * variance + squares - 25 - 25 * math.log(variance))
        assert row.mean == pytest.approx(expected.mean().item(), rel=1e-5)
        assert row.standard_error == pytest.approx(error, rel=1e-3)
        assert (row.n, row.nature) == (64, "exact")


def test_noise_has_the_mean_square_of_the_kernels_and_only_a_fitted_prior_distinguishes_them():
    kernels = torch.randn((1000, 5, 5), generator=generator("x")) * 0.3 + 0.4
    priors = {
        "normal": StandardNormal(5),
        "diagonal": prior_class("gaussian-diagonal").fit(kernels),
    }
    table = kl_by_width(priors, kernels, [0.1]).set_index(["prior", "w"])["mean"]
    # half the squared norm of 25 weights: of the noise 25 / 2 * mean square, within its scatter
    square = kernels.square().mean().item()
    scatter = 4 * math.sqrt(25 / 2 * square**2 / 1000)
    assert table["normal", "noise"] == pytest.approx(table["normal", "kernels"], abs=scatter)
    assert table["diagonal", "noise"] > table["diagonal", "kernels"] + 10  # of mean zero, not 0.4


def test_it_is_the_bound_of_the_vae_which_is_above_the_kl(vae, kernels, grid_log_prob):
    (bound,) = means(kl_by_width({"dwp": vae}, kernels, [0.2]), "kernels", "dwp")
    posterior = GaussianKernels(kernels, torch.full_like(kernels, 2 * math.log(0.2)))
    draws = generator("other")
    several = torch.stack([kl_divergence(posterior, vae, draws).mean() for _ in range(30)])
    assert bound == pytest.approx(several.mean().item(), abs=4 * several.std().item())
    w = posterior.sample(draws).double()
    exact = (-posterior.entropy() - grid_log_prob(vae.double(), w)).mean().item()
    assert bound > exact


def test_draws_depend_on_the_seed_alone(vae, kernels):
    def table(seed):
        return kl_by_width({"one": vae, "other": vae}, kernels, [0.1, 1.0], seed=seed, most=10)

    first = table(0)
    assert first["n"].tolist() == [10] * 8
    for w in ("kernels", "noise"):
        assert means(first, w, "one") == means(first, w, "other")
    assert first.equals(table(0))
    assert not first["mean"].equals(table(1)["mean"])


def test_refusals(vae, kernels):
    with pytest.raises(UserError, match="7 x 7 kernels, found 5 x 5"):
        kl_by_width({"normal": StandardNormal(7)}, kernels)
    with pytest.raises(NotImplementedError, match="LogUniform"):
        kl_by_width({"log-uniform": prior_class("log-uniform")(5)}, kernels)
    with pytest.raises(UserError, match="5 x 5"):
        reconstruct(vae, torch.zeros(3, 7, 7))


def test_reconstructions_are_decoded_mean_codes(vae, kernels):
    decoded, error, spread = reconstruct(vae, kernels[:, None])
    torch.testing.assert_close(decoded[3:4], vae.decode(vae.encode(kernels[3:4])[0])[0])
    squares = (decoded - kernels).double().square()
    assert error == pytest.approx(math.sqrt(squares.mean()), rel=1e-5)
    deviation = kernels.double() - kernels.double().mean(0)
    assert spread == pytest.approx(math.sqrt(deviation.square().mean()), rel=1e-5)
    vae.decode = lambda codes: (kernels.mean(0).expand(len(codes), -1, -1), None)
    _, error, spread = reconstruct(vae, kernels)
    assert error == pytest.approx(spread, rel=1e-6)  # a decoder that ignores its code


@pytest.mark.parametrize(("latent", "code"), [(2, [2.0, -1.0]), (3, [0.0, 2.0, 0.0])])
def test_a_latent_grid_is_of_decoded_codes(latent, code):
    vae = KernelVAE(5, hidden=4, latent=latent).requires_grad_(False)
    grid = latent_grid(vae, [-1.0, 0.0, 2.0])
    assert grid.shape == (3, 3, 5, 5)
    # in a plane the second coordinate is -1 and the first 2; else the second alone is 2
    found = grid[0, 2] if latent == 2 else grid[1, 2]
    torch.testing.assert_close(found, vae.decode(torch.tensor([code]))[0][0])
