"""Training under a prior: its objective, what runs share, and what is reported."""

import itertools
import json
import math
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers import CLASSIFICATION as SETTINGS
from helpers import striped_images
from torch.nn import functional as F

from dwp.data.distort import distort
from dwp.data.subsets import few_shot_subset
from dwp.data.tensors import to_unit
from dwp.errors import OUT_OF_TIME, UserError
from dwp.evaluation.classifier import evaluate_classifier
from dwp.evaluation.metrics import PROBABILITY_FLOOR
from dwp.files import read_json
from dwp.nn.bayesian import bayesian_layers, kl, prediction
from dwp.nn.classifier import build_classifier, build_member
from dwp.nn.dropout import Dropout
from dwp.nn.networks import NETWORKS, network_class
from dwp.nn.predict import predict
from dwp.nn.stack import unstack
from dwp.priors import Estimation, prior_class
from dwp.priors.vae import KernelVAE
from dwp.seeds import generator
from dwp.training import classification, loop
from dwp.training.classification import bayesian_objective, prior_penalty, train_classifiers
from dwp.training.source import l2_penalty

ROOT = Path(__file__).parent.parent
SIZES = {"conv1": 7, "conv2": 5}
PLACE = {"n": 12, "split": 0, "seed": 0}  # 3 steps an epoch, the last of 2 images
KINDS = ["vae", "log-uniform", "standard-normal", "gaussian-diagonal", "gaussian-full"]


@pytest.fixture(scope="module")
def stripes():
    return striped_images()


def make_prior(kind, kernel_size):
    if kind == "vae":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(kernel_size)
            return KernelVAE(kernel_size, hidden=2, latent=2).requires_grad_(False)
    kind_class = prior_class(kind)
    if not kind_class.needs_kernels:
        return kind_class(kernel_size)
    shape = (100, kernel_size, kernel_size)
    return kind_class.fit(0.2 * torch.randn(shape, generator=generator("kernels", kernel_size)))


def make_priors(kind, layers=("conv1", "conv2")):
    """The priors of named layers; None, as of a deterministic net, for no kind."""
    return None if kind is None else {name: make_prior(kind, SIZES[name]) for name in layers}


def train(data, kind, *, init=None, layers=("conv1", "conv2"), settings=None, **options):
    place = PLACE | options
    ((net, records),) = train_classifiers(
        data,
        SETTINGS | (settings or {}),
        [(place.pop("split"), place.pop("seed"))],
        priors=make_priors(kind, layers),
        init=make_priors(init),
        **place,
    )
    return net, records


def same_state(first, second):
    first, second = first.state_dict(), second.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


# The objective


def test_objective_by_hand():
    logits = torch.tensor([[0.0, 0.0], [math.log(3.0), 0.0]])
    kl = {"conv1": torch.tensor(5.0), "conv2": torch.tensor(0.25)}
    loss, data = bayesian_objective(logits, torch.tensor([0, 1]), 10, kl)
    # 10 examples, of which two are here: -log 1/2 and -log 1/4.
    assert data.item() == pytest.approx(10 / 2 * (math.log(2) + math.log(4)), rel=1e-6)
    assert loss.item() == pytest.approx(data.item() + 5.25, rel=1e-6)
    # A temperature is a factor of the KL alone.
    tempered, same = bayesian_objective(logits, torch.tensor([0, 1]), 10, kl, 0.2)
    assert same == data
    assert tempered.item() == pytest.approx(data.item() + 0.2 * 5.25, rel=1e-6)


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_objective_is_unbiased(size):
    # Over all batches of one size, of all examples: the mean is the value of the whole set.
    logits = torch.randn((6, 4), generator=generator("logits")).double()
    targets = torch.tensor([0, 3, 1, 1, 2, 0])
    kl = {"conv1": torch.tensor(1.5).double()}
    whole, _ = bayesian_objective(logits, targets, 6, kl)
    assert whole.item() == pytest.approx(
        F.cross_entropy(logits, targets, reduction="sum").item() + 1.5
    )
    batches = [list(batch) for batch in itertools.combinations(range(6), size)]
    losses = [bayesian_objective(logits[b], targets[b], 6, kl)[0].item() for b in batches]
    assert sum(losses) / len(losses) == pytest.approx(whole.item())
    if size < 6:
        assert max(losses) > whole.item() > min(losses)


def test_gradient_of_the_objective_reaches_both_terms():
    logits = torch.zeros(1, 2, requires_grad=True)
    kl = {"conv1": torch.tensor(0.0, requires_grad=True)}
    bayesian_objective(logits, torch.tensor([0]), 8, kl)[0].backward()
    assert logits.grad.tolist() == [[-4.0, 4.0]]  # 8 times (softmax - one-hot)
    assert kl["conv1"].grad.item() == 1.0


# Subsets


@pytest.mark.parametrize("split", [0, 1, 7])
def test_training_and_validation_images_never_overlap(split):
    targets = torch.arange(300) % 10
    subsets = {n: few_shot_subset(targets, n, split, 100) for n in (1, 10, 55, 200)}
    held_out = subsets[1][1]
    assert len(held_out.unique()) == 100
    longest = subsets[200][0]
    for n, (chosen, validation) in subsets.items():
        assert len(chosen.unique()) == n
        # Nested in n, and one validation part for all.
        assert torch.equal(chosen, longest[:n])
        assert torch.equal(validation, held_out)
        assert not set(chosen.tolist()) & set(validation.tolist())
    assert targets[longest].bincount().tolist() == [20] * 10


def test_splits_differ_and_share_the_validation_part():
    targets = torch.arange(300) % 10
    (first, held_out), (second, same) = (few_shot_subset(targets, 50, s, 100) for s in (0, 1))
    assert torch.equal(held_out, same)
    assert set(first.tolist()) != set(second.tolist())


def test_too_many_images_are_refused(stripes):
    with pytest.raises(UserError, match="only 26 are available"):
        train(stripes, None, n=79)


# What runs share


@pytest.fixture
def begin(monkeypatch, stripes):
    """Set up a run and stop before its first step; return what it would have started with."""

    def call(kind, **options):
        seen = SimpleNamespace()

        def optimise(net, objective, **settings):
            seen.state = {k: v.clone() for k, v in net.state_dict().items()}
            (noise,), (seed,) = settings["noise"], settings["seeds"]
            seen.noise = noise.get_state()
            seen.batches = list(
                loop.batches(settings["n"], settings["batch_size"], settings["steps"], *seed)
            )
            hook = net.register_forward_pre_hook(
                lambda net, inputs: setattr(seen, "images", inputs[0])
            )
            objective(torch.arange(settings["n"])[None])
            hook.remove()
            return [[]]

        with monkeypatch.context() as patch:
            patch.setattr(classification, "optimise", optimise)
            train(stripes, kind, **options)
        return seen

    return call


def same_start(first, second):
    """Whether the weights, but for the posteriors' variances, are the same."""
    names = {k for k in (*first.state, *second.state) if not k.endswith("log_variance")}
    assert len(names) == 6
    return all(torch.equal(first.state[k], second.state[k]) for k in names)


def same_batches(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.batches, second.batches, strict=True))


@pytest.mark.parametrize("init", [None, "vae", "empirical"])
def test_runs_differ_in_nothing_but_the_prior(begin, init):
    torch.manual_seed(0)
    reference = begin(None, init=init)
    for number, kind in enumerate(KINDS):
        torch.manual_seed(number)  # the global generator has no say
        found = begin(kind, init=init)
        assert same_start(found, reference), kind
        assert same_batches(found, reference)
        assert torch.equal(found.images, reference.images)
        assert torch.equal(found.noise, reference.noise)
        assert (found.state["conv1.log_variance"] == SETTINGS["log_variance"]).all()


def test_inits_differ(begin):
    runs = {init: begin("standard-normal", init=init) for init in (None, "vae", "empirical")}
    for first, second in itertools.combinations(runs.values(), 2):
        for name in ("conv1.weight", "conv2.weight"):
            assert not torch.equal(first.state[name], second.state[name])
        # The rest is drawn before the kernels, so that it does not depend on them.
        assert torch.equal(first.state["classifier.weight"], second.state["classifier.weight"])
        assert torch.equal(first.images, second.images)


def test_an_init_is_of_the_kernels_it_was_fitted_to(begin):
    known = {tuple(k.flatten().tolist()) for k in make_prior("empirical", 7).kernels}
    kernels = begin("standard-normal", init="empirical").state["conv1.weight"].flatten(0, 1)
    assert {tuple(k.flatten().tolist()) for k in kernels} <= known


def test_seed_and_split(begin):
    reference = begin("vae")
    seed, split = begin("vae", seed=1), begin("vae", split=1)
    for other in (seed, split):
        assert not torch.equal(other.state["conv1.weight"], reference.state["conv1.weight"])
        assert not torch.equal(other.noise, reference.noise)
        assert not same_batches(other, reference)
    # A seed sees the same images, a split others.
    assert torch.equal(seed.images, reference.images)
    assert not torch.equal(split.images, reference.images)


def test_more_images_hold_the_fewer(begin):
    few, more = begin("vae", n=6), begin("vae", n=12)
    assert torch.equal(more.images[:6], few.images)
    assert same_start(more, few)


def test_images_are_those_of_the_split_in_unit_range(begin, stripes):
    chosen, _ = few_shot_subset(stripes.train_targets, 12, 0, SETTINGS["validation"])
    found = begin("standard-normal").images
    assert torch.equal(found, stripes.train_images[chosen] / 255)
    assert 0.5 < found.max() <= 1


# Training


@pytest.fixture(scope="module")
def runs(stripes):
    """A short run of every kind of prior, and of none."""
    return {kind: train(stripes, kind) for kind in (None, *KINDS)}


@pytest.mark.parametrize("kind", [None, *KINDS])
def test_training_again_gives_the_same(stripes, runs, kind):
    torch.manual_seed(1)
    net, records = train(stripes, kind)
    assert records == runs[kind][1]
    assert same_state(net, runs[kind][0])


def test_priors_make_different_nets(runs):
    for first, second in itertools.combinations(runs.values(), 2):
        assert not torch.equal(first[0].conv1.weight, second[0].conv1.weight)


@pytest.mark.parametrize("kind", [None, *KINDS])
def test_records(runs, kind):
    records = runs[kind][1]
    trained = [r for r in records if "train_nll" in r]
    evaluated = [r for r in records if "validation_nll" in r]
    assert [r["step"] for r in trained] == [r["step"] for r in evaluated] == [6, 12]
    for record in evaluated:
        assert set(record) == {"step", "validation_accuracy", "validation_nll"}
        # Of 12 images.
        assert record["validation_accuracy"] * 12 == pytest.approx(
            round(record["validation_accuracy"] * 12), abs=1e-5
        )
        assert 0 < record["validation_nll"] < 10
    terms = set() if kind is None else {"loss", "kl_conv1", "kl_conv2"}
    for record in trained:
        assert set(record) == {"step", "train_nll"} | terms
        assert 0 < record["train_nll"] < 10
        if terms:
            # In nats of the whole training set, but for train_nll, which is of one example.
            total = 12 * record["train_nll"] + record["kl_conv1"] + record["kl_conv2"]
            assert record["loss"] == pytest.approx(total, rel=1e-5)


def test_recorded_kl_is_that_of_the_whole_layer(stripes, monkeypatch):
    # Without a step the weights are the initial ones, whose KL is known.
    seen = {}

    def optimise(net, objective, **settings):
        seen.update(objective(torch.arange(5)[None])[1])
        return [[]]

    monkeypatch.setattr(classification, "optimise", optimise)
    net, _ = train(stripes, "standard-normal")
    for name, value in kl(net, reduction="layer").items():
        assert seen[f"kl_{name}"].item() == pytest.approx(value.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("settings", "estimation"),
    [
        ({"kl_temperature": 0.1}, {}),
        ({"kl_estimator": "monte-carlo"}, {"estimator": "monte-carlo"}),
        ({"kl_bound": "importance-weighted", "latent_samples": 4},) * 2,
        ({"latent_samples": 4},) * 2,
    ],
)
@pytest.mark.parametrize("kind", ["vae", "standard-normal"])
def test_the_kl_of_a_step_is_as_the_settings_say(stripes, monkeypatch, kind, settings, estimation):
    seen = {}

    def optimise(net, objective, *, noise, **_):
        with prediction(net, sampling=False):  # so that the KL draws first
            seen["loss"], scalars = objective(torch.arange(5)[None])
        seen.update(scalars)
        return [[]]

    monkeypatch.setattr(classification, "optimise", optimise)
    net, _ = train(stripes, kind, settings=settings)
    estimation = {name.removeprefix("kl_"): value for name, value in estimation.items()}
    place = PLACE["split"], PLACE["seed"]
    expected = kl(
        net,
        generator("classification", "noise", *place),
        reduction="layer",
        estimation=Estimation(**estimation),
    )
    for name, value in expected.items():  # of temperature 1
        assert seen[f"kl_{name}"].item() == pytest.approx(value.item(), rel=1e-6)
    total = 12 * seen["train_nll"] + settings.get("kl_temperature", 1.0) * sum(expected.values())
    assert seen["loss"].item() == pytest.approx(total.item(), rel=1e-5)


def test_a_low_temperature_leaves_more_to_the_data(stripes, runs):
    cold, _ = train(stripes, "standard-normal", settings={"kl_temperature": 1e-3})
    warm = runs["standard-normal"][0]
    with torch.no_grad():
        assert kl(cold) > kl(warm)


def test_validation_is_of_the_held_out_images(stripes, runs):
    _, held_out = few_shot_subset(stripes.train_targets, 12, 0, SETTINGS["validation"])
    images, truth = to_unit(stripes.train_images[held_out]), stripes.train_targets[held_out]
    # A deterministic net draws nothing: its last record is that of the net that is returned.
    net, records = runs[None]
    probabilities = predict(net, images, samples=0)[0]
    last = [r for r in records if "validation_nll" in r][-1]
    assert last["validation_accuracy"] == (probabilities.argmax(1) == truth).float().mean().item()
    assert last["validation_nll"] == pytest.approx(
        F.nll_loss(probabilities.log(), truth).item(), rel=1e-5
    )


@pytest.mark.parametrize("kind", [None, "log-uniform", "gaussian-diagonal"])
def test_nets_learn(stripes, kind):
    settings = {"filters": [4, 6], "epochs": 60, "evaluate_every": 60, "log_variance": -10.0}
    net, records = train(stripes, kind, settings=settings, init="gaussian-full", n=15)
    images = to_unit(stripes.test_images)
    right = predict(net, images, samples=0)[0].argmax(1) == stripes.test_targets
    assert right.float().mean() > 0.8  # of three classes, from five images each
    assert records[-1]["validation_accuracy"] > 0.7


@pytest.mark.parametrize("layer", SIZES)
def test_one_layer_may_be_bayesian(stripes, layer):
    net, records = train(stripes, "gaussian-diagonal", layers=[layer])
    assert set(bayesian_layers(net)) == {layer}
    terms = {key for record in records for key in record if key.startswith("kl")}
    assert terms == {f"kl_{layer}"}
    other = train(stripes, "gaussian-diagonal")[0]
    assert not torch.equal(net.conv1.weight, other.conv1.weight)


def test_posterior_goes_with_the_prior(runs):
    for kind in KINDS:
        expected = "multiplicative" if kind == "log-uniform" else "additive"
        for layer in bayesian_layers(runs[kind][0]).values():
            assert layer.posterior_kind == expected
    # Its alpha has been trained, and stays below 1.
    layer = runs["log-uniform"][0].conv2
    assert not (layer.log_variance == SETTINGS["log_variance"]).all()
    assert (layer.posterior.log_alpha < 0).all()


def test_layers_may_have_different_priors(stripes):
    priors = make_priors("log-uniform", ["conv1"]) | make_priors("vae", ["conv2"])
    ((net, _),) = train_classifiers(stripes, SETTINGS, [(0, 0)], n=12, priors=priors, init=None)
    kinds = {name: layer.posterior_kind for name, layer in bayesian_layers(net).items()}
    assert kinds == {"conv1": "multiplicative", "conv2": "additive"}


def test_priors_stay_as_they_are(stripes):
    priors = make_priors("vae")
    train_classifiers(stripes, SETTINGS, [(0, 0)], n=12, priors=priors, init=priors)
    for name, prior in make_priors("vae").items():
        assert same_state(priors[name], prior)
        assert all(parameter.grad is None for parameter in priors[name].parameters())


def test_fewer_kernels_per_step_make_another_run(stripes, runs):
    # Gaussian KLs draw nothing, so that only the choice of kernels is new.
    net, _ = train(stripes, "gaussian-diagonal", settings={"kernels_per_step": 1})
    assert not same_state(net, runs["gaussian-diagonal"][0])
    # No layer has more than 6 kernels.
    same, _ = train(stripes, "gaussian-diagonal", settings={"kernels_per_step": 6})
    assert same_state(same, runs["gaussian-diagonal"][0])


def test_kl_of_fewer_kernels_is_unbiased(runs):
    # One kernel at a time, each by the number of kernels: their mean is the layer's KL.
    net = runs["gaussian-diagonal"][0]
    with torch.no_grad():
        whole = kl(net, reduction="layer")
        draws = [kl(net, generator(i), reduction="layer", kernels_per_step=1) for i in range(100)]
    for name, kernels in (("conv1", 2), ("conv2", 6)):
        values = sorted({round(draw[name].item(), 3) for draw in draws})
        assert len(values) == kernels
        assert sum(values) / kernels == pytest.approx(whole[name].item(), rel=1e-4)


def test_looks_at_the_validation_images_change_nothing(stripes, runs):
    # A Bayesian net draws samples for them, but not from the noise of the training.
    net, records = train(stripes, "vae", settings={"evaluate_every": 1})
    assert same_state(net, runs["vae"][0])
    looks = [r["validation_nll"] for r in records if "validation_nll" in r]
    assert len(looks) == 4
    assert looks[1::2] == [r["validation_nll"] for r in runs["vae"][1] if "validation_nll" in r]


def test_l2_is_of_deterministic_nets(stripes, runs):
    free, _ = train(stripes, None, settings={"l2": 0.0})
    strong, _ = train(stripes, None, settings={"l2": 1.0})
    assert not same_state(free, runs[None][0])
    assert l2_penalty(strong) < l2_penalty(runs[None][0]) < l2_penalty(free)
    # A net under priors has them instead.
    bayesian, _ = train(stripes, "standard-normal", settings={"l2": 1.0})
    assert same_state(bayesian, runs["standard-normal"][0])


# What is reported


def report(data, net, *, samples, seed=0, draws=None, **options):
    chosen, _ = few_shot_subset(data.train_targets, 12, 0, SETTINGS["validation"])
    return evaluate_classifier(
        net,
        train=(to_unit(data.train_images[chosen]), data.train_targets[chosen]),
        test=(to_unit(data.test_images), data.test_targets),
        out_of_domain=torch.rand((20, 1, 28, 28), generator=generator("strange")),
        samples=samples,
        generator=draws or generator("report", seed),
        **options,
    )


OF_PREDICTIONS = {
    f"{which}_{metric}"
    for which in ("ensemble", "sample", "mean")
    for metric in ("accuracy", "nll", "ece", "brier")
}
OF_EVERY_NET = OF_PREDICTIONS | {"train_nll", "ensemble_ood_auroc"}


@pytest.mark.parametrize("kind", KINDS)
def test_report_of_a_bayesian_net(stripes, runs, kind):
    found = report(stripes, runs[kind][0], samples=3)
    assert set(found) == OF_EVERY_NET | {"kl_conv1", "kl_conv2", "kl", "elbo"}
    assert all(type(value) is float for value in found.values())
    assert found["kl"] == pytest.approx(found["kl_conv1"] + found["kl_conv2"])
    assert found["elbo"] == pytest.approx(-found["train_nll"] * 12 - found["kl"])
    assert found == report(stripes, runs[kind][0], samples=3)
    assert found != report(stripes, runs[kind][0], samples=3, seed=1)


@pytest.mark.parametrize("kind", ["standard-normal", "gaussian-full", "log-uniform"])
def test_reported_kl_is_that_of_the_layers(stripes, runs, kind):
    net = runs[kind][0]
    found = report(stripes, net, samples=2)
    for name, value in kl(net, reduction="layer").items():
        assert found[f"kl_{name}"] == pytest.approx(value.item(), rel=1e-5)


def test_reported_kl_is_exact_where_it_can_be_and_else_of_the_bound_that_was_trained(stripes, runs):
    choice = Estimation("monte-carlo", "importance-weighted", 20)
    exact, tight = (
        report(stripes, runs[kind][0], samples=1, estimation=choice)["kl"]
        for kind in ("standard-normal", "vae")
    )
    assert exact == report(stripes, runs["standard-normal"][0], samples=1)["kl"]
    assert tight < report(stripes, runs["vae"][0], samples=1)["kl"]


def test_estimated_kl_is_a_mean_of_draws(stripes, runs):
    net = runs["vae"][0]
    with torch.no_grad():
        draws = [kl(net, generator(i), reduction="layer")["conv2"].item() for i in range(200)]
        mean, deviation = torch.tensor(draws).mean().item(), torch.tensor(draws).std().item()
    found = [report(stripes, net, samples=1, seed=seed)["kl_conv2"] for seed in range(8)]
    spread = torch.tensor(found).std().item()
    assert spread < 0.6 * deviation  # a third is expected of 10 draws
    assert sum(found) / 8 == pytest.approx(mean, abs=4 * deviation / math.sqrt(80))


def test_report_of_a_deterministic_net(stripes, runs):
    net = runs[None][0]
    found = report(stripes, net, samples=0)
    assert set(found) == OF_EVERY_NET
    # One prediction, in all three places.
    for metric in ("accuracy", "nll", "ece", "brier"):
        assert found[f"ensemble_{metric}"] == found[f"sample_{metric}"] == found[f"mean_{metric}"]
    probabilities = net(to_unit(stripes.test_images)).softmax(1)
    right = probabilities.argmax(1) == stripes.test_targets
    assert found["mean_accuracy"] == right.double().mean().item()
    # Nothing is drawn.
    assert found == report(stripes, net, samples=0, seed=1)


def test_ensemble_sample_and_mean_are_what_they_are_called(stripes, runs):
    kind, images = "gaussian-diagonal", to_unit(stripes.test_images)
    net = runs[kind][0]
    found = report(stripes, net, samples=20)

    def nll(probabilities):
        return F.nll_loss(probabilities.log(), stripes.test_targets).item()

    assert found["mean_nll"] == pytest.approx(nll(predict(net, images, samples=0)[0]), rel=1e-5)
    draws = predict(net, images, samples=200, generator=generator("draws"))
    samples = torch.tensor([nll(draw) for draw in draws])
    # The ensemble of 20 is near that of 200, and better than one sample on average (Jensen).
    assert found["ensemble_nll"] == pytest.approx(
        nll(draws.mean(0)), abs=4 * samples.std().item() / math.sqrt(20)
    )
    assert found["ensemble_nll"] != found["sample_nll"]
    assert abs(found["sample_nll"] - samples.mean()) < 4 * samples.std()
    assert nll(draws.mean(0)) < samples.mean()


def test_train_nll_is_the_mean_over_samples(stripes, runs):
    # Not that of the ensemble, which would flatter the bound.
    net = runs["gaussian-diagonal"][0]
    chosen, _ = few_shot_subset(stripes.train_targets, 12, 0, SETTINGS["validation"])
    images, targets = to_unit(stripes.train_images[chosen]), stripes.train_targets[chosen]
    found = report(stripes, net, samples=7)["train_nll"]
    draws = predict(net, images, samples=7, generator=generator("report", 0))
    each = [F.nll_loss(draw.log(), targets).item() for draw in draws]
    assert found == pytest.approx(sum(each) / 7, rel=1e-5)
    ensemble = F.nll_loss(draws.mean(0).log(), targets).item()
    assert found > ensemble + 1e-4


# Ensembles


ENSEMBLE = {"members": 3, "filters": [4, 6], "epochs": 20, "evaluate_every": 10}
ALONE = ENSEMBLE | {"members": 1}


@pytest.fixture(scope="module")
def ensemble(stripes):
    return train(stripes, None, settings=ENSEMBLE, init="gaussian-full")


def members_of(net, count=3, priors=None):
    """The nets of an ensemble by themselves."""
    parts = []
    for state in unstack(net, count):
        parts.append(build_member(SETTINGS | ALONE | {"network": "mnist"}, 3, priors))
        parts[-1].load_state_dict(state)
    return parts


def test_the_first_member_is_the_net_alone_and_the_others_are_others(stripes, ensemble):
    alone, history = train(stripes, None, settings=ALONE, init="gaussian-full")
    first, second, third = members_of(ensemble[0])
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(first.state_dict()[name], value, rtol=1e-3, atol=1e-4)
    losses = [
        [r["train_nll"] for r in records if "train_nll" in r] for records in (ensemble[1], history)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    for other in (second, third):
        assert (other.conv2.weight - first.conv2.weight).abs().max() > 0.1
    assert (third.conv2.weight - second.conv2.weight).abs().max() > 0.1


def test_ensembles_together_are_ensembles_alone(stripes, ensemble):
    init = make_priors("gaussian-full")
    runs = train_classifiers(
        stripes, SETTINGS | ENSEMBLE, [(1, 0), (0, 0)], n=12, priors=None, init=init
    )
    assert len(runs) == 2
    net, records = runs[1]
    for name, value in ensemble[0].state_dict().items():
        torch.testing.assert_close(net.state_dict()[name], value, rtol=1e-3, atol=1e-4)
    for found, expected in zip(records, ensemble[1], strict=True):
        assert found == pytest.approx(expected, rel=1e-3)


def test_validation_of_an_ensemble_is_of_the_mean_of_its_probabilities(stripes, ensemble):
    net, records = ensemble
    _, held_out = few_shot_subset(stripes.train_targets, 12, 0, SETTINGS["validation"])
    images, truth = to_unit(stripes.train_images[held_out]), stripes.train_targets[held_out]
    mean = sum(predict(member, images, samples=0)[0] for member in members_of(net)) / 3
    assert records[-1]["validation_nll"] == pytest.approx(
        F.nll_loss(mean.log(), truth).item(), rel=1e-4
    )


def test_report_of_an_ensemble(stripes, ensemble):
    net = build_classifier(SETTINGS | ENSEMBLE, 3, None)
    net.load_state_dict(ensemble[0].state_dict())
    found = report(stripes, net, samples=0, members=3)
    assert set(found) == OF_EVERY_NET
    assert found == report(stripes, net, samples=0, members=3, seed=1)
    images = to_unit(stripes.test_images)
    drawn = torch.stack([predict(part, images, samples=0)[0] for part in members_of(net)])

    def nll(probabilities):
        return F.nll_loss(probabilities.log(), stripes.test_targets).item()

    each = [nll(probabilities) for probabilities in drawn]
    assert found["sample_nll"] == found["mean_nll"] == pytest.approx(each[0], rel=1e-4)
    assert found["ensemble_nll"] == pytest.approx(nll(drawn.mean(0)), rel=1e-4)
    assert found["ensemble_nll"] < sum(each) / 3  # Jensen


def test_report_of_an_ensemble_of_bayesian_nets(stripes):
    priors = make_priors("gaussian-full")
    settings = ENSEMBLE | {"epochs": 4}
    net, _ = train(stripes, "gaussian-full", settings=settings, init="gaussian-full")

    def draws():
        return [generator("member", member) for member in range(3)]

    found = report(stripes, net, samples=4, members=3, draws=draws())
    parts = members_of(net, priors=priors)
    alone = [
        report(stripes, part, samples=4, draws=draw)
        for part, draw in zip(parts, draws(), strict=True)
    ]
    for name in ("train_nll", "kl_conv1", "kl", "elbo"):
        mean = sum(metrics[name] for metrics in alone) / 3
        assert found[name] == pytest.approx(mean, rel=1e-3)
    assert len({round(metrics["kl"], 2) for metrics in alone}) == 3  # other weights
    for name in ("sample_nll", "mean_nll"):
        assert found[name] == pytest.approx(alone[0][name], rel=1e-3)
    assert found["ensemble_nll"] < sum(metrics["ensemble_nll"] for metrics in alone) / 3  # Jensen


# Dropout


def test_dropout_keeps_the_mean_and_drops_its_rate():
    layer, inputs = Dropout(0.3), torch.full((200, 100), 2.0)
    layer.generator = generator("dropout")
    found = layer(inputs)
    assert found.unique().tolist() == pytest.approx([0.0, 2 / 0.7])
    assert found.mean().item() == pytest.approx(2, rel=0.02)
    assert (found == 0).double().mean().item() == pytest.approx(0.3, abs=4 * math.sqrt(0.21 / 2e4))
    assert not torch.equal(layer(inputs), found)
    layer.generator = generator("dropout")
    assert torch.equal(layer(inputs), found)
    assert layer.eval()(inputs) is inputs


@pytest.mark.parametrize("rate", [0, 1, -0.1])
def test_a_rate_out_of_bounds_is_refused(rate):
    with pytest.raises(UserError, match="dropout: expected a rate"):
        Dropout(rate)


@pytest.fixture(scope="module")
def dropped(stripes):
    return train(stripes, None, settings={"dropout": 0.5})


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_may_have_dropout(network):
    shape = network_class(network).image_shape
    filters = [2] * len(network_class(network).kernel_sizes)
    settings = {"network": network, "filters": filters, "dropout": 0.5}
    net = build_member(settings, 3, None)
    net.classifier[0].generator = generator("dropout")
    images = torch.rand((4, *shape), generator=generator("images"))
    with torch.no_grad():
        assert not torch.equal(net(images), net(images))
        net.eval()
        assert torch.equal(net(images), net.classifier[1](net.features(images)))


def test_dropout_changes_the_training_alone(stripes, runs, dropped):
    net, _ = dropped
    assert not torch.equal(net.conv1.weight, runs[None][0].conv1.weight)
    found = report(stripes, net, samples=0)
    assert found == report(stripes, net, samples=0, seed=1)
    torch.manual_seed(1)  # torch's own generator has no say
    again, records = train(stripes, None, settings={"dropout": 0.5})
    assert same_state(again, net)
    assert records == dropped[1]


# A prior as a penalty


def penalised(data, kind, *, settings=None, runs=((0, 0),), **options):
    settings = SETTINGS | {"l2": 0.0} | (settings or {})
    penalty = make_priors(kind)
    return train_classifiers(
        data, settings, runs, n=12, priors=None, init=None, penalty=penalty, **options
    )


def test_a_standard_normal_as_a_penalty_is_weight_decay(stripes, monkeypatch):
    # -log N(w; 0, I) is half the sum of squares, but for a constant
    seen = {}

    def optimise(net, objective, **_):
        seen["net"] = net
        seen["loss"], seen["terms"] = objective(torch.arange(12)[None])
        seen["loss"].sum().backward()
        return [[]]

    monkeypatch.setattr(classification, "optimise", optimise)
    penalised(stripes, "standard-normal")
    weights = [seen["net"].conv1.weight, seen["net"].conv2.weight]
    numbers = sum(weight.numel() for weight in weights)
    squares = sum(weight.detach().square().sum() for weight in weights)
    expected = 0.5 * (squares + numbers * math.log(2 * math.pi)).item()
    assert seen["terms"]["penalty"].item() == pytest.approx(expected, rel=1e-5)
    total = seen["terms"]["train_nll"].item() + expected / 12
    assert seen["loss"].item() == pytest.approx(total, rel=1e-5)
    with_penalty = [weight.grad for weight in weights]
    train(stripes, None, settings={"l2": 0.0})
    for name, found, weight in zip(SIZES, with_penalty, weights, strict=True):
        plain = seen["net"].get_submodule(name).weight.grad
        torch.testing.assert_close(found, plain + weight / 12, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["vae", "gaussian-full", "standard-normal"])
def test_a_penalty_makes_kernels_more_likely(stripes, runs, kind):
    settings = {"epochs": 20, "evaluate_every": 10}
    ((net, records),) = penalised(stripes, kind, settings=settings)
    ((free, _),) = penalised(stripes, None, settings=settings)
    priors = make_priors(kind)
    with torch.no_grad():
        found, without = (
            torch.stack([prior_penalty(n, priors, generator(i)) for i in range(20)]).mean()
            for n in (net, free)
        )
    assert found < without
    terms = [record["penalty"] for record in records if "penalty" in record]
    assert len(terms) == 2
    assert terms[1] < terms[0]


@pytest.mark.parametrize("kind", ["vae", "gaussian-full"])
def test_penalised_nets_together_are_penalised_nets_alone(stripes, kind):
    settings, places = {"members": 2}, [(0, 0), (1, 0)]
    together = penalised(stripes, kind, settings=settings, runs=places)
    for place, (net, records) in zip(places, together, strict=True):
        ((alone, history),) = penalised(stripes, kind, settings=settings, runs=[place])
        for name, value in alone.state_dict().items():
            torch.testing.assert_close(net.state_dict()[name], value, rtol=1e-3, atol=1e-4)
        for found, expected in zip(records, history, strict=True):
            assert found == pytest.approx(expected, rel=1e-3)


def test_the_workflows_program_goes_on_from_its_time_limit(stripes, tmp_path, monkeypatch):
    stripes.save(tmp_path / "target.safetensors", {})

    def run(folder, *more):
        place = f"{tmp_path}/{folder}/n{{n}}/split{{split}}/seed{{seed}}"
        runs = json.dumps([PLACE, {**PLACE, "split": 1}])
        line = ["--data", f"{tmp_path}/target.safetensors", "--code", "x", "--folder", place]
        line += ["--settings", json.dumps(SETTINGS), "--runs", runs, *more]
        monkeypatch.setattr(sys, "argv", ["train_classifier.py", *line])
        try:
            runpy.run_path(f"{ROOT}/workflow/scripts/train_classifier.py", run_name="__main__")
        except SystemExit as stop:
            return stop.code
        return 0

    pieces = [run("pieces", "--minutes", "0")]
    while pieces[-1] == OUT_OF_TIME and len(pieces) < 30:
        pieces.append(run("pieces", "--minutes", "0"))
    # one step of the 12 a piece: that which takes the last step of a run begins the next one
    assert pieces == [OUT_OF_TIME] * 22 + [0]
    assert run("whole", "--minutes", "5") == 0
    for split in (0, 1):
        place = f"n{PLACE['n']}/split{split}/seed0"
        for name in ("weights.safetensors", "history.csv"):
            files = [tmp_path / folder / place / name for folder in ("pieces", "whole")]
            assert files[0].read_bytes() == files[1].read_bytes()
        assert not list((tmp_path / "pieces" / place).rglob("*.checkpoint"))


def test_a_tolerated_run_that_diverges_counts_as_failed_and_leaves_the_others(
    stripes, tmp_path, monkeypatch, capsys
):
    stripes.save(tmp_path / "target.safetensors", {})
    options = {"n": 12, "priors": None, "init": None}
    alone = train_classifiers(stripes, SETTINGS, [(1, 0)], **options)
    initialise = classification.initialise

    def overflow(net, **start):
        initialise(net, **start)
        if not started:
            net.get_submodule("conv1").weight.data.fill_(1e38)
        started.append(net)

    started = []
    monkeypatch.setattr(classification, "initialise", overflow)
    with pytest.raises(UserError, match=r"split 0, seed 0: the loss is (nan|inf) at step 1 "):
        train_classifiers(stripes, SETTINGS, [(0, 0), (1, 0)], **options)
    started.clear()
    failed, other = train_classifiers(stripes, SETTINGS, [(0, 0), (1, 0)], **options, tolerant=True)
    message = capsys.readouterr().err
    assert message.count("split 0, seed 0: the loss is") == 1  # told once
    assert "at step 1 " in message
    assert all(parameter.isnan().all() for parameter in failed[0].parameters())
    assert [record["step"] for record in failed[1]] == [record["step"] for record in other[1]]
    for record in failed[1]:
        assert all(math.isnan(value) for name, value in record.items() if name != "step")
    for found, expected in zip(other[1], alone[0][1], strict=True):
        assert found == pytest.approx(expected, rel=1e-4)

    # in the workflow's programs: the job goes on, and the tables get no number of the run
    started.clear()
    runs = [PLACE, {**PLACE, "split": 1}]
    place = f"{tmp_path}/n{{n}}/split{{split}}/seed{{seed}}"
    line = ["--data", f"{tmp_path}/target.safetensors", "--folder", place]
    line += ["--runs", json.dumps(runs)]
    training = ["--code", "x", "--settings", json.dumps(SETTINGS), "--tolerant"]
    settings = json.dumps({"samples": 0, "precision": "float32"})
    testing = ["--settings", settings, "--out-of-domain", f"{tmp_path}/target.safetensors"]
    for name, more in (("train_classifier", training), ("evaluate_classifier", testing)):
        monkeypatch.setattr(sys, "argv", [name, *line, *more])
        runpy.run_path(f"{ROOT}/workflow/scripts/{name}.py", run_name="__main__")
    found = [read_json(Path(place.format(**run)) / "metrics.json") for run in runs]
    assert list(found[0]) == list(found[1])
    assert set(found[0].values()) == {None}
    assert None not in found[1].values()


def test_reported_numbers_by_hand(monkeypatch):
    # what the net says of images stands in their place: (samples, n, classes)
    monkeypatch.setattr("dwp.evaluation.classifier.predict", lambda net, images, **_: images)
    targets = torch.tensor([0, 0])
    first = torch.tensor([[[0.9, 0.1], [0.8, 0.2]]])
    test = torch.cat([first, torch.tensor([[[0.7, 0.3], [0.4, 0.6]]])])  # mean 0.8 and 0.6
    strange = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.1, 0.9], [0.6, 0.4]]])  # 0.55 and 0.3
    found = evaluate_classifier(
        torch.nn.Identity(),
        train=(test, targets),
        test=(test, targets),
        out_of_domain=strange,
        samples=2,
        generator=generator("none"),
    )
    # of the four pairs, the strange image is the more uncertain in three
    assert found["ensemble_ood_auroc"] == pytest.approx(0.75)
    assert found["ensemble_nll"] == pytest.approx(-(math.log(0.8) + math.log(0.6)) / 2)
    assert found["sample_nll"] == pytest.approx(-(math.log(0.9) + math.log(0.8)) / 2)
    each = [math.log(p) for p in (0.9, 0.8, 0.7, 0.4)]
    assert found["train_nll"] == pytest.approx(-sum(each) / 4)


def test_validation_of_a_bayesian_net_is_of_the_mean_over_its_samples(stripes):
    settings = {"samples": 5, "evaluate_every": 4, "log_variance": -2.0}
    net, records = train(stripes, "gaussian-diagonal", settings=settings)
    _, held_out = few_shot_subset(stripes.train_targets, 12, 0, SETTINGS["validation"])
    images, truth = to_unit(stripes.train_images[held_out]), stripes.train_targets[held_out]
    draws = [generator("classification", "validation", 0, 0, 12)]
    mean = predict(net, images, samples=5, generator=draws).mean(0)
    assert records[-1]["validation_nll"] == pytest.approx(
        F.nll_loss(mean.log(), truth).item(), rel=1e-5
    )
    assert classification._FLOOR == PROBABILITY_FLOOR


@pytest.mark.parametrize("widths", [{"shift": 1.5}, {"warp": 0.1}])
def test_training_sees_distorted_images(begin, widths):
    plain, found = begin(None), begin(None, settings=widths)
    noise = generator("classification", "noise", 0, 0)
    expected = distort(plain.images, noise, **{"shift": 0.0, "warp": 0.0, **widths})
    torch.testing.assert_close(found.images, expected)
    assert not torch.allclose(found.images, plain.images, atol=0.01)
    assert same_start(found, plain)


def test_l2_is_a_factor_of_the_sum_of_squares(stripes, monkeypatch):
    seen = {}

    def optimise(net, objective, **_):
        loss, terms = objective(torch.arange(12)[None])
        seen.update(penalty=loss - terms["train_nll"], squares=l2_penalty(net))
        return [[]]

    monkeypatch.setattr(classification, "optimise", optimise)
    train(stripes, None, settings={"l2": 0.3})
    torch.testing.assert_close(seen["penalty"], 0.3 * seen["squares"])
