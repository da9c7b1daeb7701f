"""The yardstick: the paper's steps as anybody would first write them in PyTorch.

Single precision, torch's default layout and allocator, autograd through everything, one pass a
weight sample. Written for `benchmarks/run.py` only, from the paper's equations.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LEAST = 1e-8


class VAE5(nn.Module):
    """The paper's VAE over 5 x 5 kernels (hidden 64, latent 4); `VAE7` the one over 7 x 7."""

    def __init__(self, hidden: int = 64, latent: int = 4) -> None:
        super().__init__()
        h, elu = hidden, nn.ELU
        self.encoder = nn.Sequential(
            *(nn.Conv2d(1, h, 3, padding=1), elu(), nn.Conv2d(h, h, 3, padding=1), elu()),
            *(nn.Conv2d(h, 2 * h, 3), elu(), nn.Conv2d(2 * h, 2 * h, 3), elu()),
        )
        self.code_mean = nn.Conv2d(2 * h, latent, 1)
        self.code_variance = nn.Conv2d(2 * h, latent, 1)
        self.decoder = nn.Sequential(
            *(nn.Conv2d(latent, 2 * h, 1), elu(), nn.ConvTranspose2d(2 * h, 2 * h, 3), elu()),
            *(nn.ConvTranspose2d(2 * h, 2 * h, 3), elu(), nn.Conv2d(2 * h, h, 1), elu()),
        )
        self.mean, self.variance = nn.Conv2d(h, 1, 1), nn.Conv2d(h, 1, 1)

    def loss(self, kernels: Tensor) -> Tensor:
        """The negative ELBO (n,) of kernels (n, 1, k, k)."""
        features = self.encoder(kernels)
        mean = self.code_mean(features)
        variance = F.softplus(self.code_variance(features)) + _LEAST
        features = self.decoder(mean + variance.sqrt() * torch.randn_like(mean))
        log_likelihood = log_normal(
            kernels, self.mean(features), F.softplus(self.variance(features)) + _LEAST
        )
        kl = 0.5 * (mean**2 + variance - 1 - variance.log())
        return kl.flatten(1).sum(1) - log_likelihood.flatten(1).sum(1)


class VAE7(VAE5):
    """The paper's VAE over 7 x 7 kernels (hidden 32, latent 2)."""

    def __init__(self, hidden: int = 32, latent: int = 2) -> None:
        super().__init__(hidden, latent)
        h, elu, up = hidden, nn.ELU, nn.ConvTranspose2d
        self.encoder = nn.Sequential(
            *(nn.Conv2d(1, h, 3), elu(), nn.Conv2d(h, 2 * h, 3), elu()),
            *(nn.Conv2d(2 * h, 2 * h, 3), elu()),
        )
        self.decoder = nn.Sequential(
            *(up(latent, 2 * h, 3), elu(), up(2 * h, 2 * h, 3), elu(), up(2 * h, h, 3), elu())
        )


def log_normal(x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Elementwise log density of a Gaussian."""
    return -0.5 * ((x - mean) ** 2 / variance + variance.log() + math.log(2 * math.pi))


class BayesianConv(nn.Module):
    """A convolution with a factorised Gaussian posterior, by local reparametrisation."""

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.empty(outputs, inputs, size, size))
        nn.init.xavier_normal_(self.mean)
        self.log_variance = nn.Parameter(torch.full_like(self.mean, -10.0))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (n, out, h', w') drawn for inputs (n, in, h, w)."""
        mean = F.conv2d(x, self.mean, self.bias)
        variance = F.conv2d(x**2, self.log_variance.exp())
        return mean + (variance + 1e-12).sqrt() * torch.randn_like(mean)

    def kl(self, prior: VAE5) -> Tensor:
        """The bound of the KL from a VAE prior, in nats, by one draw of the kernels."""
        kernels = self.mean + (0.5 * self.log_variance).exp() * torch.randn_like(self.mean)
        entropy = 0.5 * (self.log_variance + math.log(2 * math.pi * math.e)).sum()
        return prior.loss(kernels.flatten(0, 1)[:, None]).sum() - entropy


class Net(nn.Module):
    """conv 7x7, leaky ReLU, pool, conv 5x5, leaky ReLU, pool, linear."""

    def __init__(self, filters: tuple[int, int], convolution: type[nn.Module]) -> None:
        super().__init__()
        self.conv1 = convolution(1, filters[0], 7)
        self.conv2 = convolution(filters[0], filters[1], 5)
        self.linear = nn.Linear(filters[1] * 9, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, 10) of images (n, 1, 28, 28)."""
        x = F.max_pool2d(F.leaky_relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.leaky_relu(self.conv2(x)), 2)
        return self.linear(x.flatten(1))


class Dwp:
    """A training step of the Bayesian net under the Deep Weight Prior."""

    def __init__(self, images: Tensor, targets: Tensor, filters: tuple[int, int]) -> None:
        self.net = Net(filters, BayesianConv)
        self.priors = VAE7().requires_grad_(False), VAE5().requires_grad_(False)
        self.adam = torch.optim.Adam(self.net.parameters(), lr=1e-3)
        self.images, self.targets = images, targets

    def __call__(self) -> None:
        data = F.cross_entropy(self.net(self.images), self.targets, reduction="sum")
        kl = self.net.conv1.kl(self.priors[0]) + self.net.conv2.kl(self.priors[1])
        self.adam.zero_grad()
        (data + kl).backward()
        self.adam.step()


class VaeTerm:
    """The KL's VAE term for `n` 5 x 5 kernels, and its gradient with respect to them."""

    def __init__(self, n: int) -> None:
        self.prior = VAE5().requires_grad_(False)
        self.kernels = (0.1 * torch.randn(n, 1, 5, 5)).requires_grad_()

    def __call__(self) -> None:
        self.kernels.grad = None
        self.prior.loss(self.kernels).sum().backward()


class Prediction:
    """Class probabilities of images, averaged over weight samples."""

    def __init__(self, images: Tensor, samples: int, batch: int = 500) -> None:
        self.net, self.samples = Net((32, 128), BayesianConv), samples
        self.batches = images.split(batch)

    @torch.no_grad()
    def __call__(self) -> Tensor:
        draws = []
        for _ in range(self.samples):
            draws.append(torch.cat([self.net(x).softmax(1) for x in self.batches]))
        return torch.stack(draws)


class Source:
    """A training step of a source net."""

    def __init__(self, images: Tensor, targets: Tensor, filters: tuple[int, int]) -> None:
        self.net = Net(filters, nn.Conv2d)
        self.adam = torch.optim.Adam(self.net.parameters(), lr=1e-3)
        self.images, self.targets = images, targets

    def __call__(self) -> None:
        parameters = [*self.net.conv1.parameters(), *self.net.conv2.parameters()]
        penalty = sum((p**2).sum() for p in parameters)
        loss = F.cross_entropy(self.net(self.images), self.targets) + 1e-3 * penalty
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
