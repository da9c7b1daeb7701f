"""Priors: densities that are densities, samples that follow them, files that keep them."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from helpers import make_prior
from scipy.stats import multivariate_t
from torch.autograd import gradcheck
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal, Normal

from dwp import fit_prior
from dwp.devices import products
from dwp.errors import UserError
from dwp.files import save_tensors
from dwp.kernels import check_kernels
from dwp.priors import KINDS, load_prior, prior_class
from dwp.priors.vae import KernelVAE
from dwp.seeds import generator

EXPLICIT = [kind for kind, facts in KINDS.items() if facts.density == "exact"]
SAMPLED = [kind for kind in KINDS if kind != "log-uniform"]


def correlated_kernels(n, k, *seed):
    """Draws (n, k, k) of a Gaussian, and its mean (d,) and covariance (d, d)."""
    random = generator("correlated", k, *seed)
    d = k * k
    mean = torch.randn(d, generator=random)
    factor = 0.3 * torch.randn(d, d, generator=random) + 0.5 * torch.eye(d)
    noise = torch.randn(n, d, generator=random)
    return (mean + noise @ factor.T).view(n, k, k), mean, factor @ factor.T


def assert_mean(values, expected, errors=3.0):
    """The mean of independent values is the expected one, within standard errors."""
    values = values.double()
    error = values.std() / math.sqrt(len(values))
    assert abs(values.mean() - expected) < errors * error + 1e-9
    # An estimate that says nothing must not pass.
    assert error < 0.05 * max(1.0, abs(expected))


# Densities


@pytest.mark.parametrize("kind", EXPLICIT)
def test_density_integrates_to_one_and_samples_follow_it(kind):
    prior = make_prior(kind, 3)
    # Importance sampling from a wider Gaussian around the prior's own mean.
    draws = prior.sample(4000, generator("wide", 1)).flatten(1)
    wide = MultivariateNormal(draws.mean(0), 1.4 * draws.T.cov())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        points = wide.sample((20000,))
    kernels = points.view(-1, 3, 3)
    assert_mean((prior.log_prob(kernels) - wide.log_prob(points)).exp(), 1)
    assert torch.equal(prior.loss(kernels[:9], generator(0)), -prior.log_prob(kernels[:9]))
    # E_p[q / p] = 1 for every density q: here a Gaussian narrower than p and moved a little.
    prior = make_prior(kind, 2)
    samples = prior.sample(20000, generator("follow"))
    flat = samples.flatten(1)
    moved = MultivariateNormal(flat.mean(0) + 0.2 * flat.std(0), 0.5 * flat.T.cov())
    assert_mean((moved.log_prob(flat) - prior.log_prob(samples)).exp(), 1)


def test_gaussians_against_torch():
    kernels = correlated_kernels(50, 3)[0]
    flat = kernels.flatten(1)
    mean, covariance = flat.mean(0), flat.T.cov(correction=0)
    for kind, moments in {
        "standard-normal": (torch.zeros(9), torch.eye(9)),
        "gaussian-diagonal": (mean, covariance.diagonal().diag()),
        "gaussian-full": (mean, covariance),
    }.items():
        prior, expected = fit_prior(kernels, kind), MultivariateNormal(*moments).log_prob(flat)
        torch.testing.assert_close(prior.log_prob(kernels), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "kind", ["gaussian-full", "student-t", "gaussian-mixture", "kernel-density", "flow"]
)
def test_densities_do_not_depend_on_the_precision_of_products(kind):
    prior, kernels = make_prior(kind, 5), torch.randn(8, 5, 5, generator=generator("kernels"))
    whole = prior.log_prob(kernels)
    with products("bfloat16", "cpu"):
        found = prior.log_prob(kernels)
    assert found.dtype == torch.float32
    # the flow's nets are in half precision, what is summed is not
    torch.testing.assert_close(found, whole, rtol=0.01 if kind == "flow" else 0, atol=0)


# Fitting


def degenerate(name):
    kernels = correlated_kernels(200, 5)[0]
    first = kernels[:, 0, 0].clone()
    if name == "equal weights":
        kernels[:, 0, 1] = first
    if name == "combination":
        kernels[:, 0, 1] = 2 * first - kernels[:, 3, 3]
    if name == "no mean":
        kernels -= kernels.mean((1, 2), keepdim=True)
    if name == "constant weight":
        kernels[:, 2, 2] = 0.1  # whose mean is not exactly 0.1
    if name == "all zero":
        kernels[:] = 0
    if name == "all the same":
        kernels[:] = kernels[0].clone()
    return kernels[:25] if name == "too few" else kernels


# Rounding leaves such covariances barely positive definite, so that a Cholesky decomposition alone
# would go through and give a precision of 1e15.
@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("gaussian-full", "equal weights, combination, no mean, constant weight, all zero"),
        ("gaussian-diagonal", "constant weight, all zero, all the same"),
        ("student-t", "combination, all the same"),
    ],
)
def test_degenerate_kernels_are_refused(kind, names):
    prior_class(kind).fit(correlated_kernels(26, 5)[0])
    for name in (*names.split(", "), "too few"):
        with pytest.raises(UserError, match=f"a {kind} prior needs more than 25 kernels"):
            prior_class(kind).fit(degenerate(name))


def test_full_gaussian_of_a_wide_spectrum_is_that_of_double_precision():
    rotation = torch.linalg.qr(torch.randn(25, 25, generator=generator("turn")).double())[0]
    noise = torch.randn(2000, 25, generator=generator("wide")).double()
    kernels = (noise * torch.logspace(0, -4, 25).double()) @ rotation.T  # condition 1e8
    prior = prior_class("gaussian-full").fit(kernels.view(-1, 5, 5))
    exact = MultivariateNormal(kernels.mean(0), kernels.T.cov(correction=0)).log_prob(kernels)
    found = prior.log_prob(kernels.float().view(-1, 5, 5))
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=0.1)


# The Student t


def student_kernels(n, degrees, k=2):
    """Draws (n, k, k) of a multivariate t, its location (d,) and its scale matrix (d, d)."""
    kernels, mean, matrix = correlated_kernels(n, k)
    shape = torch.full((n, 1, 1), degrees / 2)
    gamma = torch._standard_gamma(shape, generator=generator("gamma"))
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
def test_student_t_recovers_its_parameters_and_maximises_the_likelihood(degrees):
    kernels, mean, matrix = student_kernels(20000, degrees)
    prior = prior_class("student-t").fit(kernels)
    assert prior.degrees.item() == pytest.approx(degrees, rel=0.06)
    torch.testing.assert_close(prior.mean, mean, rtol=0, atol=0.03)
    found = prior.scale @ prior.scale.T
    assert (found - matrix).abs().max() < 0.05 * matrix.abs().max()
    best = prior.log_prob(kernels).double().mean()
    for factors in itertools.product((0.95, 1.05), (0.95, 1, 1.05)):
        other = make_student(prior.mean, factors[0] * found, factors[1] * prior.degrees)
        assert other.log_prob(kernels).double().mean() < best


# The mixture


def test_mixture_against_torch():
    kernels = torch.cat([correlated_kernels(100, 2, s)[0] + 2 * s for s in range(3)])
    prior = prior_class("gaussian-mixture").fit(kernels, components=3, seed=0)
    parts = MultivariateNormal(prior.means, scale_tril=prior.scales)
    expected = MixtureSameFamily(Categorical(logits=prior.log_weights), parts)
    expected = expected.log_prob(kernels.flatten(1))
    torch.testing.assert_close(prior.log_prob(kernels), expected, rtol=1e-4, atol=1e-4)


def test_mixture_has_a_floor_under_its_variances_and_depends_on_its_seed():
    kernels = correlated_kernels(40, 3)[0]
    spread = kernels.flatten(1).var(0, correction=0).mean().item()
    prior, same, other = (
        prior_class("gaussian-mixture").fit(kernels, components=8, seed=seed, floor=0.1)
        for seed in (0, 0, 1)
    )
    assert torch.equal(prior.means, same.means)
    assert not torch.equal(prior.means, other.means)
    least = torch.linalg.eigvalsh(prior.scales @ prior.scales.mT).min().item()
    assert least == pytest.approx(0.1 * spread, rel=0.05)  # components of few kernels reach it


def test_kernel_density_against_torch():
    kernels = correlated_kernels(30, 3)[0]
    prior = prior_class("kernel-density").fit(kernels, bandwidth=0.7, centres=10)
    assert torch.equal(prior.kernels, kernels[::3])
    parts = MultivariateNormal(prior.kernels.flatten(1), 0.49 * torch.eye(9))
    expected = MixtureSameFamily(Categorical(torch.ones(10)), parts).log_prob(kernels.flatten(1))
    torch.testing.assert_close(prior.log_prob(kernels), expected, rtol=1e-4, atol=1e-4)
    assert {tuple(k) for k in prior.initial(50, 0).flatten(1).tolist()} == {
        tuple(k) for k in prior.kernels.flatten(1).tolist()
    }


def test_kernel_density_takes_the_bandwidth_of_the_largest_leave_one_out_likelihood(monkeypatch):
    monkeypatch.setattr("dwp.priors.kernel_density._ROWS", 17)
    kernels = correlated_kernels(60, 3)[0]
    fit = prior_class("kernel-density").fit
    found = fit(kernels).bandwidth.item()

    def left_out(bandwidth):
        others = (torch.cat([kernels[:i], kernels[i + 1 :]]) for i in range(len(kernels)))
        scores = [fit(o, bandwidth).log_prob(k[None]) for o, k in zip(others, kernels, strict=True)]
        return torch.cat(scores).double().mean()

    assert all(left_out(found) > left_out(factor * found) for factor in (0.95, 1.05))


@pytest.mark.parametrize("name", ["all zero", "all the same", "twice each"])
def test_kernel_density_refuses_kernels_that_have_copies(name):
    with pytest.raises(UserError, match="every kernel has a copy"):
        prior_class("kernel-density").fit(degenerate(name).repeat(2, 1, 1))


@pytest.mark.parametrize(("n", "centres"), [(1, None), (5, 6), (5, 1)])
def test_kernel_density_refuses_a_wrong_number_of_centres(n, centres):
    with pytest.raises(UserError, match=f"expected 2 to {n} centres, found {centres or n}"):
        prior_class("kernel-density").fit(torch.randn(n, 3, 3), centres=centres)


def test_mixture_refuses_too_few_kernels_and_equal_ones():
    with pytest.raises(UserError, match=r"of 5 components needs as many kernels .* found 4"):
        prior_class("gaussian-mixture").fit(correlated_kernels(4, 3)[0], components=5, seed=0)
    with pytest.raises(UserError, match="that differ"):
        prior_class("gaussian-mixture").fit(degenerate("all the same"), components=2, seed=0)


# The flow


def test_flow_refuses_what_it_cannot_be_and_takes_almost_degenerate_kernels():
    with pytest.raises(UserError, match="flow: expected a whole number of at least 2"):
        prior_class("flow")(1, transforms=2, hidden=4)
    prior, kernels = prior_class("flow")(5, transforms=2, hidden=4), degenerate("equal weights")
    with pytest.raises(UserError, match="not all zero"):
        prior.prepare(degenerate("all zero"))
    prior.prepare(kernels)
    assert prior.log_prob(kernels).isfinite().all()


def test_flow_follows_its_weights_to_another_type_and_into_copies():
    prior, kernels = make_prior("flow", 5), torch.randn(8, 5, 5, generator=generator("kernels"))
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
    points = 30 * torch.randn(50, 25, generator=generator("far"))
    _, log_factor = prior.flow().transform.call_and_ladj(points)
    # each layer moves 12 or 13 of the 25 weights
    assert 0 < log_factor.abs().max() <= 3 * 13 * math.log(2)


# Samples, and priors that have none


def test_log_uniform_has_neither_samples_nor_density():
    prior = make_prior("log-uniform", 5)
    for draw in (prior.sample, prior.initial):
        with pytest.raises(UserError, match="improper"):
            draw(3, generator(0))
    with pytest.raises(UserError, match="'log-uniform' has no tractable density"):
        prior.log_prob(torch.ones(1, 5, 5))
    with pytest.raises(NotImplementedError, match="KernelVAE is not fitted in closed form"):
        KernelVAE.fit(torch.ones(1, 5, 5))


def test_empirical_draws_its_kernels_uniformly():
    kernels = correlated_kernels(10, 3)[0]
    prior = prior_class("empirical").fit(kernels)
    samples = prior.sample(10000, generator("empirical"))
    counts = (samples[:, None] == kernels).all((2, 3)).sum(0)
    assert counts.sum() == 10000  # every sample is one of the kernels
    assert ((counts - 1000).abs() < 4 * math.sqrt(10000 * 0.1 * 0.9)).all()
    with pytest.raises(UserError, match="'empirical' has no tractable density"):
        prior.log_prob(kernels)


@pytest.mark.parametrize("kind", SAMPLED)
def test_samples_need_a_number_and_a_generator(kind):
    prior, number = make_prior(kind, 3), "n: expected a whole number of at least 1, found"
    assert prior.sample(np.int64(7), 0).shape == (7, 3, 3)
    for n, source, line in (
        (0, 0, f"{number} 0"),
        (-3, 0, f"{number} -3"),
        (2.0, 0, f"{number} 2.0"),
        (3, None, "generator: expected a torch.Generator or a seed, found NoneType None"),
        (3, np.random.default_rng(0), "generator: expected .* a seed, found Generator"),
    ):
        for draw in (prior.sample, prior.initial):
            with pytest.raises(UserError, match=line):
                draw(n, source)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_in_double_precision_by_default(kind, tmp_path):
    before = make_prior(kind, 3)
    before.save(tmp_path / "prior.safetensors")
    torch.set_default_dtype(torch.float64)
    try:
        for prior in (make_prior(kind, 3).double(), load_prior(tmp_path / "prior.safetensors")):
            if kind in SAMPLED:
                for draw in (prior.sample, prior.initial):
                    assert draw(3, generator(0)).dtype == torch.float64
            kernels = correlated_kernels(6, 3)[0]
            if kind in EXPLICIT:
                assert prior.log_prob(kernels).dtype == torch.float64
            if KINDS[kind].trained:
                assert prior.loss(kernels, generator(0)).isfinite().all()
        if kind in EXPLICIT:
            low = before.log_prob(kernels.float()).double()
            torch.testing.assert_close(prior.log_prob(kernels), low, rtol=1e-3, atol=1e-3)
    finally:
        torch.set_default_dtype(torch.float32)


# Files


@pytest.mark.parametrize("kind", KINDS)
def test_file_round_trip(tmp_path, kind):
    prior, kernels = make_prior(kind, 5), correlated_kernels(6, 5, "other")[0]
    paths = [tmp_path / "first.safetensors", tmp_path / "second.safetensors"]
    prior.save(paths[0])
    loaded = load_prior(paths[0])
    loaded.save(paths[1])
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert type(loaded) is type(prior)
    assert loaded.kernel_size == 5
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    if kind in SAMPLED:
        assert torch.equal(prior.sample(9, generator(0)), loaded.sample(9, generator(0)))
    if kind in EXPLICIT:
        assert torch.equal(prior.log_prob(kernels), loaded.log_prob(kernels))
    if kind == "vae":
        assert torch.equal(prior.loss(kernels, generator(1)), loaded.loss(kernels, generator(1)))


@pytest.mark.parametrize(
    ("kind", "arguments", "line"),
    [
        ("horseshoe", {}, f"prior kind: expected one of {', '.join(KINDS)}; found 'horseshoe'"),
        ("gaussian-full", {"kernel_size": 3}, "expected a prior of kind 'gaussian-full'"),
        ("vae", {"kernel_size": 5, "width": 3}, "'vae'.*argument 'width'.*; make it again"),
        ("vae", {"kernel_size": 4, "hidden": 2, "latent": 2}, "one of 3, 5, 7, 16; found '4'"),
        ("student-t", {"kernel_size": 1}, "expected numbers, found NaN; make it again"),
    ],
)
def test_a_file_that_is_no_prior_is_refused(tmp_path, kind, arguments, line):
    path = tmp_path / "prior.safetensors"
    tensors = {"weight": torch.zeros(3)}
    if kind == "student-t":
        state = prior_class(kind)(1).state_dict()
        tensors = {name: torch.full_like(value, math.nan) for name, value in state.items()}
    settings = {"kind": kind, "arguments": arguments}
    save_tensors(path, tensors, kind="prior", settings=settings)
    with pytest.raises(UserError, match=f"^{path}: .*{line}") as caught:
        load_prior(path)
    assert "\n" not in str(caught.value)


# Kernels from users


def test_check_kernels_takes_tensors_and_arrays_of_both_shapes():
    kernels = correlated_kernels(4, 3)[0]
    array = kernels.numpy()
    arrays = array, kernels[:, None].double().numpy(), array.astype(">f4"), array[::-1].copy()[::-1]
    for given in (kernels, kernels[:, None], kernels.double(), *arrays):
        checked = check_kernels(given, 3)
        assert torch.equal(checked, kernels)
        assert checked.dtype == torch.float32


@pytest.mark.parametrize(
    ("kernels", "line"),
    [
        *((torch.zeros(s), "expected shape") for s in [(3,), (3, 3), (2, 3, 4), (2, 2, 3, 3)]),
        *((torch.zeros(s), "expected shape") for s in [(0, 3, 3), (1, 1, 1, 3), (2, 0, 0)]),
        (torch.zeros(2, 3, 3), "over 5 x 5 kernels, found 3 x 3"),
        (torch.full((2, 5, 5), math.nan), "found NaN or infinity"),
        (np.full((2, 5, 5), math.inf), "found NaN or infinity"),
        (np.full((2, 5, 5), 1e300), "found NaN or infinity"),  # in single precision
        (torch.zeros(2, 5, 5, dtype=torch.int64), "floating-point numbers, found torch.int64"),
        (torch.zeros(2, 5, 5, dtype=torch.complex64), "found torch.complex64"),
        (np.zeros((2, 5, 5), np.uint8), "floating-point numbers, found uint8"),
        (np.zeros((2, 5, 5), bool), "floating-point numbers, found bool"),
        (np.array([None]), "floating-point numbers, found object"),
        ([[["a"]]], "floating-point numbers, found <U1"),
    ],
)
def test_check_kernels_refuses_all_else_in_one_line(kernels, line):
    with pytest.raises(UserError, match=f"^kernels: .*{line}"):
        check_kernels(kernels, 5)


# The VAE


@pytest.mark.parametrize("kernel_size", [3, 5, 7, 16])
@pytest.mark.parametrize("latent", [1, 3])
def test_vae_shapes(kernel_size, latent):
    vae = KernelVAE(kernel_size, hidden=2, latent=latent).requires_grad_(False)
    kernels = vae.sample(6, generator(0))
    assert kernels.shape == vae.initial(6, generator(0)).shape == (6, kernel_size, kernel_size)
    assert kernels.isfinite().all()
    for moment in vae.encode(kernels):
        assert moment.shape == (6, latent)
    assert vae.loss(kernels, generator(1)).shape == (6,)
    assert vae.importance_log_prob(kernels, 2, generator(1)).shape == (6,)


def test_vae_of_fixed_variance(tmp_path):
    vae = KernelVAE(5, hidden=4, latent=2, variance=0.01).requires_grad_(False)
    mean, variance = vae.decode(torch.randn(6, 2, generator=generator("codes")))
    assert mean.shape == variance.shape == (6, 5, 5)
    assert (variance == 0.01).all()
    assert not any("kernel_variance" in name for name in vae.state_dict())
    vae.save(tmp_path / "prior.safetensors")
    loaded, kernels = load_prior(tmp_path / "prior.safetensors"), correlated_kernels(6, 5)[0]
    assert loaded.variance == 0.01
    assert torch.equal(vae.loss(kernels, generator(0)), loaded.loss(kernels, generator(0)))
    # One code a kernel, written out.
    noise = torch.randn((6, 2), generator=generator(0))
    mean, spread = vae.encode(kernels)
    latent = torch.distributions.kl_divergence(Normal(mean, spread.sqrt()), Normal(0.0, 1.0))
    decoded = Normal(vae.decode(mean + spread.sqrt() * noise)[0], 0.1)
    expected = latent.sum(1) - decoded.log_prob(kernels).sum((1, 2))
    torch.testing.assert_close(vae.loss(kernels, generator(0)), expected, rtol=1e-4, atol=1e-3)


def test_vae_samples_scatter_around_decoder_means(small_vae):
    # More than one chunk of the decoder, so that the parts must come back in order.
    codes = torch.randn(5000, 2, generator=generator("codes"))
    mean, variance = small_vae.decode(codes)
    torch.testing.assert_close(small_vae.initial(5000, generator("codes")), mean)
    noise = (small_vae.sample(5000, generator("codes")) - mean) / variance.sqrt()
    assert abs(noise.mean()) < 4 / math.sqrt(noise.numel())
    assert abs(noise.square().mean() - 1) < 4 * math.sqrt(2 / noise.numel())


def test_vae_density_integrates_to_one_and_samples_follow_it(small_vae, grid_log_prob):
    class Wider:
        """The same VAE with 1.2 times the variance of p(w|z)."""

        def decode(self, codes):
            mean, variance = small_vae.decode(codes)
            return mean, 1.2 * variance

    # Importance sampling from p(w) made wider.
    mean, variance = Wider().decode(torch.randn(1500, 2, generator=generator("codes")))
    kernels = mean + variance.sqrt() * torch.randn(mean.shape, generator=generator("noise"))
    assert_mean((grid_log_prob(small_vae, kernels) - grid_log_prob(Wider(), kernels)).exp(), 1)
    # E_p[q / p] = 1 for every density q: here p moved by a little in every weight.
    kernels = small_vae.sample(1500, generator("follow"))
    moved = grid_log_prob(small_vae, kernels + 0.03)
    assert_mean((moved - grid_log_prob(small_vae, kernels)).exp(), 1)


@pytest.mark.parametrize("samples", [1, 20])
def test_importance_sampling_against_the_grid(small_vae, grid_log_prob, samples):
    # exp of the estimate is unbiased for p(w) with any number of samples
    kernels = small_vae.sample(500, generator("few"))
    exact = grid_log_prob(small_vae, kernels)
    rows = kernels[:4].repeat_interleave(20000 // samples, 0)
    estimates = small_vae.importance_log_prob(rows, samples, generator("importance")).view(4, -1)
    ratios = (estimates - exact[:4, None]).exp()
    error = ratios.std(1) / math.sqrt(ratios.shape[1])
    assert (error < 0.2).all()
    assert ((ratios.mean(1) - 1).abs() < 3 * error).all()


@pytest.mark.parametrize("kernel_size", [3, 5, 7, 16])
def test_vae_loss_gradient_with_respect_to_parameters(kernel_size):
    vae = make_prior("vae", kernel_size).double().requires_grad_(True)
    kernels = torch.randn(4, kernel_size, kernel_size, generator=generator("g"), dtype=torch.double)

    def loss(*_):
        return vae.loss(kernels, generator("noise")).mean()

    assert gradcheck(loss, [*vae.parameters()], fast_mode=True)


def test_vae_variance_has_a_floor():
    vae = KernelVAE(5, hidden=2, latent=2).requires_grad_(False)
    vae.kernel_variance.weight.zero_()
    vae.kernel_variance.bias.fill_(-1000)
    # softplus(-1000) is 0 in any precision; log p(w|z) must stay finite.
    assert (vae.decode(torch.zeros(1, 2))[1] > 0).all()
    assert vae.loss(torch.zeros(1, 5, 5), generator(0)).isfinite().all()
