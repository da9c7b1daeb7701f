"""Scores and studies of priors: what is exact or bounded, where bounds lead, what the KL says."""

import json
import math

import pytest
import torch

from dwp.errors import UserError
from dwp.evaluation.scores import follow_bound, nearest, score
from dwp.evaluation.study import DEVIATIONS, kl_by_width, latent_grid, reconstruct
from dwp.kernels import count_different, variety
from dwp.priors import GaussianKernels, kl_divergence, prior_class
from dwp.priors.normal import StandardNormal
from dwp.priors.vae import KernelVAE
from dwp.seeds import generator


def random_kernels(n, k, seed=0):
    return torch.randn((n, k, k), generator=generator("kernels", n, k, seed))


EMPIRICAL = prior_class("empirical").fit(random_kernels(4, 5))
IMPROPER = prior_class("log-uniform")(5)


@pytest.fixture
def vae(small_vae):
    """The small VAE in single precision, as priors come from their files."""
    torch.set_default_dtype(torch.float)
    return small_vae.float()


@pytest.fixture
def kernels(vae):
    return vae.sample(64, generator("own samples"))


# Explicit densities


def test_an_explicit_density_is_its_own_bound():
    fitted = prior_class("gaussian-full").fit(random_kernels(50, 3))
    kernels = random_kernels(20, 3, seed=1)
    found = score(fitted, kernels)
    terms = {"elbo", "log_likelihood", "kl", "log_prob"}
    assert set(found) == {"n", "at_zero", "at_initial", *terms}
    assert found["n"] == 20
    assert found["kl"] == {"mean": 0.0, "standard_error": 0.0}
    assert found["log_prob"].pop("estimator") == "exact"
    assert found["elbo"] == found["log_likelihood"] == found["log_prob"]
    assert found["elbo"]["mean"] == pytest.approx(fitted.log_prob(kernels).mean().item(), rel=1e-6)


def test_mean_and_standard_error_by_hand():
    # Kernels of one weight under N(0, 1): log densities -w^2 / 2 - c for w = 0, 1, 3.
    kernels = torch.tensor([0.0, 1.0, 3.0]).view(3, 1, 1)
    found = score(StandardNormal(1), kernels)["log_prob"]
    assert found["mean"] == pytest.approx(-10 / 6 - 0.5 * math.log(2 * math.pi), rel=1e-6)
    squares = (0 - 5 / 3) ** 2 + (0.5 - 5 / 3) ** 2 + (4.5 - 5 / 3) ** 2
    assert found["standard_error"] == pytest.approx(math.sqrt(squares / 2 / 3), rel=1e-6)
    alone = score(StandardNormal(1), kernels[:1])
    assert alone["elbo"]["standard_error"] is None
    json.dumps(alone, allow_nan=False)


def test_density_at_zero_and_where_nets_start():
    found = score(StandardNormal(3), random_kernels(5, 3))
    assert found["at_zero"] == pytest.approx(-4.5 * math.log(2 * math.pi), rel=1e-6)
    # The squared norm of a draw has mean 9 and variance 18.
    error = 0.5 * math.sqrt(18 / 1000)
    assert found["at_initial"] == pytest.approx(found["at_zero"] - 4.5, abs=4 * error)


def test_kernels_of_any_form_are_scored_alike():
    kernels, prior = random_kernels(5, 3), prior_class("gaussian-full").fit(random_kernels(50, 3))
    for same in (kernels[:, None], kernels.numpy(), kernels.double().numpy()):
        assert score(prior, same) == score(prior, kernels)
        assert nearest(prior, same, kernels)["nearest_test"]["median"] == 0
    in_double = prior.double()
    expected = in_double.log_prob(kernels.double()).mean().item()
    assert score(in_double, kernels)["elbo"]["mean"] == pytest.approx(expected, rel=1e-9)


# The bound of a VAE


def test_terms_of_the_bound(vae, kernels):
    found = score(vae, kernels, importance_samples=200)
    assert found["n"] == 64
    assert found["log_prob"]["estimator"] == "importance-weighted"
    elbo, log_likelihood, kl = (found[k]["mean"] for k in ("elbo", "log_likelihood", "kl"))
    assert elbo == pytest.approx(log_likelihood - kl, abs=1e-4)
    assert kl > 0
    assert all(found[k]["standard_error"] > 0 for k in ("elbo", "log_likelihood", "kl", "log_prob"))
    # The encoder is untrained, so the bound is loose: far above it, not just by chance.
    assert found["log_prob"]["mean"] > elbo + 0.1
    json.dumps(found, allow_nan=False)


def test_log_prob_is_that_of_a_latent_grid(vae, kernels, grid_log_prob):
    found = score(vae, kernels, importance_samples=300)["log_prob"]["mean"]
    exact = grid_log_prob(vae.double(), kernels.double()).mean().item()
    assert found == pytest.approx(exact, abs=0.05)


def test_numbers_depend_on_the_seed_but_for_the_kl_of_the_code(vae, kernels):
    mean, variance = vae.encode(kernels)
    expected = 0.5 * (mean.square() + variance - 1 - variance.log()).sum(1).mean().item()
    first, same, other = (
        score(vae, kernels, generator=seed, samples=3, importance_samples=5) for seed in (3, 3, 4)
    )
    assert first == same
    assert first["kl"]["mean"] == pytest.approx(expected, rel=1e-5)
    assert other["kl"] == first["kl"]
    for name in ("elbo", "log_likelihood", "log_prob"):
        assert other[name]["mean"] != first[name]["mean"]


# What a prior remembers


def test_distances_to_the_nearest_training_kernel_by_hand():
    # On a line: training kernels at 0 and 10, test kernels at 1, 2, 6, 13 and 20.
    train, test = (torch.tensor(x).view(-1, 1, 1) for x in ([0.0, 10], [1.0, 2, 6, 13, 20]))
    found = nearest(StandardNormal(1), train, test)
    assert found["nearest_test"]["median"] == 3  # of 1, 2, 3, 4, 10
    assert found["nearest_test"]["decile"] == pytest.approx(1.4)
    # |w| of a standard normal: its median, and the tenth that lies nearest to 0.
    assert found["nearest_sample"]["median"] == pytest.approx(0.674, abs=0.08)
    assert found["nearest_sample"]["decile"] == pytest.approx(0.126, abs=0.04)


def test_a_prior_that_remembers_has_nearer_samples_than_one_that_does_not():
    train, test = random_kernels(300, 5), random_kernels(300, 5, seed=1)
    # Distances that products of matrices would lose: kernels far from zero
    train, test = train + 100, test + 100
    fitted = nearest(prior_class("gaussian-full").fit(train), train, test)
    median = fitted["nearest_test"]["median"]
    assert fitted["nearest_sample"]["median"] == pytest.approx(median, rel=0.1)
    copies = nearest(prior_class("empirical").fit(train), train, test)
    assert copies["nearest_sample"] == {"median": 0.0, "decile": 0.0}
    assert copies["nearest_test"] == fitted["nearest_test"]


def test_distances_depend_on_the_seed_alone():
    train, test = random_kernels(250, 3), random_kernels(40, 3, seed=1)
    first, same, other = (
        nearest(StandardNormal(3), train, test, generator=s, samples=20) for s in (0, 0, 1)
    )
    assert first == same
    assert first["nearest_sample"] != other["nearest_sample"]
    assert first["nearest_test"] != other["nearest_test"]


# Where bounds lead samples: priors whose modes are known


def test_samples_of_the_standard_normal_end_at_zero():
    found = follow_bound(StandardNormal(3), n=50, steps=300, learning_rate=0.05)
    assert found["norm_after"] < 0.05 * found["norm_before"]
    assert (found["different_before"], found["different_after"]) == (50, 1)
    assert found["gained"] == pytest.approx(4.5, rel=0.2)  # half of nine squares


def test_samples_of_a_mixture_end_on_its_components():
    draws = generator("mixture", 0)
    centres = torch.tensor([-2.0, 2.0])[torch.randint(2, (200,), generator=draws)]
    kernels = centres[:, None, None] + 0.1 * torch.randn(200, 3, 3, generator=draws)
    mixture = prior_class("gaussian-mixture").fit(kernels, components=2, seed=0)
    found = follow_bound(mixture, n=50, steps=400, learning_rate=0.01)
    assert found["different_after"] == 2
    assert found["norm_after"] == pytest.approx(6, rel=0.02)  # of nine twos


def test_samples_of_a_kernel_density_end_on_its_many_kernels():
    kernels = torch.randn(20, 3, 3, generator=generator("centres"))
    found = follow_bound(
        prior_class("kernel-density").fit(kernels, bandwidth=0.1),
        n=50,
        steps=400,
        learning_rate=0.01,
    )
    assert 15 <= found["different_after"] <= 20


def test_a_vae_gains_on_its_own_bound(vae):
    first, again = (follow_bound(vae, n=20, steps=100, learning_rate=0.02) for _ in range(2))
    assert first == again
    drawn = follow_bound(vae, n=20, steps=100, learning_rate=0.02, generator=generator("own"))
    assert drawn["gained"] != first["gained"]
    assert first["gained"] > 0


def test_different_kernels():
    kernels = torch.tensor([0.0, 0.05, 1.0, 1.04, 3.0]).view(-1, 1, 1)
    assert count_different(kernels, 0.1) == 3
    assert count_different(kernels, 0.01) == 5
    assert variety(torch.tensor([2.0, 1.95, 1.0, -1.0]).view(-1, 1, 1)) == 3 / 4
    assert variety(torch.arange(401.0).view(-1, 1, 1)) == 20 / 134


# The KL against the posterior's width, reconstructions, latent grids


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
    fitted = prior_class("gaussian-diagonal").fit(kernels)
    priors = {"normal": StandardNormal(5), "diagonal": fitted}
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


# Refusals


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda vae: score(vae, random_kernels(4, 3)), "5 x 5 kernels, found 3"),
        (lambda _: score(EMPIRICAL, random_kernels(4, 5)), "'empirical' has no tractable density"),
        (lambda _: score(IMPROPER, random_kernels(4, 5)), "'log-uniform' has no tractable density"),
        (lambda vae: score(vae, random_kernels(4, 5), samples=0), "of at least 1"),
        (lambda vae: score(vae, random_kernels(4, 5), importance_samples=0), "of at least 1"),
        (lambda vae: score(vae, torch.full((4, 5, 5), math.nan)), "expected finite values"),
        (lambda _: nearest(IMPROPER, *random_kernels(2, 5)[:, None]), "improper"),
        (lambda _: kl_by_width({"n": StandardNormal(7)}, random_kernels(4, 5)), "7 x 7 kernels"),
        (lambda vae: reconstruct(vae, torch.zeros(3, 7, 7)), "5 x 5"),
        (lambda _: follow_bound(IMPROPER), "no density to follow"),
    ],
)
def test_what_is_refused(vae, call, line):
    with pytest.raises(UserError, match=line):
        call(vae)
    with pytest.raises(NotImplementedError, match="LogUniform"):
        kl_by_width({"log-uniform": IMPROPER}, random_kernels(4, 5))
