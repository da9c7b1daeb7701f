"""The few names that most programs use: seeds and generators alike, priors by name, fitting one."""

import subprocess
import sys

import pytest
import torch
from helpers import ROOT, make_prior, refusal, same_state, save_as_released, some_kernels
from torch import nn

import dwp
from dwp.nn.bayesian import bayesian_layers
from dwp.nn.stack import stack
from dwp.priors import KINDS, GaussianKernels
from dwp.training import watch

SHORT = {"epochs": 2, "hidden": 4, "progress": False}


def make_net(*sizes):
    torch.manual_seed(0)
    first, second = sizes
    layers = nn.Conv2d(1, 3, first), nn.ReLU(), nn.Conv2d(3, 2, second), nn.Flatten()
    return nn.Sequential(*layers, nn.LazyLinear(4)).eval()


@pytest.fixture(scope="module")
def net():
    net = make_net(7, 5)
    net(torch.rand(1, 1, 12, 12))
    return dwp.bayesianize(net, "mnist", log_variance=-2.0)


# Seeds and generators


def score(source):
    found = dwp.score(make_prior("vae", 3), some_kernels(3), generator=source, importance_samples=2)
    return torch.tensor([found["elbo"]["mean"]])


def start(source):
    return dwp.init.from_prior_(make_net(7, 7), "mnist", source)[2].weight.detach()


def fit(source):
    return dwp.fit_prior(some_kernels(5), generator=source, **SHORT).latent_mean.weight


DRAWS = {
    "score": lambda net, source: score(source),
    "from_prior_": lambda net, source: start(source),
    "fit_prior": lambda net, source: fit(source),
    "kl": lambda net, source: dwp.kl(net, source),
    "kl of some": lambda net, source: dwp.kl(net, source, kernels_per_step=2),
    "predict": lambda net, source: dwp.predict(
        net, torch.ones(3, 1, 12, 12), samples=2, generator=source, batch_size=2
    ),
    "kl_divergence": lambda net, source: dwp.kl_divergence(
        GaussianKernels(some_kernels(3), torch.zeros(100, 3, 3)), make_prior("vae", 3), source
    ),
}
for kind in sorted(KINDS.keys() - {"log-uniform"}):
    DRAWS[kind] = lambda net, source, kind=kind: make_prior(kind, 3).sample(5, source)
    DRAWS[f"{kind}, initial"] = lambda net, source, kind=kind: make_prior(kind, 3).initial(
        5, source
    )


@pytest.mark.parametrize("name", DRAWS)
def test_a_seed_is_a_generator_of_its_own(name, net):
    def draw(source):
        return DRAWS[name](net, source).detach()

    first = draw(3)
    assert torch.equal(first, draw(3))
    assert not torch.equal(first, draw(4))
    if name not in ("score", "fit_prior"):  # which derive what they draw from the seed
        assert torch.equal(first, draw(dwp.generator(3)))
    one = dwp.generator(3)
    assert not torch.equal(draw(one), draw(one))


def test_layers_of_one_call_do_not_share_their_draws():
    first, _, second, *_ = dwp.init.from_prior_(make_net(7, 7), "mnist", 0)
    assert not torch.equal(first.weight[0], second.weight[0, :1])


def test_a_layer_goes_on_drawing_from_its_seed(net):
    images = torch.rand(2, 1, 12, 12)
    found = []
    for _ in range(2):
        for layer in bayesian_layers(net).values():
            layer.generator = 5
        found.append([net(images), net(images)])
        layer.generator = None
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    assert not torch.equal(*found[0])


def test_the_runs_of_a_stack_take_a_seed_each():
    nets = [dwp.bayesianize(make_net(3, 3), make_prior("vae", 3)) for _ in range(2)]
    for each in nets:
        each(torch.rand(1, 1, 12, 12))
    first, second = dwp.kl(stack(nets), [1, 2])
    assert first.item() == pytest.approx(dwp.kl(nets[0], 1).item(), rel=1e-5)
    assert second.item() == pytest.approx(dwp.kl(nets[1], 2).item(), rel=1e-5)


# Priors by their names


def test_a_name_without_a_size_stands_for_the_priors_of_all_sizes(net):
    first, second = bayesian_layers(net).values()
    assert same_state(first.prior, dwp.load_prior("mnist-7x7"))
    assert same_state(second.prior, dwp.load_prior("mnist-5x5"))
    gaussian = bayesian_layers(dwp.bayesianize(make_net(5, 7), "mnist-gaussian")).values()
    assert [layer.prior.kind for layer in gaussian] == 2 * ["gaussian-full"]


def test_what_load_prior_takes_stands_for_a_prior(tmp_path):
    vae = make_prior("vae", 5)
    vae.save(tmp_path / "one.safetensors")
    save_as_released(vae, tmp_path / "two")
    for given in (tmp_path / "one.safetensors", str(tmp_path / "two"), tmp_path / "two"):
        assert same_state(dwp.load_prior(given), vae)
    priors = {"0": "mnist-7x7", "2": tmp_path / "two"}
    layers = bayesian_layers(dwp.bayesianize(make_net(7, 5), priors)).values()
    assert [layer.prior.latent for layer in layers] == [2, vae.latent]
    assert same_state([*layers][1].prior, vae)
    only = dwp.bayesianize(make_net(7, 5), "mnist-7x7", layers=["0"])
    assert [*bayesian_layers(only)] == ["0"]


def test_a_folder_in_the_working_folder_and_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    vae = make_prior("vae", 5)
    save_as_released(vae, tmp_path / "vae5x5")
    (tmp_path / "mnist-5x5").mkdir()
    assert same_state(dwp.load_prior("vae5x5"), vae)
    assert dwp.load_prior("mnist-5x5").kernel_size == 5
    assert refusal(dwp.load_prior, tmp_path / "mnist-5x5").endswith("no such file")


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (
            lambda: dwp.bayesianize(make_net(7, 3), "mnist"),
            "layer '2': expected a prior over its 3 x 3 kernels, found only over 5 x 5, 7 x 7; "
            "name other layers by layers=, or fit a prior by dwp.fit_prior",
        ),
        (lambda: dwp.bayesianize(make_net(7, 3), "mnist-7"), "did you mean mnist-7x7"),
        (lambda: dwp.init.from_prior_(make_net(7, 3), "mnits", 0), "prior: expected one of mnist-"),
        (lambda: dwp.load_prior("mnist-7x7-gausian"), "did you mean mnist-7x7-gaussian?"),
        (
            lambda: dwp.fit_prior(some_kernels(3), "gaussian"),
            "found 'gaussian'; did you mean gauss",
        ),
        (lambda: dwp.fit_prior(some_kernels(3), hiden=3), "vae: .*; did you mean hidden?"),
        (
            lambda: dwp.fit_prior(some_kernels(3), "student-t", hidden=3),
            "student-t: .* one of none",
        ),
        (lambda: dwp.fit_prior(some_kernels(3), epochs=0), "epochs: .* number of at least 1"),
        (
            lambda: dwp.fit_prior(some_kernels(3), hidden=0.5),
            "hidden: expected a whole number of at least 1",
        ),
        (lambda: dwp.fit_prior(some_kernels(3), learning_rate=0), "learning_rate: expected a numb"),
        (lambda: dwp.fit_prior(some_kernels(3), generator="a"), "generator: expected a torch.Gen"),
        (lambda: dwp.fit_prior(some_kernels(4)), "expected one of 3, 5, 7, 16; found '4'"),
        (lambda: dwp.fit_prior("mnist"), "kernels: expected floating-point numbers"),
    ],
)
def test_what_is_refused_in_one_line(call, line):
    with pytest.raises(dwp.UserError, match=line.replace("?", r"\?")) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_misspelt_function_gets_the_nearest_name():
    code = "import dwp; dwp.load_priors"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr.endswith("no attribute 'load_priors'. Did you mean: 'load_prior'?\n")


# Fitting


def test_a_fitted_prior_describes_its_kernels():
    torch.manual_seed(0)
    # two kinds of stripes, of any strength
    patterns = torch.stack([torch.eye(5), torch.eye(5).flip(0)])
    kernels = patterns[torch.arange(400) % 2] * (1 + 0.3 * torch.randn(400, 1, 1))
    kernels += 0.05 * torch.randn(400, 5, 5)
    state = torch.get_rng_state()
    training = {"epochs": 60, "batch_size": 32, "learning_rate": 3e-3, "hidden": 16}
    prior = dwp.fit_prior(kernels[:300], **training, progress=False)
    assert torch.equal(torch.get_rng_state(), state)
    assert (prior.kind, prior.latent, prior.frozen) == ("vae", 4, True)
    found, gaussian = (
        dwp.score(each, kernels[300:], importance_samples=50)["log_prob"]["mean"]
        for each in (prior, dwp.fit_prior(kernels[:300, None].numpy(), "gaussian-full"))
    )
    assert found > gaussian


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_defaults(kind):
    short = {"epochs": 1, "batch_size": 100} if KINDS[kind].trained else {}
    prior = dwp.fit_prior(some_kernels(3), kind, progress=False, **short)
    assert (prior.kind, prior.kernel_size) == (kind, 3)
    own = {"vae": {"hidden": 32, "latent": 2}, "flow": {"transforms": 6, "hidden": 64}}
    assert prior.arguments.items() >= own.get(kind, {}).items()


def test_steps_by_default(monkeypatch):
    seen = []

    def training(kind, size, kernels, own, settings, **how):
        seen.append(settings.epochs)
        return make_prior("vae", 5), []

    monkeypatch.setattr("dwp.training.prior.fit_prior", training)
    for n in (10, 640, 6400, 10**6):
        dwp.fit_prior(torch.ones(n, 5, 5))
    assert seen == [1000, 1000, 100, 1]


@pytest.mark.parametrize("shown", [True, False])
def test_progress_is_shown_where_it_can_be(shown, capsys, monkeypatch):
    dwp.fit_prior(some_kernels(3), epochs=1, hidden=4, progress=shown)
    found = capsys.readouterr().err
    assert ("vae, 3 x 3: step 2 of 2" in found) == shown
    monkeypatch.setattr(watch, "tqdm", None)
    dwp.fit_prior(some_kernels(3), epochs=1, hidden=4)
    assert capsys.readouterr().err == ""
