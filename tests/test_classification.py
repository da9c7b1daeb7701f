"""Training under a prior: its objective, what runs share, and what is reported."""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from helpers import (
    CLASSIFICATION as SETTINGS,
    ROOT,
    assert_alike,
    make_prior,
    same_state,
    striped_images,
)
from torch.nn import functional as F

import dwp
from dwp.data.distort import distort
from dwp.data.subsets import few_shot_subset
from dwp.data.tensors import to_unit
from dwp.errors import UserError
from dwp.evaluation.classifier import evaluate_classifier, evaluate_run
from dwp.evaluation.metrics import PROBABILITY_FLOOR
from dwp.nn.bayesian import bayesian_layers, kl, prediction
from dwp.nn.dropout import Dropout
from dwp.nn.predict import predict
from dwp.nn.stack import unstack
from dwp.priors import Estimation
from dwp.seeds import generator
from dwp.study.settings import RunSettings
from dwp.training import classification, loop
from dwp.training.classification import build_classifier, prior_penalty, train_classifiers
from dwp.training.source import l2_penalty

SIZES = {"conv1": 7, "conv2": 5}
KINDS = ["vae", "log-uniform", "standard-normal", "gaussian-diagonal", "gaussian-full"]
N = 12  # 3 steps an epoch, the last of 2 images
OWN = ROOT / "tests" / "own_nets.py"


@pytest.fixture(scope="module")
def stripes():
    return striped_images()


def make_priors(kind, layers=("conv1", "conv2")):
    """The priors of named layers; None, as of a deterministic net, for no kind."""
    return None if kind is None else {name: make_prior(kind, SIZES[name]) for name in layers}


def train_all(data, kind, runs, *, init=None, n=N, penalty=None, tolerant=False, **settings):
    return train_classifiers(
        data,
        SETTINGS | settings,
        runs,
        n=n,
        priors=make_priors(kind),
        init=make_priors(init),
        penalty=make_priors(penalty),
        tolerant=tolerant,
    )


def train(data, kind, *, split=0, seed=0, **options):
    return train_all(data, kind, [(split, seed)], **options)[0]


SEEN = ..., slice(26), slice(26)  # the last rows and columns reach no output of the MNIST net


def examples(data, validation=False):
    """The images and targets of the training or of the validation part of split 0."""
    parts = few_shot_subset(data.train_targets, N, 0, SETTINGS["validation"])
    return to_unit(data.train_images[parts[validation]]), data.train_targets[parts[validation]]


# The objective


def test_objective_by_hand():
    logits = torch.tensor([[0.0, 0.0], [math.log(3.0), 0.0]])
    targets, kl = torch.tensor([0, 1]), torch.tensor(5.25)
    # 10 examples, of which two are here: -log 1/2 and -log 1/4.
    data = 10 / 2 * (math.log(2) + math.log(4))
    loss = dwp.negative_elbo(logits, targets, kl, 10)
    assert loss.item() == pytest.approx(data + 5.25, rel=1e-6)
    cold = dwp.negative_elbo(logits, targets, kl, n=10, temperature=0.2)
    assert cold.item() == pytest.approx(data + 0.2 * 5.25, rel=1e-6)
    runs = dwp.negative_elbo(logits.expand(3, 2, 2), targets.expand(3, 2), kl.expand(3), 10)
    assert torch.allclose(runs, loss.expand(3))
    # one logit z stands for the logits 0 and z
    one = dwp.negative_elbo(-logits[:, :1], targets, 0.0, 2)
    assert one.item() == pytest.approx(math.log(2) + math.log(4), rel=1e-6)


@pytest.mark.parametrize(
    ("targets", "n", "line"),
    [
        ([0, 1], 0, "n: expected a whole number of at least 1, found 0"),
        ([0, 1], 10.0, "n: expected a whole number .* found 10.0"),
        ([0], 10, r"targets: expected logits \(batch, classes\) .*, found \(2, 2\) and"),
        ([[0.5, 0.5], [0, 1]], 10, "targets: expected logits"),
    ],
)
def test_what_is_no_objective_is_refused(targets, n, line):
    with pytest.raises(UserError, match=line):
        dwp.negative_elbo(torch.zeros(2, 2), torch.tensor(targets), 0.0, n)


# What runs share


@pytest.fixture
def begin(monkeypatch, stripes):
    """Set up a run and stop before its first step; return what it would have started with."""

    def call(kind, **options):
        start = SimpleNamespace()

        def optimise(net, objective, *, n, noise, seeds, batch_size, steps, **_):
            start.net, start.state = net, {k: v.clone() for k, v in net.state_dict().items()}
            start.noise = noise[0].get_state()
            start.batches = list(loop.batches(n, batch_size, steps, *seeds[0]))
            net.register_forward_pre_hook(lambda _, inputs: vars(start).update(images=inputs[0]))
            with prediction(net, sampling=False):  # mean weights: the KL draws first
                start.loss, start.terms = objective(torch.arange(n)[None])
            return [[{"step": n}]]

        with monkeypatch.context() as patch:
            patch.setattr(classification, "optimise", optimise)
            train(stripes, kind, **options)
        return start

    return call


def same_start(first, second):
    """Whether the weights, but for the posteriors' variances, are the same."""
    names = {k for k in (*first.state, *second.state) if not k.endswith("log_variance")}
    return all(torch.equal(first.state[k], second.state[k]) for k in names)


def same_batches(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.batches, second.batches, strict=True))


@pytest.mark.parametrize("init", [None, "vae"])
def test_runs_differ_in_nothing_but_the_prior(begin, init):
    reference = begin(None, init=init)
    for kind in KINDS:
        found = begin(kind, init=init, log_variance=[-5.0, -7.5])
        assert same_start(found, reference), kind
        assert same_batches(found, reference)
        assert torch.equal(found.images, reference.images)
        assert torch.equal(found.noise, reference.noise)
        assert (found.state["conv1.log_variance"] == -5).all()  # that of the layer
        assert (found.state["conv2.log_variance"] == -7.5).all()


def test_the_log_variance_has_a_rate_of_its_own(stripes):
    settings = {"epochs": 3, "evaluate_every": 3, "kernels_per_step": 1}
    moved = []
    for rate in (1.0, 10.0):
        net, _ = train(stripes, "standard-normal", log_variance_rate=rate, **settings)
        moved.append((net.conv1.log_variance - SETTINGS["log_variance"]).abs().mean().item())
    assert moved[1] == pytest.approx(10 * moved[0], rel=0.2)  # Adam moves by the step size


def test_inits_differ_in_their_kernels(begin):
    runs = {init: begin("standard-normal", init=init) for init in (None, "vae", "empirical")}
    for first, second in itertools.combinations(runs.values(), 2):
        assert not torch.equal(first.state["conv1.weight"], second.state["conv1.weight"])
        # The rest is drawn before the kernels, so that it does not depend on them.
        assert torch.equal(first.state["classifier.weight"], second.state["classifier.weight"])
    known = make_prior("empirical", 7).kernels.flatten(1)
    kernels = runs["empirical"].state["conv1.weight"].flatten(0, 1).flatten(1)
    assert (kernels[:, None] == known).all(2).any(1).all()  # each is one of those


def test_seed_split_and_size(begin, stripes):
    reference = begin("vae")
    assert torch.equal(reference.images, examples(stripes)[0][SEEN])
    seed, split, fewer = begin("vae", seed=1), begin("vae", split=1), begin("vae", n=6)
    for other in (seed, split):
        assert not torch.equal(other.state["conv1.weight"], reference.state["conv1.weight"])
        assert not torch.equal(other.noise, reference.noise)
        assert not same_batches(other, reference)
    # A seed sees the same images, a split others, a larger subset those of the smaller.
    assert torch.equal(seed.images, reference.images)
    assert not torch.equal(split.images, reference.images)
    assert torch.equal(fewer.images, reference.images[:6])
    assert same_start(fewer, reference)
    with pytest.raises(UserError, match="only 26 are available"):
        train(stripes, None, n=79)


def test_training_sees_distorted_images(begin, stripes):
    images, found = examples(stripes)[0], begin(None, shift=1.5, warp=0.1).images
    noise = generator("classification", "noise", 0, 0)
    torch.testing.assert_close(found, distort(images, noise, shift=1.5, warp=0.1)[SEEN])
    assert not torch.allclose(found, images[SEEN], atol=0.01)


@pytest.mark.parametrize(
    "settings",
    [
        {"kl_temperature": 0.1},
        {"kl_estimator": "monte-carlo"},
        {"kl_bound": "importance-weighted", "latent_samples": 4},
        {"latent_samples": 4},
    ],
)
@pytest.mark.parametrize("kind", ["vae", "standard-normal"])
def test_the_kl_of_a_step_is_as_the_settings_say(begin, kind, settings):
    found = begin(kind, **settings)
    noise = generator("classification", "noise", 0, 0)
    options = {name.removeprefix("kl_"): value for name, value in settings.items()}
    estimation = Estimation(**{k: v for k, v in options.items() if k != "temperature"})
    expected = kl(found.net, noise, reduction="layer", estimation=estimation)
    for name, value in expected.items():  # of temperature 1
        assert found.terms[f"kl_{name}"].item() == pytest.approx(value.item(), rel=1e-5)
    temperature = settings.get("kl_temperature", 1.0)
    total = N * found.terms["train_nll"] + temperature * sum(expected.values())
    assert found.loss.item() == pytest.approx(total.item(), rel=1e-5)


def test_the_penalties_of_a_plain_net(begin):
    found = begin(None, l2=0.3)
    torch.testing.assert_close(found.loss - found.terms["train_nll"], 0.3 * l2_penalty(found.net))
    # -log N(w; 0, I) is half the sum of squares, but for a constant
    found = begin(None, l2=0.0, penalty="standard-normal")
    weights = [found.net.conv1.weight, found.net.conv2.weight]
    numbers = sum(weight.numel() for weight in weights)
    squares = sum(weight.detach().square().sum() for weight in weights)
    expected = 0.5 * (squares + numbers * math.log(2 * math.pi))
    torch.testing.assert_close(found.terms["penalty"], expected[None])
    torch.testing.assert_close(found.loss, (found.terms["train_nll"] + expected / N))


@pytest.mark.parametrize("kind", [None, "standard-normal"])
def test_the_penalty_of_the_classifier(begin, kind):
    without, found = begin(kind), begin(kind, l2_classifier=0.3)
    expected = 0.3 * l2_penalty(found.net, kind=torch.nn.Linear)
    scale = 1 if kind is None else N  # an ELBO is of the whole training set
    torch.testing.assert_close(found.loss - without.loss, scale * expected, rtol=1e-3, atol=1e-3)


# Training


@pytest.fixture(scope="module")
def runs(stripes):
    """A short run of every kind of prior, and of none."""
    return {kind: train(stripes, kind) for kind in (None, *KINDS)}


@pytest.mark.parametrize("kind", [None, *KINDS])
def test_records(runs, kind):
    _, records = runs[kind]
    assert [record["step"] for record in records] == [6, 12]
    terms = {"train_nll"} if kind is None else {"loss", "train_nll", "kl_conv1", "kl_conv2"}
    for record in records:
        measured = {"validation_accuracy", "validation_nll", "variety_conv1", "variety_conv2"}
        assert set(record) == {"step"} | measured | terms
        right = record["validation_accuracy"] * 12  # images
        assert right == pytest.approx(round(right), abs=1e-5)
        if kind is not None:
            # In nats of the whole training set, but for train_nll, which is of one example.
            total = N * record["train_nll"] + record["kl_conv1"] + record["kl_conv2"]
            assert record["loss"] == pytest.approx(total, rel=1e-5)


def test_priors_stay_as_they_are(stripes):
    priors = make_priors("vae")
    train_classifiers(stripes, SETTINGS, [(0, 0)], n=N, priors=priors, init=priors)
    for name, prior in make_priors("vae").items():
        assert same_state(priors[name], prior)
        assert all(parameter.grad is None for parameter in priors[name].parameters())


@pytest.mark.parametrize(
    ("kind", "settings", "same"),
    [
        ("gaussian-diagonal", {"kernels_per_step": 6}, True),  # no layer has more
        ("gaussian-diagonal", {"kernels_per_step": 1}, False),
        ("standard-normal", {"l2": 1.0}, True),  # of deterministic nets alone
        (None, {"l2": 1.0}, False),
        ("vae", {"evaluate_every": 1}, True),  # draws, but not from the noise of the training
        ("standard-normal", {"bayesian_layers": ["conv1", "conv2"]}, True),  # null means these
        (None, {"dropout": 0.5}, False),
    ],
)
def test_settings_that_change_a_run(stripes, runs, kind, settings, same):
    found, expected = train(stripes, kind, **settings)[0], runs[kind][0]
    assert torch.equal(found.conv1.weight, expected.conv1.weight) is same


def test_layers_may_have_different_priors_or_none(stripes):
    priors = make_priors("log-uniform", ["conv1"]) | make_priors("vae", ["conv2"])
    expected = {"conv1": "multiplicative", "conv2": "additive"}
    for layers in (["conv1", "conv2"], ["conv1"], ["conv2"]):
        settings = SETTINGS | {"bayesian_layers": layers}
        ((net, records),) = train_classifiers(
            stripes, settings, [(0, 0)], n=N, priors=priors, init=None
        )
        kinds = {name: layer.posterior_kind for name, layer in bayesian_layers(net).items()}
        assert kinds == {name: expected[name] for name in layers}
        assert {k for k in records[0] if k.startswith("kl")} == {f"kl_{name}" for name in layers}


@pytest.mark.parametrize(("kind", "samples"), [(None, 0), ("gaussian-diagonal", 5)])
def test_validation_is_of_the_mean_over_the_samples(stripes, kind, samples):
    net, records = train(stripes, kind, samples=samples, log_variance=-2.0)
    images, truth = examples(stripes, validation=True)
    draws = [generator("classification", "validation", 0, 0, 12)]
    mean = predict(net, images[SEEN], samples=samples, generator=draws).mean(0)
    assert records[-1]["validation_nll"] == pytest.approx(
        F.nll_loss(mean.log(), truth).item(), rel=1e-5
    )
    right = (mean.argmax(1) == truth).float().mean().item()
    assert records[-1]["validation_accuracy"] == pytest.approx(right)
    assert classification._FLOOR == PROBABILITY_FLOOR


def test_a_tolerated_run_that_diverges_leaves_the_others(stripes, monkeypatch, capsys):
    alone = train(stripes, None, split=1)
    initialise, started = classification.initialise, []

    def overflow(net, *start):
        initialise(net, *start)
        if not started:
            net.get_submodule("conv1").weight.data.fill_(1e38)
        started.append(net)

    monkeypatch.setattr(classification, "initialise", overflow)
    both = [(0, 0), (1, 0)]
    with pytest.raises(UserError, match=r"split 0, seed 0: the loss is (nan|inf) at step 1 "):
        train_all(stripes, None, both)
    started.clear()
    diverged, other = train_all(stripes, None, both, tolerant=True)
    assert capsys.readouterr().err.count("split 0, seed 0: diverged") == 1
    assert all(parameter.isnan().all() for parameter in diverged[0].parameters())
    for record, other_record in zip(diverged[1], other[1], strict=True):
        assert record.pop("step") == other_record["step"]
        assert all(math.isnan(value) for value in record.values())
    assert_alike([other], [alone])


# What is reported


def report(data, net, *, samples, seed=0, draws=None, **options):
    return evaluate_classifier(
        net,
        train=examples(data),
        test=(to_unit(data.test_images), data.test_targets),
        out_of_domain=torch.rand((20, 1, 28, 28), generator=generator("other")),
        samples=samples,
        generator=draws or generator("report", seed),
        **options,
    )


PREDICTIONS, METRICS = ("ensemble", "sample", "mean"), ("accuracy", "nll", "ece", "brier")
OF_EVERY_NET = {f"{which}_{metric}" for which in PREDICTIONS for metric in METRICS}
OF_EVERY_NET |= {"train_nll", "ensemble_ood_auroc"}


@pytest.mark.parametrize("kind", [None, *KINDS])
def test_report(stripes, runs, kind):
    net, samples = runs[kind][0], 0 if kind is None else 3
    found = report(stripes, net, samples=samples)
    assert all(type(value) is float for value in found.values())
    assert found == report(stripes, net, samples=samples)
    if kind is None:
        assert set(found) == OF_EVERY_NET
        for metric in METRICS:  # of one prediction
            assert len({found[f"{which}_{metric}"] for which in PREDICTIONS}) == 1
        right = net(to_unit(stripes.test_images)).argmax(1) == stripes.test_targets
        assert found["mean_accuracy"] == right.double().mean().item()
        return
    assert set(found) == OF_EVERY_NET | {"kl_conv1", "kl_conv2", "kl", "elbo"}
    assert found["kl"] == pytest.approx(found["kl_conv1"] + found["kl_conv2"])
    assert found["elbo"] == pytest.approx(-found["train_nll"] * N - found["kl"])
    assert found != report(stripes, net, samples=samples, seed=1)
    if kind != "vae":
        for name, value in kl(net, reduction="layer").items():
            assert found[f"kl_{name}"] == pytest.approx(value.item(), rel=1e-5)
        return
    # an estimate: the mean over draws of the bound that was trained
    with torch.no_grad():
        draws = torch.stack([kl(net, generator(i)) for i in range(30)])
    assert found["kl"] == pytest.approx(float(draws.mean()), abs=2 * float(draws.std()))
    tight = Estimation("monte-carlo", "importance-weighted", 20)
    assert report(stripes, net, samples=samples, estimation=tight)["kl"] < found["kl"]


def test_reported_numbers_by_hand(monkeypatch):
    # the net's predictions take the role of images: (samples, n, classes)
    monkeypatch.setattr("dwp.evaluation.classifier.predict", lambda net, images, **_: images[0])
    targets = torch.tensor([0, 0])
    first = torch.tensor([[[0.9, 0.1], [0.8, 0.2]]])
    test = torch.cat([first, torch.tensor([[[0.7, 0.3], [0.4, 0.6]]])])  # mean 0.8 and 0.6
    other = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.1, 0.9], [0.6, 0.4]]])  # 0.55 and 0.3
    found = evaluate_classifier(
        torch.nn.Identity(),
        train=(test[None], targets),
        test=(test[None], targets),
        out_of_domain=other[None],
        samples=2,
        generator=generator("none"),
    )
    # of the four pairs, the out-of-distribution image is the more uncertain in three
    assert found["ensemble_ood_auroc"] == pytest.approx(0.75)
    assert found["ensemble_nll"] == pytest.approx(-(math.log(0.8) + math.log(0.6)) / 2)
    assert found["sample_nll"] == pytest.approx(-(math.log(0.9) + math.log(0.8)) / 2)
    # that of the ensemble would flatter the bound
    each = [math.log(p) for p in (0.9, 0.8, 0.7, 0.4)]
    assert found["train_nll"] == pytest.approx(-sum(each) / 4)


# Ensembles


ENSEMBLE = {"members": 3, "filters": [4, 6], "epochs": 10, "evaluate_every": 5}


def members_of(net, count=3, priors=None, **settings):
    """The nets of an ensemble by themselves."""
    settings = RunSettings(**SETTINGS | ENSEMBLE | {"members": 1} | settings)
    parts = [build_classifier(settings, 3, priors) for _ in range(count)]
    for part, state in zip(parts, unstack(net, count), strict=True):
        part.load_state_dict(state)
    return parts


def test_the_first_member_is_the_net_alone_and_the_others_are_others(stripes):
    ensemble = train(stripes, None, init="gaussian-full", **ENSEMBLE)
    first, second, third = members_of(ensemble[0])
    alone = train(stripes, None, init="gaussian-full", **ENSEMBLE | {"members": 1})
    assert_alike([(first, [])], [(alone[0], [])])
    for one, other in itertools.combinations((first, second, third), 2):
        assert (one.conv2.weight - other.conv2.weight).abs().max() > 0.1
    for found, expected in zip(ensemble[1], alone[1], strict=True):
        assert found["train_nll"] == pytest.approx(expected["train_nll"], rel=1e-3)
    images, truth = examples(stripes, validation=True)
    mean = sum(predict(member, images, samples=0)[0] for member in (first, second, third)) / 3
    assert ensemble[1][-1]["validation_nll"] == pytest.approx(
        F.nll_loss(mean.log(), truth).item(), rel=1e-4
    )


@pytest.mark.parametrize(
    "options",
    [
        {"members": 3, "init": "gaussian-full"},
        {"members": 2, "penalty": "vae"},
        {"shift": 1.5, "warp": 0.1},
        {"network": f"{OWN}:WithDropout", "members": 2},  # draws from a global generator
        {"network": f"{OWN}:WithResponseNorm"},  # mixes channels
    ],
)
def test_runs_together_are_runs_alone(stripes, options):
    both = [(1, 0), (0, 0)]
    alone = [train_all(stripes, None, [run], **options)[0] for run in both]
    assert_alike(train_all(stripes, None, both, **options), alone)


@pytest.mark.parametrize("name", ["WithDropout", "WithResponseNorm"])
@pytest.mark.parametrize("kind", [None, "standard-normal"])
def test_the_first_member_is_the_net_alone_of_a_network_of_ones_own(stripes, name, kind):
    network = {"network": f"{OWN}:{name}", "filters": [4, 6]}
    alone, net = (train(stripes, kind, members=n, **network)[0] for n in (1, 2))
    first, second = members_of(net, 2, make_priors(kind), **network)
    assert_alike([(first, [])], [(alone, [])])
    assert not torch.equal(first.conv1.weight, second.conv1.weight)


def test_a_network_of_ones_own_draws_the_same_weights_again(stripes):
    first = train(stripes, None, network=f"{OWN}:Drawn")
    torch.manual_seed(1)
    again = train(stripes, None, network=f"{OWN}:Drawn")
    assert same_state(again[0], first[0])
    assert again[1] == first[1]


def test_a_network_that_draws_when_it_is_tested_is_reported_alike_twice(stripes):
    network = {"network": f"{OWN}:AlwaysRandom", "members": 2}
    net, _ = train(stripes, None, **network)
    settings = {"settings": SETTINGS | network, "n": N, "priors": None}
    found = [evaluate_run(net.state_dict(), (0, 0), stripes, stripes, **settings) for _ in "12"]
    assert found[0] == found[1]


@pytest.mark.parametrize(("kind", "samples"), [(None, 0), ("gaussian-full", 4)])
def test_report_of_an_ensemble(stripes, kind, samples):
    net, _ = train(stripes, kind, init="gaussian-full", **ENSEMBLE | {"epochs": 4})

    def draws():
        return [generator("member", member) for member in range(3)]

    found = report(stripes, net, samples=samples, members=3, draws=draws())
    parts = members_of(net, priors=make_priors(kind))
    alone = [
        report(stripes, part, samples=samples, draws=draw)
        for part, draw in zip(parts, draws(), strict=True)
    ]
    for name in ["train_nll", *(["kl_conv1", "kl", "elbo"] if kind else [])]:
        mean = sum(metrics[name] for metrics in alone) / 3
        assert found[name] == pytest.approx(mean, rel=1e-3)
    for name in ("sample_nll", "mean_nll"):
        assert found[name] == pytest.approx(alone[0][name], rel=1e-3)
    assert found["ensemble_nll"] < sum(metrics["ensemble_nll"] for metrics in alone) / 3  # Jensen


# Dropout and penalties


def test_dropout_keeps_the_mean_and_drops_its_rate():
    layer, inputs = Dropout(0.3), torch.full((200, 100), 2.0)
    layer.generator = generator("dropout")
    found = layer(inputs)
    assert found.unique().tolist() == pytest.approx([0.0, 2 / 0.7])
    assert (found == 0).double().mean().item() == pytest.approx(0.3, abs=4 * math.sqrt(0.21 / 2e4))
    assert not torch.equal(layer(inputs), found)
    layer.generator = generator("dropout")
    assert torch.equal(layer(inputs), found)
    assert layer.eval()(inputs) is inputs


def test_a_penalty_makes_kernels_more_likely(stripes):
    settings = {"epochs": 12, "evaluate_every": 6, "l2": 0.0}
    net, records = train(stripes, None, penalty="vae", **settings)
    free, _ = train(stripes, None, **settings)
    with torch.no_grad():
        found, without = (
            sum(prior_penalty(each, make_priors("vae"), generator(i)) for i in range(8))
            for each in (net, free)
        )
    assert found < without
    assert records[-1]["penalty"] < records[0]["penalty"]
