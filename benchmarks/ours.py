"""The steps of `benchmarks/yardstick.py` by the library."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dwp.devices import products
from dwp.fast import visible
from dwp.nn.bayesian import bayesian_layers, kl
from dwp.nn.elbo import negative_elbo
from dwp.nn.networks import build_network, initialise_xavier
from dwp.nn.predict import predict
from dwp.priors.vae import KernelVAE
from dwp.seeds import generator
from dwp.training.classification import build_classifier
from dwp.training.source import l2_penalty


def _priors() -> dict[str, KernelVAE]:
    first, second = KernelVAE(7, hidden=32, latent=2), KernelVAE(5, hidden=64, latent=4)
    return {"conv1": first.requires_grad_(False), "conv2": second.requires_grad_(False)}


def _classifier(filters: tuple[int, int], priors: dict[str, KernelVAE]) -> torch.nn.Module:
    settings = {"network": "mnist", "filters": filters, "log_variance": -10.0}
    net = build_classifier(settings, 10, priors)
    initialise_xavier(net, generator("benchmark", "initial"))
    return net.to(memory_format=torch.channels_last)


class Dwp:
    """A training step of the Bayesian net under the Deep Weight Prior, with options of `kl`."""

    def __init__(
        self, images: Tensor, targets: Tensor, filters: tuple[int, int], **options: Any
    ) -> None:
        self.net = _classifier(filters, _priors())
        self.noise = generator("benchmark", "noise")
        for layer in bayesian_layers(self.net).values():
            layer.generator = self.noise
        self.adam = torch.optim.Adam(self.net.parameters(), lr=1e-3)
        self.images = visible(self.net, images).contiguous(memory_format=torch.channels_last)
        self.targets, self.options = targets, options

    def __call__(self) -> None:
        logits = self.net(self.images)
        total = kl(self.net, self.noise, **self.options)
        loss = negative_elbo(logits, self.targets, total, len(self.targets))
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()


class VaeTerm:
    """The KL's VAE term for `n` 5 x 5 kernels, and its gradient with respect to them."""

    def __init__(self, n: int) -> None:
        self.prior = _priors()["conv2"]
        self.kernels = (0.1 * torch.randn(n, 5, 5)).requires_grad_()
        self.noise = generator("benchmark", "noise")

    def __call__(self) -> None:
        self.kernels.grad = None
        self.prior.loss(self.kernels, self.noise).sum().backward()


class Prediction:
    """Class probabilities of images, averaged over weight samples."""

    def __init__(self, images: Tensor, samples: int, precision: str = "float32") -> None:
        self.net = _classifier((32, 128), _priors())
        self.images = visible(self.net, images)
        noise = generator("benchmark", "noise")
        self.options = {"samples": samples, "generator": noise, "precision": precision}

    def __call__(self) -> Tensor:
        return predict(self.net, self.images, **self.options)


class Source:
    """A training step of a source net."""

    def __init__(
        self, images: Tensor, targets: Tensor, filters: tuple[int, int], precision: str
    ) -> None:
        self.net = build_network("mnist", filters=filters).to(memory_format=torch.channels_last)
        self.adam = torch.optim.Adam(self.net.parameters(), lr=1e-3)
        self.images = visible(self.net, images).contiguous(memory_format=torch.channels_last)
        self.targets, self.precision = targets, precision

    def __call__(self) -> None:
        with products(self.precision, "cpu"):
            logits = self.net(self.images)
        loss = F.cross_entropy(logits.float(), self.targets) + 1e-3 * l2_penalty(self.net).sum()
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
