"""The names that most programs use: seeds and generators, priors by name and their cards, fits."""

import subprocess
import sys

import pytest
import torch
import yaml
from helpers import ROOT, make_prior, refusal, same_state, save_as_released, script, some_kernels
from torch import nn

import dwp
from dwp.files import write_json
from dwp.kernels import describe, norms
from dwp.nn.bayesian import bayesian_layers
from dwp.priors import KINDS, GaussianKernels
from dwp.training import watch

SHORT = {"epochs": 2, "hidden": 4, "progress": False}
IMAGES = torch.ones(3, 1, 12, 12)
POSTERIOR = GaussianKernels(some_kernels(3), torch.zeros(100, 3, 3))
PARTS = "Data and training", "Held-out nats", "Meant for", "Limits", "Licence"


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


def fit(size, *kind, **options):
    return dwp.fit_prior(some_kernels(size), *kind, **options)


def passes(net, source):
    for layer in bayesian_layers(net).values():
        layer.generator = source
    first, second = net(IMAGES), net(IMAGES)
    assert not torch.equal(first, second)  # a layer goes on drawing from its seed
    return torch.cat([first, second])


DRAWS = {
    "net": passes,
    "score": lambda net, source: score(source),
    "from_prior_": lambda net, source: start(source),
    "fit_prior": lambda net, source: fit(5, generator=source, **SHORT).latent_mean.weight,
    "kl": lambda net, source: dwp.kl(net, source),
    "kl of some": lambda net, source: dwp.kl(net, source, kernels_per_step=2),
    "predict": lambda net, source: dwp.predict(
        net, IMAGES, samples=2, generator=source, batch_size=2
    ),
    "kl_divergence": lambda net, source: dwp.kl_divergence(POSTERIOR, make_prior("vae", 3), source),
}
for kind in sorted(KINDS.keys() - {"log-uniform"}):
    DRAWS[kind] = lambda net, source, k=kind: make_prior(k, 3).sample(5, source)
    DRAWS[f"{kind}, initial"] = lambda net, source, k=kind: make_prior(k, 3).initial(5, source)


@pytest.mark.parametrize("name", DRAWS)
def test_a_seed_is_a_generator_of_its_own(name, net):
    def draw(source):
        return DRAWS[name](net, source).detach()

    first = draw(3)
    assert torch.equal(first, draw(3))
    assert not torch.equal(first, draw(4))
    if name not in ("score", "fit_prior", "net"):  # which have several generators of a seed
        assert torch.equal(first, draw(dwp.generator(3)))
    one = dwp.generator(3)
    assert not torch.equal(draw(one), draw(one))


def test_layers_of_one_call_do_not_share_their_draws():
    first, _, second, *_ = dwp.init.from_prior_(make_net(7, 7), "mnist", 0)
    assert not torch.equal(first.weight[0], second.weight[0, :1])


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
    for file in (tmp_path / "one.safetensors", tmp_path / "two"):
        for given in (file, str(file)):
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


# Priors that come with the package, and their way into it from a run


@pytest.mark.parametrize("name", sorted(dwp.pretrained()))
def test_a_prior_of_the_package_has_a_card_and_works(name):
    card = dwp.pretrained()[name]
    assert card.startswith(f"# {name}\n")
    assert [line[3:] for line in card.splitlines() if line.startswith("## ")] == [*PARTS]
    prior = dwp.load_prior(name)
    size = prior.kernel_size
    assert f"A `{prior.kind}` prior over {size} x {size} kernels" in card
    net = nn.Sequential(nn.Conv2d(1, 4, size))
    dwp.init.from_prior_(net, prior, 0)
    started = norms(net[0].weight.detach().flatten(0, 1))
    assert ((started > 0.01) & (started < 10)).all()
    assert dwp.kl(dwp.bayesianize(net, prior), 0).isfinite()


def test_a_card_has_the_numbers_of_the_run(tmp_path):
    config = ROOT / "config" / "demo.yaml"
    name = yaml.safe_load(config.read_text())["name"]
    run = tmp_path / "results" / name / "demo"
    kernels = some_kernels(7, 200)
    prior = dwp.fit_prior(kernels, "gaussian-diagonal")
    prior.save(run / "priors" / "gaussian-diagonal" / "conv1.safetensors")
    found = dwp.score(prior, kernels[:40])
    write_json(run / "priors" / "gaussian-diagonal" / "scores.json", {"conv1": found})
    described = describe(norms(kernels), 1.4, nets=12, train=100, test=40)
    write_json(run / "kernels" / "conv1.json", described)
    options = ["--results", tmp_path / "results", "--folder", tmp_path]
    line = [config, "demo", "gaussian-diagonal", "conv1", "new", *options]
    script("export_prior").main([*map(str, line)])
    card = (tmp_path / "new.md").read_text()
    density = found["log_prob"]
    for text in (
        f"log p(w) (exact): {density['mean']:.2f} +- {density['standard_error']:.2f}\n",
        "12 source nets (`mnist`) were trained on glyphs. Of their 200 7 x 7\nkernels",
        f"at least 1.4 were kept: {described['kept']}\n",
        "On the 40 held-out kernels",
        f"zeros is {found['at_zero']:.2f} nats, of the kernels that nets\nstart from ",
        "l2 0.001",
    ):
        assert text in card
    assert "ELBO" not in card
    assert torch.equal(dwp.load_prior(tmp_path / "new.safetensors").mean, prior.mean)


# What is refused

REFUSED = [
    (
        lambda: dwp.bayesianize(make_net(7, 3), "mnist"),
        "layer '2': expected a prior over its 3 x 3 kernels, found only over 5 x 5, 7 x 7; "
        "name other layers by layers=, or fit a prior by dwp.fit_prior",
    ),
    (lambda: dwp.bayesianize(make_net(7, 3), "mnist-7"), "did you mean mnist-7x7"),
    (
        lambda: dwp.init.from_prior_(make_net(7, 3), "mnits", 0),
        "prior: expected one of mnist-.*, a file, a folder of .*; found 'mnits'",
    ),
    (lambda: dwp.load_prior("mnist-7x7-gausian"), "did you mean mnist-7x7-gaussian?"),
    (lambda: dwp.load_prior("two.safetensors"), "^two.safetensors: no such file$"),
    (lambda: dwp.load_prior("elsewhere/two"), "^elsewhere/two: no such file$"),
    (lambda: fit(3, "gaussian"), "found 'gaussian'; did you mean gauss"),
    (lambda: fit(3, hiden=3), "vae: .*; did you mean hidden?"),
    (lambda: fit(3, "student-t", hidden=3), "student-t: .* one of none"),
    (lambda: fit(3, epochs=0), "epochs: .* number of at least 1"),
    (lambda: fit(3, hidden=0.5), "hidden: expected a whole number of at least 1"),
    (lambda: fit(3, learning_rate=0), "learning_rate: expected a numb"),
    (lambda: fit(3, generator="a"), "generator: expected a torch.Gen"),
    (lambda: fit(4), "expected one of 3, 5, 7, 16; found '4'"),
    (lambda: dwp.fit_prior("mnist"), "kernels: expected floating-point numbers"),
]


@pytest.mark.parametrize(("call", "line"), REFUSED)
def test_what_is_refused_in_one_line(call, line):
    with pytest.raises(dwp.UserError, match=line.replace("?", r"\?")) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_misspelt_function_gets_the_nearest_name():
    code = "import dwp; dwp.load_priors"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr.endswith("no attribute 'load_priors'. Did you mean: 'load_prior'?\n")


# Fitting


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_defaults(kind):
    short = {"epochs": 1, "batch_size": 100} if KINDS[kind].trained else {}
    state = torch.get_rng_state()
    prior = dwp.fit_prior(some_kernels(3), kind, progress=False, **short)
    assert torch.equal(torch.get_rng_state(), state)
    assert (prior.kind, prior.kernel_size) == (kind, 3)
    assert not any(parameter.requires_grad for parameter in prior.parameters())
    own = {"vae": {"hidden": 32, "latent": 2}, "flow": {"transforms": 6, "hidden": 64}}
    assert prior.arguments.items() >= own.get(kind, {}).items()
    # kernels of another shape and type, as scientific code has them
    kernels = some_kernels(3)[:, None].double().numpy()
    torch.set_default_dtype(torch.float64)
    try:
        assert same_state(dwp.fit_prior(kernels, kind, progress=False, **short), prior)
    finally:
        torch.set_default_dtype(torch.float32)


def test_steps_by_default(monkeypatch):
    seen = []

    def training(kind, size, kernels, own, settings, **how):
        seen.append(settings.epochs)
        return make_prior("vae", 5), []

    monkeypatch.setattr("dwp.training.prior.fit_prior", training)
    for n in (10, 640, 6400, 10**6):
        dwp.fit_prior(torch.ones(n, 5, 5))
    assert seen == [1000, 1000, 100, 1]


def test_progress_is_shown_where_it_can_be(capsys, monkeypatch):
    for shown in (True, False):
        fit(3, epochs=1, hidden=4, progress=shown)
        assert ("vae, 3 x 3: step 2 of 2" in capsys.readouterr().err) == shown
    monkeypatch.setattr(watch, "tqdm", None)
    fit(3, epochs=1, hidden=4)
    assert capsys.readouterr().err == ""
