"""A posterior over latent codes: its KL, its kernels, its gradients, and training with it."""

import pytest
import torch
from helpers import CLASSIFICATION, make_prior, same_state, two_classes
from torch import nn
from torch.distributions import Normal

from dwp.nn.bayesian import CodeConv2d, bayesian_layers, bayesianize, prediction
from dwp.nn.predict import predict
from dwp.priors import Estimation, kl_divergence, kl_nature
from dwp.priors.normal import StandardNormal
from dwp.priors.posteriors import GaussianCodes
from dwp.seeds import generator
from dwp.training.classification import build_classifier, train_classifiers

SETTINGS = CLASSIFICATION | {
    "epochs": 6,
    "batch_size": 6,
    "learning_rate": 0.02,
    "log_variance": -3.0,
    "posterior": "codes",
    "evaluate_every": 3,
}


def make_layer(filters=4, log_variance=-3.0):
    """A layer of 5 x 5 kernels of three input channels with random codes."""
    layer = CodeConv2d(3, filters, 5, prior=make_prior("vae", 5), log_variance=log_variance)
    random = generator("layer", filters)
    nn.init.normal_(layer.codes, generator=random)
    nn.init.normal_(layer.bias, generator=random)
    return layer


def images(n=6, channels=3):
    return torch.rand((n, channels, 12, 12), generator=generator("images", n))


# The posterior


def test_kl_against_torch():
    draws = torch.randn((2, 5, 3, 4), generator=generator("posterior"))
    posterior = GaussianCodes(draws[0], draws[1])
    vae = make_prior("vae", 5, latent=4)
    found = kl_divergence(posterior, vae)
    q = Normal(posterior.mean, (0.5 * posterior.log_variance).exp())
    expected = torch.distributions.kl_divergence(q, Normal(0.0, 1.0)).sum(-1)
    torch.testing.assert_close(found, expected)
    assert found.shape == (5, 3)
    # Other estimators are of KLs of weights.
    other = Estimation("monte-carlo", "importance-weighted", 3)
    assert torch.equal(kl_divergence(posterior, vae, None, other), found)
    assert kl_nature(posterior, vae) == "upper bound"
    some = posterior.select(torch.tensor([4, 0, 14]))
    assert torch.equal(kl_divergence(some, vae), found.flatten()[[4, 0, 14]])
    with pytest.raises(NotImplementedError, match="no KL of GaussianCodes from StandardNormal"):
        kl_divergence(posterior, StandardNormal(5))


# The layer


def test_forward_is_the_convolution_with_decoded_codes():
    layer, inputs = make_layer(), images()
    layer.generator = generator("noise")
    found = layer(inputs)
    codes = layer.posterior.sample(generator("noise"))
    kernels = layer.prior.decode(codes.flatten(0, 1))[0].view(4, 3, 5, 5)
    expected = nn.functional.conv2d(inputs, kernels, layer.bias)
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(layer(inputs), found)
    layer.sampling = False
    kernels = layer.prior.decode(layer.codes.flatten(0, 1))[0].view(4, 3, 5, 5)
    torch.testing.assert_close(layer(inputs), nn.functional.conv2d(inputs, kernels, layer.bias))


def test_gradients_reach_codes_and_bias_and_not_the_prior():
    layer, inputs = make_layer(filters=1).double(), images(2).double()
    trained = {name: p for name, p in layer.named_parameters() if p.requires_grad}
    assert set(trained) == {"codes", "log_variance", "bias"}

    def loss(*_):
        layer.generator = generator("noise")
        outputs = layer(inputs)
        return outputs.square().mean() + outputs.mean()

    assert torch.autograd.gradcheck(loss, [*trained.values()], fast_mode=True)


def test_a_layer_starts_from_the_mean_codes_of_its_kernels():
    net, vae = nn.Sequential(nn.Conv2d(3, 4, 5)), make_prior("vae", 5)
    plain = net[0]
    bayesianize(net, vae, posterior="codes", log_variance=-7.0)
    layer = net[0]
    assert type(layer) is CodeConv2d
    expected = vae.encode(plain.weight.detach().flatten(0, 1))[0]
    torch.testing.assert_close(layer.codes.flatten(0, 1), expected)
    assert torch.equal(layer.bias, plain.bias)
    assert (layer.log_variance == -7).all()
    assert layer.codes.shape == layer.log_variance.shape == (4, 3, 2)
    assert set(net.state_dict()) == {"0.weight", "0.bias", "0.codes", "0.log_variance"}
    with prediction(net, sampling=False):
        reconstructed = vae.reconstruct(plain.weight.detach().flatten(0, 1)).view(4, 3, 5, 5)
        found = nn.functional.conv2d(images(), reconstructed, plain.bias)
        torch.testing.assert_close(net(images()), found)


def test_a_sample_has_one_draw_of_the_codes_for_all_batches():
    net = nn.Sequential(make_layer(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    whole = predict(net, images(), samples=3, generator=generator("draws"))
    parts = predict(net, images(), samples=3, generator=generator("draws"), batch_size=2)
    torch.testing.assert_close(whole, parts)
    assert not torch.allclose(whole[0], whole[1])


# Training


def test_training_moves_codes_and_leaves_the_prior():
    data = two_classes()
    priors = {"conv1": make_prior("vae", 7), "conv2": make_prior("vae", 5)}
    options = {"priors": priors, "init": priors}
    ((net, records),) = train_classifiers(data, SETTINGS, [(0, 0)], n=12, **options)
    layers = bayesian_layers(net)
    assert not (layers["conv2"].log_variance == -3).any()
    assert {type(layer) for layer in layers.values()} == {CodeConv2d}
    assert same_state(make_prior("vae", 5), layers["conv2"].prior)
    last = [record for record in records if "loss" in record][-1]
    total = 12 * last["train_nll"] + last["kl_conv1"] + last["kl_conv2"]
    assert last["loss"] == pytest.approx(total, rel=1e-5)
    # its state is all there is to save
    again = build_classifier(SETTINGS, 3, priors)
    again.load_state_dict(net.state_dict())
    pictures = data.test_images.float() / 255
    first, second = (
        predict(each, pictures, samples=2, generator=generator("draws")) for each in (net, again)
    )
    assert torch.equal(first, second)
