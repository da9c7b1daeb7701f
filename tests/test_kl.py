"""KL divergences: closed forms, the approximation and the bound against what they stand for."""

import copy
import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch
from helpers import make_prior
from scipy.integrate import quad
from torch import nn
from torch.autograd import gradcheck
from torch.distributions import Normal, kl_divergence as torch_kl

from dwp.errors import UserError
from dwp.fast import frozen
from dwp.nn.bayesian import bayesianize, kl
from dwp.nn.networks.mnist import MnistNet
from dwp.priors import (
    Estimation,
    GaussianKernels,
    MultiplicativeKernels,
    kl as registry,
    kl_divergence,
    kl_nature,
    register_kl,
)
from dwp.priors.normal import StandardNormal
from dwp.seeds import generator

POSTERIORS = [GaussianKernels, MultiplicativeKernels]
ESTIMATED = ["gaussian-mixture", "kernel-density", "student-t", "flow"]
EXACT = ["standard-normal", "gaussian-diagonal", "gaussian-full"]
# Means' standard deviation, log-variance (or log alpha): near the prior, at the start of training
# (a narrow posterior), wide, and with means far outside the prior.
SETTINGS = [(1.0, 0.0), (0.3, -10.0), (0.1, 2.0), (4.0, -1.0)]
MONTE_CARLO, DEFAULT = Estimation(estimator="monte-carlo"), Estimation()
BOUNDS = ["elbo", "importance-weighted"]


def estimation(bound, latent_samples):
    return Estimation(bound=bound, latent_samples=latent_samples)


def make(kind, k=3):
    """A prior of double precision."""
    return make_prior(kind, k).double()


def make_posterior(kind, setting=(1.0, 0.0), shape=(2, 3, 3)):
    spread, log_variance = setting
    random = generator("posterior", *shape)
    draws = torch.randn((2, *shape), generator=random, dtype=torch.double)
    return kind(spread * draws[0], log_variance + 0.3 * draws[1])


def repeat(posterior, n):
    """The posterior n times over, so that one call draws n times."""
    return type(posterior)(*(t.expand(n, *t.shape) for t in vars(posterior).values()))


def assert_means_agree(first, second, precision=0.05):
    """Independent estimates (n, ...) and (m, ...) have equal means, within 3 standard errors."""
    difference = first.mean(0) - second.mean(0)
    error = (first.var(0) / len(first) + second.var(0) / len(second)).sqrt()
    assert (difference.abs() < 3 * error).all()
    assert (error < precision * second.mean(0).abs()).all()  # else the comparison says nothing


# Posteriors


@pytest.mark.parametrize("kind", POSTERIORS)
@pytest.mark.parametrize("setting", SETTINGS)
def test_posterior_moments_and_entropy(kind, setting):
    posterior = make_posterior(kind, setting)
    if kind is MultiplicativeKernels:
        expected = posterior.log_alpha.exp() * posterior.mean.square()
    else:
        expected = posterior.log_variance.exp()
    torch.testing.assert_close(posterior.variance, expected)
    entropy = Normal(posterior.mean, expected.sqrt()).entropy().sum((1, 2))
    torch.testing.assert_close(posterior.entropy(), entropy)

    n = 10000
    noise = (repeat(posterior, n).sample(generator("moments")) - posterior.mean) / expected.sqrt()
    assert (noise.mean(0).abs() < 4 / math.sqrt(n)).all()
    assert ((noise.square().mean(0) - 1).abs() < 4 * math.sqrt(2 / n)).all()


def test_a_variance_of_zero():
    # below the smallest number
    narrow = GaussianKernels(torch.ones(1, 2, 2), torch.full((1, 2, 2), -110.0))
    entropy = 4 * 0.5 * (math.log(2 * math.pi * math.e) - 110)
    assert narrow.entropy().item() == pytest.approx(entropy)
    zero = MultiplicativeKernels(torch.zeros(1, 2, 2), torch.full((1, 2, 2), -2.0))
    for posterior in (narrow, zero):
        inputs = [value.requires_grad_() for value in vars(posterior).values()]
        sample = posterior.sample(generator("sample"))
        torch.testing.assert_close(sample, posterior.mean)
        assert all(g.isfinite().all() for g in torch.autograd.grad(sample.sum(), inputs))


# Closed forms


@pytest.mark.parametrize("prior_kind", [*EXACT, *ESTIMATED])
@pytest.mark.parametrize("kind", POSTERIORS)
@pytest.mark.parametrize("setting", SETTINGS)
def test_closed_form_against_monte_carlo(kind, prior_kind, setting):
    prior, posterior = make(prior_kind), make_posterior(kind, setting)
    many = repeat(posterior, 10000)
    estimates = kl_divergence(many, prior, generator("closed form"), MONTE_CARLO)
    kernels = many.sample(generator("closed form"))  # the same: what is estimated, written out
    log_prior = prior.log_prob(kernels.flatten(0, 1)).view(10000, -1)
    torch.testing.assert_close(estimates, -posterior.entropy() - log_prior)
    if prior_kind in ESTIMATED:
        return
    exact, error = kl_divergence(posterior, prior), estimates.std(0) / 100
    assert exact.shape == (2,)
    assert (error < 0.05 * exact).all()
    assert ((estimates.mean(0) - exact).abs() < 3 * error).all()


@pytest.mark.parametrize("kind", POSTERIORS)
def test_closed_form_against_torch(kind):
    posterior = make_posterior(kind)
    q = Normal(posterior.mean, posterior.variance.sqrt())
    expected = torch_kl(q, Normal(0.0, 1.0)).sum((1, 2))
    torch.testing.assert_close(kl_divergence(posterior, make("standard-normal")), expected)
    prior = make("gaussian-diagonal")
    p = Normal(prior.mean.view(3, 3), prior.scale.diagonal().view(3, 3))
    torch.testing.assert_close(kl_divergence(posterior, prior), torch_kl(q, p).sum((1, 2)))


# The log-uniform prior


def exact_log_uniform(alpha):
    """KL of one weight from the log-uniform prior, 0 in the limit of infinite alpha.

    KL = -1/2 log alpha + E log|1 + sqrt(alpha) e| - E log|e| for a standard normal e, from
    KL = -H(q) + E_q log|w| + constant.
    """

    def integrand(noise):
        value = abs(1 + math.sqrt(alpha) * noise)
        return math.exp(-0.5 * noise**2) / math.sqrt(2 * math.pi) * math.log(max(value, 1e-300))

    singular = -1 / math.sqrt(alpha)
    ends = [-12, singular, 12] if singular > -12 else [-12, 12]
    mean_log = sum(quad(integrand, a, b, limit=200)[0] for a, b in itertools.pairwise(ends))
    return -0.5 * math.log(alpha) + mean_log + 0.5 * (np.euler_gamma + math.log(2))


def log_uniform_kl(alpha, mean=1.0):
    posterior = MultiplicativeKernels(
        torch.full((1, 1, 1), mean, dtype=torch.double),
        torch.full((1, 1, 1), math.log(alpha), dtype=torch.double),
    )
    return kl_divergence(posterior, make("log-uniform", 1)).item()


def test_log_uniform_against_quadrature():
    # The reference itself falls to 0 as alpha grows, so its constant is the documented one.
    assert exact_log_uniform(1e6) == pytest.approx(0, abs=1e-5)
    # For alpha up to 1 the published polynomial is low by at most 0.04 nats a weight, and exact
    # in the limit of small alpha.
    for alpha in np.geomspace(1e-6, 1, 25):
        error = exact_log_uniform(alpha) - log_uniform_kl(alpha)
        assert 0 < error < min(0.041, 0.7 * alpha)
    # It depends on alpha alone.
    assert log_uniform_kl(0.3, mean=1.0) == log_uniform_kl(0.3, mean=-50.0)
    # Weights add up: nine of them in a kernel.
    nine = MultiplicativeKernels(torch.ones(1, 3, 3), torch.full((1, 3, 3), math.log(0.3)))
    found = kl_divergence(nine, make("log-uniform")).item()
    assert found == pytest.approx(9 * log_uniform_kl(0.3), rel=1e-5)


# What the values are, and pairs without any


@pytest.mark.parametrize("kind", POSTERIORS)
def test_nature(kind, small_vae):
    posterior = make_posterior(kind)
    for prior_kind, (nature, estimated) in {
        **dict.fromkeys(EXACT, ("exact", "estimate")),
        **dict.fromkeys(ESTIMATED, ("estimate", "estimate")),
        "vae": ("upper bound", "upper bound"),
        "log-uniform": ("approximation", "approximation"),
        "empirical": (None, None),
    }.items():
        prior = small_vae if prior_kind == "vae" else make(prior_kind)
        if nature is None or (prior_kind == "log-uniform" and kind is GaussianKernels):
            message = f"no KL of {kind.__name__} from {type(prior).__name__}"
            for function in (kl_divergence, kl_nature):
                with pytest.raises(NotImplementedError, match=message):
                    function(posterior, prior)
        else:
            assert kl_nature(posterior, prior) == nature
            assert kl_nature(posterior, prior, MONTE_CARLO) == estimated
        # no other setting of a KL is read than its kind says
        if prior_kind != "empirical":
            assert ("kl_estimator" in prior.kl_settings) == (nature != estimated)
            assert ("kl_bound" in prior.kl_settings) == (nature == "upper bound")


class NarrowNormal(StandardNormal):
    """A prior whose KL nobody registered: that of its parent counts."""


class OtherKernels(GaussianKernels):
    """A posterior whose KL nobody registered."""


def test_dispatch_by_subclass(monkeypatch):
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    posterior, other = make_posterior(GaussianKernels), make_posterior(OtherKernels)
    parent, child = StandardNormal(3), NarrowNormal(3)
    expected = kl_divergence(posterior, parent)
    for q, p in ((posterior, child), (other, parent), (other, child)):
        assert torch.equal(kl_divergence(q, p), expected)

    # A KL of the very types wins over that of the parents, and only for these types.
    @register_kl(OtherKernels, NarrowNormal, "approximation")
    def _(q, p, generator, estimation):
        return torch.zeros(2)

    assert torch.equal(kl_divergence(other, child), torch.zeros(2))
    assert kl_nature(other, child) == "approximation"
    for q, p in ((posterior, child), (other, parent)):
        assert torch.equal(kl_divergence(q, p), expected)
        assert kl_nature(q, p) == "exact"


# The bound of the Deep Weight Prior


def vae_posterior(kind, vae):
    """A posterior around kernels of the prior, not narrow."""
    means = vae.sample(3, generator("means"))
    return kind(means, torch.full_like(means, -1.0))


@pytest.mark.parametrize("kind", POSTERIORS)
def test_bound_is_unbiased(kind, small_vae):
    # -H(q) + E_q [KL(r(z|w) || p(z)) - E_r log p(w|z)], written out with torch.distributions.
    n, posterior = 10000, vae_posterior(kind, small_vae)
    q = Normal(posterior.mean, posterior.variance.sqrt())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        kernels = q.sample((n,)).flatten(0, 1)
        mean, variance = small_vae.encode(kernels)
        r = Normal(mean, variance.sqrt())
        mean, variance = small_vae.decode(r.sample())
        log_likelihood = Normal(mean, variance.sqrt()).log_prob(kernels).sum((1, 2))
    latent = torch_kl(r, Normal(0.0, 1.0)).sum(1)
    written_out = (latent - log_likelihood).view(n, 3) - q.entropy().sum((1, 2))

    estimates = kl_divergence(repeat(posterior, n), small_vae, generator("unbiased"))
    assert_means_agree(estimates, written_out)


# Bounds with several codes


def test_importance_weighting_tightens_the_bound_towards_the_kl(small_vae, grid_log_prob):
    n, posterior = 1000, vae_posterior(GaussianKernels, small_vae)
    many = repeat(posterior, n)
    # All bounds draw the same kernels first.
    kernels = many.sample(generator("bound"))
    log_p = grid_log_prob(small_vae, kernels.flatten(0, 1)).view(n, 3)
    log_q = Normal(posterior.mean, posterior.variance.sqrt()).log_prob(kernels).sum((-2, -1))
    exact, entropy = log_q - log_p, log_q + posterior.entropy()
    before = None
    for samples in (1, 5, 40):
        how = estimation("importance-weighted", samples)
        gaps = kl_divergence(many, small_vae, generator("bound"), how) + entropy - exact
        error = gaps.std(0) / math.sqrt(n)
        assert (gaps.mean(0) > 2 * error).all()
        if before is None:  # of one code it is another estimate of the ELBO
            elbo = kl_divergence(many, small_vae, generator("bound")) + entropy - exact
            difference = elbo - gaps
            assert (difference.mean(0).abs() < 3 * difference.std(0) / math.sqrt(n)).all()
        else:
            assert (gaps.mean(0) < before - 3 * error).all()
        before = gaps.mean(0)
    assert (before < 0.1 * (elbo.mean(0))).all()


def test_several_codes_leave_the_elbo_and_lower_its_spread(small_vae):
    posterior = vae_posterior(GaussianKernels, small_vae)
    # narrow, so that the codes are the noise
    many = repeat(GaussianKernels(posterior.mean, posterior.log_variance - 20), 3000)
    one, ten = (
        kl_divergence(many, small_vae, generator(samples), estimation("elbo", samples))
        for samples in (1, 10)
    )
    assert_means_agree(ten, one)
    # a tenth is expected, but for the noise of the kernels
    assert (ten.var(0) < 0.2 * one.var(0)).all()


@pytest.mark.parametrize("bound", BOUNDS)
def test_chunks_change_nothing(bound, small_vae, monkeypatch):
    means = small_vae.sample(30, generator("means"))
    results = []
    for chunk in (1, 7, 1000):  # less than the codes of one kernel, and more than all of them
        monkeypatch.setattr(frozen, "_at_once", lambda _, chunk=chunk: chunk)
        estimate = small_vae.importance_log_prob(means, 3, generator("codes"))
        given = means.clone().requires_grad_()
        posterior = GaussianKernels(given, torch.full_like(given, -3.0))
        values = kl_divergence(posterior, small_vae, generator("n"), estimation(bound, 4))
        values.sum().backward()
        results.append((values.detach(), given.grad, estimate))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0])
    small_vae.requires_grad_(True)  # and the ordinary way gives the same
    plain = kl_divergence(posterior, small_vae, generator("n"), estimation(bound, 4))
    torch.testing.assert_close(plain.detach(), results[0][0])


# A layer's KL


@pytest.fixture
def net():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        priors = {k: StandardNormal(k) for k in (5, 7)}
        return bayesianize(MnistNet([2, 3]), priors, log_variance=-3.0)


def test_the_nets_kl_is_the_sum_over_layers_and_theirs_over_kernels(net):
    net.conv1.prior = make("gaussian-full", 7).float()
    by_layer, by_kernel = kl(net, reduction="layer"), kl(net, reduction="kernel")
    assert set(by_layer) == set(by_kernel) == {"conv1", "conv2"}
    for name, shape in (("conv1", (2, 1)), ("conv2", (3, 2))):
        layer = net.get_submodule(name)
        values = kl_divergence(layer.posterior, layer.prior)
        assert values.shape == shape
        assert torch.equal(by_kernel[name], values)
        torch.testing.assert_close(by_layer[name], values.sum())
    torch.testing.assert_close(kl(net), by_layer["conv1"] + by_layer["conv2"])


def test_all_kernels_a_step_is_the_same(net, small_vae):
    net.conv2.prior = small_vae
    net.double()
    full = kl(net, generator("all"))
    for count in (6, 7, 1000):
        assert torch.equal(kl(net, generator("all"), kernels_per_step=count), full)


@pytest.mark.parametrize("count", [1, 4])
def test_subsampling_kernels_is_unbiased(net, count):
    # An exact KL, so that the selection of kernels is the only noise.
    with torch.no_grad():
        net.conv2.weight[0] *= 3  # kernels of different KL
        full = kl(net, reduction="layer")
        random = generator("subsample")
        options = {"reduction": "layer", "kernels_per_step": count}
        draws = [kl(net, random, **options) for _ in range(1000)]
    found = torch.stack([draw["conv2"] for draw in draws]).double()
    error = found.std() / math.sqrt(len(found))
    assert 0 < error < 0.05 * full["conv2"]
    assert abs(found.mean() - full["conv2"]) < 3 * error
    if count == 4:  # conv1 has no more than two kernels
        assert all(draw["conv1"] == full["conv1"] for draw in draws)


def test_nets_without_a_kl_and_unknown_options_are_refused(net):
    bare = copy.deepcopy(net)
    bare.conv1.prior = None
    for refused, options, line in (
        (bare, {}, "'conv1': expected a prior, found none"),
        (MnistNet([2, 3]), {}, "expected Bayesian layers, found none"),
        (net, {"reduction": "mean"}, "expected one of sum, layer, kernel; found 'mean'"),
        (net, {"reduction": "kernel", "kernels_per_step": 2}, "kernels_per_step"),
        (net, {"kernels_per_step": 0}, "kernels_per_step: expected a whole number"),
    ):
        with pytest.raises(UserError, match=line):
            kl(refused, **options)


def test_what_does_not_fit_is_refused(small_vae):
    posterior = make_posterior(MultiplicativeKernels, shape=(2, 5, 5))
    for kind in ("standard-normal", "log-uniform"):
        with pytest.raises(UserError, match="the prior is over 3 x 3 kernels, found 5 x 5"):
            kl_divergence(posterior, make(kind))
    with pytest.raises(UserError, match="estimator: expected one of exact, monte-carlo; found"):
        Estimation(estimator="mc")
    for options in ({"bound": "iwae"}, {"latent_samples": 0}):
        for refused in (Estimation, partial(small_vae.loss, torch.zeros(2, 5, 5), generator(0))):
            with pytest.raises(UserError, match=f"{next(iter(options))}: expected"):
                refused(**options)


def test_kl_of_one_kernel(small_vae):
    one = GaussianKernels(torch.zeros(5, 5), torch.full((5, 5), -4.0))
    for prior in (make("gaussian-mixture", 5), small_vae):
        found, expected = (kl_divergence(q, prior, generator(0)) for q in (one, repeat(one, 1)))
        assert found.shape == ()
        assert found == expected[0]


def test_multiplicative_kl_of_tiny_means_is_finite():
    mean = torch.tensor([1e-25, 1e-22]).repeat_interleave(25).view(2, 5, 5).requires_grad_()
    posterior = MultiplicativeKernels(mean, torch.full((2, 5, 5), -1.0))
    found = kl_divergence(posterior, make("standard-normal", 5))
    found.sum().backward()
    assert found.isfinite().all()
    assert mean.grad.isfinite().all()


def test_grouped_layers_have_fewer_kernels():
    net = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2))
    bayesianize(net, make("standard-normal"), log_variance=0.0)
    with torch.no_grad():
        net[0].weight.zero_()
        net[0].log_variance.fill_(1.0)
    # Each of 6 * 2 kernels has 9 weights of variance e and mean 0: KL = (e - 1 - 1) / 2.
    assert kl(net).item() == pytest.approx(12 * 9 * (math.e - 2) / 2)


# Gradients


@pytest.mark.parametrize(
    ("kind", "prior_kind", "how"),
    [
        *((q, p, DEFAULT) for q in POSTERIORS for p in (*EXACT, *ESTIMATED, "vae")),
        (MultiplicativeKernels, "log-uniform", DEFAULT),
        *((GaussianKernels, "vae", estimation(b, s)) for b in BOUNDS for s in (1, 3)),
    ],
)
def test_gradients(kind, prior_kind, how, small_vae):
    k, setting = (5, (1.0, -1.0)) if prior_kind == "vae" else (3, (1.0, 0.0))
    prior = small_vae if prior_kind == "vae" else make(prior_kind)
    inputs = [t.requires_grad_() for t in vars(make_posterior(kind, setting, (2, k, k))).values()]

    def value(mean, spread):
        # Seeded inside, so that every evaluation sees the same draws.
        return kl_divergence(kind(mean, spread), prior, generator("noise"), how)

    assert gradcheck(value, inputs, fast_mode=True)
