"""Priors: densities that are densities, samples that follow them, files that keep them."""

import copy
import itertools
import math
import sys

import pytest
import torch
from scipy.stats import multivariate_t
from torch.autograd import gradcheck
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal, Normal

from dwp.devices import products
from dwp.errors import UserError
from dwp.files import save_tensors
from dwp.kernels import check_kernels
from dwp.priors import KINDS, load_prior, load_priors, prior_class
from dwp.priors.base import KernelPrior
from dwp.priors.vae import KernelVAE
from dwp.seeds import generator
from dwp.training.prior import fit_prior

EXPLICIT = [
    *("standard-normal", "gaussian-diagonal", "gaussian-full"),
    *("gaussian-mixture", "student-t", "flow"),
]


def correlated_kernels(n, k, *seed):
    """Draws (n, k, k) of a Gaussian, and its mean (d,) and covariance (d, d)."""
    random = generator("correlated", k, *seed)
    d = k * k
    mean = torch.randn(d, generator=random)
    factor = 0.3 * torch.randn(d, d, generator=random) + 0.5 * torch.eye(d)
    noise = torch.randn(n, d, generator=random)
    return (mean + noise @ factor.T).view(n, k, k), mean, factor @ factor.T


def make(kind, k=5):
    """A prior of any kind, fitted if there is anything to fit."""
    if kind == "vae":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return KernelVAE(k, hidden=4, latent=2).requires_grad_(False)
    if kind in ("standard-normal", "log-uniform"):
        return prior_class(kind)(k)
    kernels = correlated_kernels(40, k)[0]
    if kind == "gaussian-mixture":
        return prior_class(kind).fit(kernels, components=3, seed=0, floor=0.05)
    if kind == "flow":
        training = {"epochs": 10, "batch_size": 40, "learning_rate": 0.03, "seed": 0}
        return fit_prior(kind, k, kernels, {"transforms": 3, "hidden": 8}, training)[0]
    return prior_class(kind).fit(kernels)


def assert_mean(values, expected, errors=3.0):
    """The mean of independent values is the expected one, within standard errors."""
    values = values.double()
    error = values.std() / math.sqrt(len(values))
    assert abs(values.mean() - expected) < errors * error + 1e-9
    # An estimate that says nothing must not pass.
    assert error < 0.05 * max(1.0, abs(expected))


# Densities


@pytest.mark.parametrize("kind", sorted(set(EXPLICIT) - {"flow"}))
def test_density_over_a_line_integrates_to_one(kind):
    prior = make(kind, k=1).double()
    line = torch.linspace(-20, 20, 20001, dtype=torch.double)
    density = prior.log_prob(line.view(-1, 1, 1)).exp()
    assert torch.trapezoid(density, line).item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("kind", EXPLICIT)
@pytest.mark.parametrize("k", [2, 3])
def test_density_integrates_to_one(kind, k):
    prior = make(kind, k)
    # Importance sampling from a wider Gaussian around the prior's own mean.
    draws = prior.sample(4000, generator("wide", 1)).flatten(1)
    wide = MultivariateNormal(draws.mean(0), 1.4 * draws.T.cov())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        points = wide.sample((20000,))
    ratio = (prior.log_prob(points.view(-1, k, k)) - wide.log_prob(points)).exp()
    assert_mean(ratio, 1)


@pytest.mark.parametrize("kind", EXPLICIT)
def test_samples_follow_the_density(kind):
    # E_p[q / p] = 1 for every density q: here a Gaussian narrower than p and beside it.
    prior = make(kind, k=2)
    samples = prior.sample(20000, generator("follow"))
    flat = samples.flatten(1)
    scale = flat.std(0)
    beside = MultivariateNormal(flat.mean(0) + 0.2 * scale, 0.5 * flat.T.cov())
    assert_mean((beside.log_prob(flat) - prior.log_prob(samples)).exp(), 1)


def test_standard_normal_against_torch():
    kernels = correlated_kernels(20, 3)[0]
    expected = Normal(0, 1).log_prob(kernels).sum((1, 2))
    torch.testing.assert_close(make("standard-normal", 3).log_prob(kernels), expected)


def test_diagonal_gaussian_against_torch():
    kernels = correlated_kernels(50, 3)[0]
    prior = prior_class("gaussian-diagonal").fit(kernels)
    expected = Normal(kernels.mean(0), kernels.std(0, correction=0)).log_prob(kernels)
    torch.testing.assert_close(prior.log_prob(kernels), expected.sum((1, 2)))


def test_full_gaussian_against_torch():
    kernels = correlated_kernels(50, 3)[0]
    prior = prior_class("gaussian-full").fit(kernels)
    flat = kernels.flatten(1)
    expected = MultivariateNormal(flat.mean(0), flat.T.cov(correction=0))
    torch.testing.assert_close(prior.log_prob(kernels), expected.log_prob(flat), rtol=1e-4, atol=0)


@pytest.mark.parametrize("kind", EXPLICIT)
def test_loss_is_the_negative_log_density(kind):
    prior = make(kind, 3)
    kernels = correlated_kernels(10, 3)[0]
    assert torch.equal(prior.loss(kernels, generator(0)), -prior.log_prob(kernels))


# Fitting


@pytest.mark.parametrize("kind", ["gaussian-diagonal", "gaussian-full"])
def test_fit_recovers_the_gaussian_of_the_samples(kind):
    n = 20000
    kernels, mean, covariance = correlated_kernels(n, 2)
    prior = prior_class(kind).fit(kernels)
    variance = covariance.diagonal()
    found = prior.scale @ prior.scale.T
    assert ((prior.mean - mean).abs() < 4 * (variance / n).sqrt()).all()
    if kind == "gaussian-diagonal":
        assert ((found.diagonal() / variance - 1).abs() < 4 * math.sqrt(2 / n)).all()
        assert torch.equal(found, found.diagonal().diag())
    else:
        # The variance of a sample covariance of Gaussians is (c_ii c_jj + c_ij^2) / n.
        error = ((variance[:, None] * variance + covariance.square()) / n).sqrt()
        assert ((found - covariance).abs() < 4 * error).all()
    # A fit to the prior's own samples finds the prior again.
    again = prior_class(kind).fit(prior.sample(n, generator("again")))
    assert ((again.mean - prior.mean).abs() < 4 * (variance / n).sqrt()).all()
    difference = again.scale @ again.scale.T - found
    assert (difference.abs() < 4 * ((variance[:, None] * variance * 2) / n).sqrt()).all()


@pytest.mark.parametrize("kind", ["gaussian-diagonal", "gaussian-full"])
def test_fit_maximises_the_likelihood(kind):
    kernels = correlated_kernels(60, 2)[0]
    best = prior_class(kind).fit(kernels).log_prob(kernels).mean()
    for other in (0.98 * kernels, 1.02 * kernels, kernels + 0.05):
        assert prior_class(kind).fit(other).log_prob(kernels).mean() < best


@pytest.mark.parametrize("kind", ["gaussian-diagonal", "gaussian-full"])
def test_fit_refuses_too_few_kernels(kind):
    kernels = correlated_kernels(26, 5)[0]
    prior_class(kind).fit(kernels)
    with pytest.raises(UserError, match=r"more than 25 kernels .* found 25"):
        prior_class(kind).fit(kernels[:25])


def degenerate(name):
    kernels = correlated_kernels(200, 5)[0]
    if name == "equal weights":
        kernels[:, 0, 1] = kernels[:, 0, 0]
    if name == "combination":
        kernels[:, 0, 1] = 2 * kernels[:, 0, 0] - kernels[:, 3, 3]
    if name == "no mean":
        kernels -= kernels.mean((1, 2), keepdim=True)
    if name == "constant weight":
        kernels[:, 2, 2] = 0.1  # whose mean is not exactly 0.1
    if name == "all zero":
        kernels[:] = 0
    if name == "all the same":
        kernels[:] = kernels[0].clone()
    return kernels


# Rounding leaves such covariances barely positive definite, so that a Cholesky decomposition alone
# would go through and give a precision of 1e15.
@pytest.mark.parametrize(
    "name",
    ["equal weights", "combination", "no mean", "constant weight", "all zero", "all the same"],
)
def test_full_gaussian_refuses_degenerate_kernels(name):
    with pytest.raises(UserError, match="do not lie in a plane"):
        prior_class("gaussian-full").fit(degenerate(name))


@pytest.mark.parametrize("name", ["constant weight", "all zero", "all the same"])
def test_diagonal_gaussian_refuses_constant_weights(name):
    with pytest.raises(UserError, match="do not lie in a plane"):
        prior_class("gaussian-diagonal").fit(degenerate(name))


def test_full_gaussian_fits_almost_degenerate_kernels():
    kernels = degenerate("equal weights")
    kernels[:, 0, 1] += 1e-3 * torch.randn(200, generator=generator("almost"))
    prior = prior_class("gaussian-full").fit(kernels)
    # d = E of the distance under the fitted Gaussian itself
    assert prior._distance(kernels).mean() == pytest.approx(25, rel=0.02)


def test_full_gaussian_of_a_wide_spectrum_is_that_of_double_precision():
    rotation = torch.linalg.qr(torch.randn(25, 25, generator=generator("turn")).double())[0]
    noise = torch.randn(2000, 25, generator=generator("wide")).double()
    kernels = (noise * torch.logspace(0, -4, 25).double()) @ rotation.T  # condition 1e8
    prior = prior_class("gaussian-full").fit(kernels.view(-1, 5, 5))
    covariance = kernels.T.cov(correction=0)
    exact = torch.distributions.MultivariateNormal(kernels.mean(0), covariance).log_prob(kernels)
    found = prior.log_prob(kernels.float().view(-1, 5, 5))
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=0.1)


@pytest.mark.parametrize("kind", ["gaussian-full", "student-t", "gaussian-mixture", "flow"])
def test_densities_do_not_depend_on_the_precision_of_products(kind):
    prior, kernels = make(kind, 5), torch.randn(8, 5, 5, generator=generator("kernels"))
    whole = prior.log_prob(kernels)
    with products("bfloat16", "cpu"):
        found = prior.log_prob(kernels)
    assert found.dtype == torch.float32
    # the flow's nets are in half precision, what is summed is not
    torch.testing.assert_close(found, whole, rtol=0.01 if kind == "flow" else 0, atol=0)


def test_fit_of_a_trained_kind_is_refused():
    with pytest.raises(NotImplementedError, match="KernelVAE"):
        KernelVAE.fit(correlated_kernels(40, 5)[0])


# The Student t


def student_kernels(n, degrees, k=2, *seed):
    """Draws (n, k, k) of a multivariate t, its location (d,) and its scale matrix (d, d)."""
    kernels, mean, matrix = correlated_kernels(n, k, *seed)
    shape = torch.full((n, 1, 1), degrees / 2)
    gamma = torch._standard_gamma(shape, generator=generator("gamma", *seed))
    mean = mean.view(k, k)
    return mean + (kernels - mean) * (degrees / (2 * gamma)).sqrt(), mean.flatten(), matrix


def make_student(mean, matrix, degrees):
    prior = prior_class("student-t")(math.isqrt(len(mean)))
    prior._set(mean, torch.linalg.cholesky(matrix))
    prior.degrees.fill_(degrees)
    return prior


@pytest.mark.parametrize("degrees", [0.5, 3.0, 40.0, 1e4])
def test_student_t_against_scipy(degrees):
    kernels, mean, matrix = student_kernels(50, 2.0)
    expected = multivariate_t(mean.double(), matrix.double(), df=degrees)
    expected = torch.from_numpy(expected.logpdf(kernels.flatten(1).double()))
    prior = make_student(mean, matrix, degrees).double()
    torch.testing.assert_close(prior.log_prob(kernels.double()), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("degrees", [1.5, 4.0])
def test_student_t_recovers_its_parameters(degrees):
    kernels, mean, matrix = student_kernels(20000, degrees)
    prior = prior_class("student-t").fit(kernels)
    assert prior.degrees.item() == pytest.approx(degrees, rel=0.06)
    torch.testing.assert_close(prior.mean, mean, rtol=0, atol=0.03)
    found = prior.scale @ prior.scale.T
    assert (found - matrix).abs().max() < 0.05 * matrix.abs().max()


def test_student_t_fit_maximises_the_likelihood():
    kernels, *_ = student_kernels(300, 3.0)
    prior = prior_class("student-t").fit(kernels)
    best = prior.log_prob(kernels).mean()
    state = {name: value.clone() for name, value in prior.state_dict().items()}
    for factor in (0.95, 1.05):
        for change in ({"degrees": state["degrees"] * factor},):
            prior.load_state_dict({**state, **change})
            assert prior.log_prob(kernels).mean() < best
        prior.load_state_dict(state)
        prior._set(state["mean"], factor * state["scale"])
        assert prior.log_prob(kernels).mean() < best
    prior._set(state["mean"] + 0.1, state["scale"])
    assert prior.log_prob(kernels).mean() < best


def test_student_t_of_gaussian_kernels_is_a_gaussian():
    kernels, *_ = correlated_kernels(5000, 2)
    student, gaussian = (prior_class(k).fit(kernels) for k in ("student-t", "gaussian-full"))
    assert student.degrees > 50
    gap = student.log_prob(kernels).mean() - gaussian.log_prob(kernels).mean()
    assert -1e-4 < gap < 1e-3


def test_student_t_samples_have_its_moments():
    degrees, n = 8.0, 40000
    _, mean, matrix = student_kernels(10, degrees)
    flat = make_student(mean, matrix, degrees).sample(n, generator("t")).flatten(1)
    assert ((flat.mean(0) - mean).abs() < 4 * (2 * matrix.diagonal() / n).sqrt()).all()
    variance = degrees / (degrees - 2) * matrix.diagonal()
    assert (flat.var(0) / variance - 1).abs().max() < 0.05
    # Heavier tails than a Gaussian's 3: the kurtosis is 3 + 6 / (degrees - 4) = 4.5.
    standard = (flat - mean) / variance.sqrt()
    assert standard.pow(4).mean().item() == pytest.approx(4.5, rel=0.15)


def test_student_t_refuses_degenerate_kernels():
    with pytest.raises(UserError, match="a student-t prior needs more than 25 kernels"):
        prior_class("student-t").fit(degenerate("combination"))


# The mixture


def test_mixture_against_torch():
    kernels = torch.cat([correlated_kernels(100, 2, s)[0] + 2 * s for s in range(3)])
    prior = prior_class("gaussian-mixture").fit(kernels, components=3, seed=0)
    parts = MultivariateNormal(prior.means, scale_tril=prior.scales)
    expected = MixtureSameFamily(Categorical(logits=prior.log_weights), parts)
    expected = expected.log_prob(kernels.flatten(1))
    torch.testing.assert_close(prior.log_prob(kernels), expected, rtol=1e-4, atol=1e-4)


def test_mixture_of_one_is_the_full_gaussian():
    kernels = correlated_kernels(200, 3)[0]
    one = prior_class("gaussian-mixture").fit(kernels, components=1, seed=0, floor=1e-9)
    expected = prior_class("gaussian-full").fit(kernels).log_prob(kernels)
    torch.testing.assert_close(one.log_prob(kernels), expected, rtol=1e-3, atol=1e-3)


def test_mixture_recovers_its_components():
    n, places = 3000, torch.tensor([-3.0, 0.0, 3.0])
    random = generator("components")
    which = torch.multinomial(torch.tensor([0.2, 0.3, 0.5]), n, True, generator=random)
    noise = torch.tensor([0.5, 1.0, 0.3])[which, None, None] * torch.randn(
        n, 2, 2, generator=random
    )
    prior = prior_class("gaussian-mixture").fit(places[which, None, None] + noise, 3, seed=0)
    order = prior.means[:, 0].argsort()
    torch.testing.assert_close(
        prior.log_weights.exp()[order], torch.tensor([0.2, 0.3, 0.5]), rtol=0, atol=0.03
    )
    torch.testing.assert_close(prior.means[order], places[:, None].expand(3, 4), rtol=0, atol=0.15)
    spread = prior.scales.diagonal(dim1=1, dim2=2)[order]
    expected = torch.tensor([0.5, 1.0, 0.3])[:, None].expand(3, 4)
    torch.testing.assert_close(spread, expected, rtol=0.1, atol=0)


def test_mixture_depends_on_its_seed_alone():
    kernels = correlated_kernels(100, 3)[0]
    first, same, other = (
        prior_class("gaussian-mixture").fit(kernels, components=5, seed=s).means for s in (0, 0, 1)
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_mixture_has_a_floor_under_its_variances():
    kernels = correlated_kernels(40, 3)[0]
    spread = kernels.flatten(1).var(0, correction=0).mean().item()
    prior = prior_class("gaussian-mixture").fit(kernels, components=8, seed=0, floor=0.1)
    least = torch.linalg.eigvalsh(prior.scales @ prior.scales.mT).min().item()
    assert least == pytest.approx(0.1 * spread, rel=0.05)  # components of few kernels reach it


def test_mixture_refuses_too_few_kernels_and_equal_ones():
    kernels = correlated_kernels(4, 3)[0]
    with pytest.raises(UserError, match=r"of 5 components needs as many kernels .* found 4"):
        prior_class("gaussian-mixture").fit(kernels, components=5, seed=0)
    with pytest.raises(UserError, match="that differ"):
        prior_class("gaussian-mixture").fit(degenerate("all the same"), components=2, seed=0)


# The flow


def test_flow_inverts_itself():
    prior = make("flow", 5)
    noise = torch.randn(30, 25, generator=generator("noise"))
    transform = prior.flow().transform
    torch.testing.assert_close(transform(transform.inv(noise)), noise, rtol=1e-3, atol=1e-3)
    assert (transform(noise) - noise).abs().max() > 0.1  # it is trained


def test_flow_refuses_what_it_cannot_be():
    with pytest.raises(UserError, match="kernel size of at least 2"):
        prior_class("flow")(1, transforms=2, hidden=4)
    with pytest.raises(UserError, match="not all zero"):
        prior_class("flow")(5, transforms=2, hidden=4).prepare(degenerate("all zero"))


def test_flow_density_is_finite_for_almost_degenerate_kernels():
    prior = prior_class("flow")(5, transforms=2, hidden=4)
    kernels = degenerate("equal weights")
    prior.prepare(kernels)
    assert prior.log_prob(kernels).isfinite().all()


def test_flow_follows_its_weights_to_another_type_and_into_copies():
    prior, kernels = make("flow", 5), torch.randn(8, 5, 5, generator=generator("kernels"))
    before = prior.log_prob(kernels)
    twin = copy.deepcopy(prior)
    for parameter in twin.parameters():
        parameter.data += 0.05
    assert torch.equal(prior.log_prob(kernels), before)
    assert not torch.allclose(twin.log_prob(kernels), before)
    wide = twin.double().log_prob(kernels.double())
    assert wide.dtype == torch.double
    torch.testing.assert_close(twin.float().log_prob(kernels).double(), wide, rtol=1e-4, atol=1e-3)


def test_layers_of_a_flow_neither_stretch_nor_squeeze_a_weight_more_than_twice():
    prior = prior_class("flow")(5, transforms=3, hidden=8)
    for number, parameter in enumerate(prior.parameters()):
        parameter.data.copy_(10 * torch.randn(parameter.shape, generator=generator(number)))
    places = 30 * torch.randn(50, 25, generator=generator("far"))
    _, log_factor = prior.flow().transform.call_and_ladj(places)
    # each layer moves 12 or 13 of the 25 weights
    assert 0 < log_factor.abs().max() <= 3 * 13 * math.log(2)


# A VAE of fixed variance


def test_vae_of_fixed_variance(tmp_path):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = KernelVAE(5, hidden=4, latent=2, variance=0.01).requires_grad_(False)
    codes = torch.randn(6, 2, generator=generator("codes"))
    mean, variance = vae.decode(codes)
    assert mean.shape == variance.shape == (6, 5, 5)
    assert (variance == 0.01).all()
    assert not any("kernel_variance" in name for name in vae.state_dict())
    vae.save(tmp_path / "prior.safetensors")
    loaded = load_prior(tmp_path / "prior.safetensors")
    assert loaded.variance == 0.01
    kernels = correlated_kernels(6, 5)[0]
    assert torch.equal(vae.loss(kernels, generator(0)), loaded.loss(kernels, generator(0)))
    # One code a kernel, written out.
    noise = torch.randn((6, 2), generator=generator(0))
    mean, spread = vae.encode(kernels)
    latent = torch.distributions.kl_divergence(Normal(mean, spread.sqrt()), Normal(0.0, 1.0))
    decoded = Normal(vae.decode(mean + spread.sqrt() * noise)[0], 0.1)
    expected = latent.sum(1) - decoded.log_prob(kernels).sum((1, 2))
    torch.testing.assert_close(vae.loss(kernels, generator(0)), expected, rtol=1e-4, atol=1e-3)


# Improper and empirical priors


def test_log_uniform_has_neither_samples_nor_density():
    prior = make("log-uniform")
    with pytest.raises(UserError, match="improper"):
        prior.sample(3, generator(0))
    with pytest.raises(UserError, match="improper"):
        prior.initial(3, generator(0))
    with pytest.raises(UserError, match="'log-uniform' has no tractable density"):
        prior.log_prob(torch.ones(1, 5, 5))


def test_empirical_draws_its_kernels_uniformly():
    kernels = correlated_kernels(10, 3)[0]
    prior = prior_class("empirical").fit(kernels)
    samples = prior.sample(10000, generator("empirical"))
    counts = (samples[:, None] == kernels).all((2, 3)).sum(0)
    assert counts.sum() == 10000  # every sample is one of the kernels
    assert ((counts - 1000).abs() < 4 * math.sqrt(10000 * 0.1 * 0.9)).all()
    with pytest.raises(UserError, match="'empirical' has no tractable density"):
        prior.log_prob(kernels)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"log-uniform"}))
def test_sampling_depends_on_the_generator_alone(kind):
    prior = make(kind)
    first, same, other = (prior.sample(7, generator(s)) for s in (0, 0, 1))
    assert first.shape == (7, 5, 5)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"log-uniform", "standard-normal"}))
def test_samples_have_the_type_of_the_prior(kind):
    for dtype in (torch.float32, torch.float64):
        prior = make(kind).to(dtype)
        assert prior.sample(3, generator("sample")).dtype == dtype
        assert prior.initial(3, generator("sample")).dtype == dtype


# Files


@pytest.mark.parametrize("kind", KINDS)
def test_file_round_trip(tmp_path, kind):
    prior = make(kind)
    for name in ("first", "second"):
        prior.save(tmp_path / f"{name}.safetensors")
    loaded = load_prior(tmp_path / "first.safetensors")
    loaded.save(tmp_path / "third.safetensors")
    first, second, third = (
        (tmp_path / f"{name}.safetensors").read_bytes() for name in ("first", "second", "third")
    )
    assert first == second == third

    assert type(loaded) is type(prior)
    assert loaded.kernel_size == 5
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    if kind != "log-uniform":
        assert torch.equal(prior.sample(9, generator(0)), loaded.sample(9, generator(0)))
    kernels = correlated_kernels(6, 5, "other")[0]
    if kind in EXPLICIT:
        assert torch.equal(prior.log_prob(kernels), loaded.log_prob(kernels))
    if kind == "vae":
        assert torch.equal(prior.loss(kernels, generator(1)), loaded.loss(kernels, generator(1)))


def test_a_prior_whose_package_is_missing_says_so(tmp_path, monkeypatch):
    make("flow").save(tmp_path / "flow.safetensors")
    monkeypatch.setitem(sys.modules, "zuko.flows", None)
    with pytest.raises(UserError, match="a 'flow' prior needs a package; install it"):
        load_prior(tmp_path / "flow.safetensors")


def test_kinds_name_their_classes():
    for kind in KINDS:
        assert issubclass(prior_class(kind), KernelPrior)
        assert prior_class(kind).kind == kind
    assert {kind for kind in KINDS if prior_class(kind).density == "exact"} == set(EXPLICIT)


def test_priors_of_layers(tmp_path):
    make("gaussian-full").save(tmp_path / "a=b.safetensors")
    priors = load_priors([f"conv2={tmp_path}/a=b.safetensors"])
    assert list(priors) == ["conv2"]
    assert priors["conv2"].kind == "gaussian-full"
    assert load_priors(None) is None
    for place in ("conv2", "=file", "conv2="):
        with pytest.raises(UserError, match=f"expected LAYER=FILE, found '{place}'"):
            load_priors([place])


def test_unknown_kind_lists_what_there_is(tmp_path):
    allowed = ", ".join(KINDS)
    with pytest.raises(UserError, match=f"'horseshoe' is unknown; expected one of {allowed}"):
        prior_class("horseshoe")
    settings = {"kind": "horseshoe", "arguments": {}}
    save_tensors(tmp_path / "horseshoe.safetensors", {}, kind="prior", settings=settings)
    with pytest.raises(UserError, match="'horseshoe' is unknown"):
        load_prior(tmp_path / "horseshoe.safetensors")


def test_another_kind_of_file_is_no_prior(tmp_path):
    save_tensors(tmp_path / "net.safetensors", {}, kind="source net", settings={})
    with pytest.raises(UserError, match="expected 'prior'"):
        load_prior(tmp_path / "net.safetensors")


# Kernels from users


def test_check_kernels_accepts_both_shapes():
    kernels = correlated_kernels(4, 3)[0]
    for given in (kernels, kernels[:, None], kernels.double()):
        checked = check_kernels(given, 3)
        assert torch.equal(checked, kernels)
        assert checked.dtype == torch.float32


@pytest.mark.parametrize("shape", [(3,), (3, 3), (2, 3, 4), (2, 2, 3, 3), (0, 3, 3), (1, 1, 1, 3)])
def test_check_kernels_refuses_other_shapes(shape):
    with pytest.raises(UserError, match=r"expected shape \(n, k, k\) or \(n, 1, k, k\), found \("):
        check_kernels(torch.zeros(shape))


def test_check_kernels_refuses_other_sizes_and_values():
    with pytest.raises(UserError, match="over 5 x 5 kernels, found 3 x 3"):
        check_kernels(torch.zeros(2, 3, 3), 5)
    for value in (math.nan, math.inf):
        kernels = torch.zeros(2, 3, 3)
        kernels[1, 1, 1] = value
        with pytest.raises(UserError, match="NaN or infinity"):
            check_kernels(kernels)


# The VAE


@pytest.mark.parametrize("kernel_size", [3, 5, 7, 16])
@pytest.mark.parametrize("latent", [1, 3])
def test_vae_shapes(kernel_size, latent):
    vae = KernelVAE(kernel_size, hidden=2, latent=latent).requires_grad_(False)
    kernels = vae.sample(6, generator(0))
    assert kernels.shape == (6, kernel_size, kernel_size)
    assert kernels.isfinite().all()
    assert vae.initial(6, generator(0)).shape == kernels.shape
    for moment in vae.encode(kernels):
        assert moment.shape == (6, latent)
    for moment in vae.decode(torch.zeros(6, latent)):
        assert moment.shape == kernels.shape
    assert (vae.encode(kernels)[1] > 0).all()
    assert (vae.decode(torch.zeros(6, latent))[1] > 0).all()
    assert vae.loss(kernels, generator(1)).shape == (6,)
    assert vae.importance_log_prob(kernels, 2, generator(1)).shape == (6,)


@pytest.mark.parametrize("kernel_size", [1, 4, 6, 8])
def test_vae_has_no_architecture_for_other_sizes(kernel_size):
    with pytest.raises(UserError, match=f"size 3, 5, 7, 16; found {kernel_size}"):
        KernelVAE(kernel_size, hidden=2, latent=2)


def test_vae_treats_kernels_one_by_one(small_vae):
    kernels = small_vae.sample(5, generator(0))
    together, apart = small_vae.encode(kernels), [small_vae.encode(k[None]) for k in kernels]
    for which in (0, 1):
        torch.testing.assert_close(together[which], torch.cat([a[which] for a in apart]))


def test_initial_kernels_are_decoder_means(small_vae):
    # More than one chunk of the decoder, so that the parts must come back in order.
    codes = torch.randn(2000, 2, generator=generator("codes"))
    torch.testing.assert_close(
        small_vae.initial(2000, generator("codes")), small_vae.decode(codes)[0]
    )


def test_vae_samples_scatter_around_decoder_means(small_vae):
    codes = torch.randn(5000, 2, generator=generator("codes"))
    mean, variance = small_vae.decode(codes)
    noise = (small_vae.sample(5000, generator("codes")) - mean) / variance.sqrt()
    assert abs(noise.mean()) < 4 / math.sqrt(noise.numel())
    assert abs(noise.square().mean() - 1) < 4 * math.sqrt(2 / noise.numel())


def test_vae_density_integrates_to_one(small_vae, grid_log_prob):
    # Importance sampling from p(w) made wider: 1.2 times the decoder's variance.
    codes = torch.randn(3000, 2, generator=generator("codes"))
    mean, variance = small_vae.decode(codes)
    noise = torch.randn(mean.shape, generator=generator("noise"))
    wide = make_wider(small_vae)
    kernels = mean + (1.2 * variance).sqrt() * noise
    ratio = (grid_log_prob(small_vae, kernels) - grid_log_prob(wide, kernels)).exp()
    assert_mean(ratio, 1)


def make_wider(vae):
    """The same VAE with 1.2 times the variance of p(w|z), for `grid_log_prob`."""

    class Wider:
        def decode(self, codes):
            mean, variance = vae.decode(codes)
            return mean, 1.2 * variance

    return Wider()


def test_vae_samples_follow_the_density(small_vae, grid_log_prob):
    # E_p[q / p] = 1 for every density q: here p moved by a little in every weight.
    kernels = small_vae.sample(4000, generator("follow"))
    moved = grid_log_prob(small_vae, kernels + 0.03)
    assert_mean((moved - grid_log_prob(small_vae, kernels)).exp(), 1)


@pytest.mark.parametrize("samples", [1, 20])
def test_importance_sampling_against_the_grid(small_vae, grid_log_prob, samples):
    # exp of the estimate is unbiased for p(w) with any number of samples: for each kernel ...
    kernels = small_vae.sample(500, generator("few"))
    exact = grid_log_prob(small_vae, kernels)
    rows = kernels[:4].repeat_interleave(20000 // samples, 0)
    estimates = small_vae.importance_log_prob(rows, samples, generator("importance")).view(4, -1)
    ratios = (estimates - exact[:4, None]).exp()
    error = ratios.std(1) / math.sqrt(ratios.shape[1])
    assert (error < 0.2).all()
    assert ((ratios.mean(1) - 1).abs() < 3 * error).all()
    # ... and, with a smaller error, on average over kernels.
    rows = kernels.repeat_interleave(40 // samples, 0)
    estimates = small_vae.importance_log_prob(rows, samples, generator("average")).view(500, -1)
    assert_mean((estimates - exact[:, None]).exp().mean(1), 1)


def test_importance_sampling_tightens_the_elbo(small_vae, grid_log_prob):
    kernels = small_vae.sample(1000, generator("tighten"))
    log_likelihood, kl = small_vae.elbo_terms(kernels, generator("elbo"))
    assert (kl >= 0).all()
    values = [log_likelihood - kl]
    for samples in (1, 3, 10, 100):
        values.append(small_vae.importance_log_prob(kernels, samples, generator(samples)))
    values.append(grid_log_prob(small_vae, kernels))
    # With one sample it is another estimate of the ELBO; then every step up gains.
    difference = values[1] - values[0]
    assert abs(difference.mean()) < 3 * difference.std() / math.sqrt(1000)
    for low, high in itertools.pairwise(values[1:]):
        assert (high - low).mean() > 3 * (high - low).std() / math.sqrt(1000)


def test_encoder_kl_is_that_of_its_gaussian(small_vae):
    kernels = small_vae.sample(20, generator("kl"))
    mean, variance = small_vae.encode(kernels)
    exact = torch.distributions.kl_divergence(Normal(mean, variance.sqrt()), Normal(0.0, 1.0))
    torch.testing.assert_close(small_vae.elbo_terms(kernels, generator(0))[1], exact.sum(1))


def test_vae_loss_gradient_with_respect_to_kernels(small_vae):
    kernels = torch.randn(2, 5, 5, generator=generator("g"))
    kernels.requires_grad_()
    # Seeded inside, so that every evaluation sees the same noise.
    assert gradcheck(lambda w: small_vae.loss(w, generator("noise")), kernels)


@pytest.mark.parametrize("kernel_size", [3, 5, 7, 16])
def test_vae_loss_gradient_with_respect_to_parameters(kernel_size):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = KernelVAE(kernel_size, hidden=3, latent=2).double()
    kernels = torch.randn(4, kernel_size, kernel_size, generator=generator("g"), dtype=torch.double)

    def loss():
        return vae.loss(kernels, generator("noise")).mean()

    loss().backward()
    # One random direction a parameter: central differences.
    for name, parameter in vae.named_parameters():
        direction = torch.randn(parameter.shape, generator=generator(name), dtype=torch.double)
        slope, step = (parameter.grad * direction).sum().item(), 1e-6
        with torch.no_grad():
            parameter += step * direction
            up = loss().item()
            parameter -= 2 * step * direction
            down = loss().item()
            parameter += step * direction
        assert slope == pytest.approx((up - down) / (2 * step), rel=1e-5, abs=1e-6), name


def test_vae_variance_has_a_floor():
    vae = KernelVAE(5, hidden=2, latent=2).requires_grad_(False)
    vae.kernel_variance.weight.zero_()
    vae.kernel_variance.bias.fill_(-1000)
    # softplus(-1000) is 0 in any precision; log p(w|z) must stay finite.
    assert (vae.decode(torch.zeros(1, 2))[1] > 0).all()
    assert vae.loss(torch.zeros(1, 5, 5), generator(0)).isfinite().all()


def test_a_prior_file_with_the_tensors_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "prior.safetensors"
    settings = {"kind": "gaussian-full", "arguments": {"kernel_size": 3}}
    save_tensors(path, {"weight": torch.zeros(3)}, kind="prior", settings=settings)
    with pytest.raises(UserError, match="not those of a 'gaussian-full' prior"):
        load_prior(path)
