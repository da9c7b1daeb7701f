"""Scores of priors: what is exact, what is bounded, and by how much each is uncertain."""

import json
import math

import pytest
import torch

from dwp.errors import UserError
from dwp.evaluation.scores import nearest, score
from dwp.priors import prior_class
from dwp.priors.normal import StandardNormal
from dwp.seeds import generator


def random_kernels(n, k, seed=0):
    return torch.randn((n, k, k), generator=generator("kernels", n, k, seed))


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
    assert fitted["nearest_sample"]["median"] == pytest.approx(
        fitted["nearest_test"]["median"], rel=0.1
    )
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
    with pytest.raises(UserError, match="improper"):
        nearest(prior_class("log-uniform")(3), train, test)


# What cannot be scored


@pytest.mark.parametrize(
    ("kind", "kernels", "options", "line"),
    [
        *((k, random_kernels(4, 3), {}, "5 x 5 kernels, found 3") for k in ("vae", "normal")),
        ("empirical", random_kernels(4, 5), {}, "'empirical' has no tractable density"),
        ("log-uniform", random_kernels(4, 5), {}, "'log-uniform' has no tractable density"),
        ("vae", random_kernels(4, 5), {"samples": 0}, "of at least 1"),
        ("vae", random_kernels(4, 5), {"importance_samples": 0}, "of at least 1"),
        ("normal", torch.full((4, 5, 5), math.nan), {}, "expected finite values"),
        ("normal", torch.zeros((4, 5, 5), dtype=torch.int64), {}, "expected floating-point"),
    ],
)
def test_what_cannot_be_scored(vae, kind, kernels, options, line):
    priors = {
        "vae": vae,
        "normal": StandardNormal(5),
        "empirical": prior_class("empirical").fit(random_kernels(4, 5)),
        "log-uniform": prior_class("log-uniform")(5),
    }
    with pytest.raises(UserError, match=line):
        score(priors[kind], kernels, **options)
