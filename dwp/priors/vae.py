"""The Deep Weight Prior: a variational auto-encoder over kernels."""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dwp.errors import UserError
from dwp.priors.base import KernelPrior
from dwp.priors.kl import register_kl
from dwp.priors.posteriors import GaussianKernels
from dwp.seeds import Source, standard_normal

_LEAST_VARIANCE = 1e-8
_CHUNK = 1024  # kernels at once: larger blocks of activations fall out of the cache


class KernelVAE(KernelPrior):
    """The latent-variable prior p(w) = E_{N(z; 0, I)} N(w; mean(z), diag variance(z)).

    Decoder p(w|z) and encoder r(z|w) are small convolutional nets; their architectures for 7 x 7,
    5 x 5 and 16 x 16 kernels are those of the paper's release. Its density is intractable:
    `elbo_terms` bounds it from below and `importance_log_prob` estimates it.

    Atanov et al., "The Deep Weight Prior", ICLR 2019.

    Args:
        kernel_size: 5, 7 or 16.
        hidden: width of the nets.
        latent: dimensions of z.

    Raises:
        UserError: no architecture for the kernel size.
    """

    kind = "vae"
    trained = True
    density = "bound"

    def __init__(self, kernel_size: int, hidden: int, latent: int) -> None:
        super().__init__(kernel_size, hidden=hidden, latent=latent)
        if kernel_size not in _ENCODERS:
            sizes = ", ".join(map(str, sorted(_ENCODERS)))
            raise UserError(f"a vae prior has kernel size {sizes}; found {kernel_size}")
        self.latent = latent
        self.encoder, width = _ENCODERS[kernel_size](hidden)
        self.latent_mean = nn.Conv2d(width, latent, 1)
        self.latent_variance = nn.Conv2d(width, latent, 1)
        self.decoder, width = _DECODERS[kernel_size](hidden, latent)
        self.kernel_mean = nn.Conv2d(width, 1, 1)
        self.kernel_variance = nn.Conv2d(width, 1, 1)
        self.to(memory_format=torch.channels_last)

    def encode(self, kernels: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance (n, latent) of r(z|w) for kernels (n, k, k)."""
        maps = kernels[:, None].contiguous(memory_format=torch.channels_last)
        features = self.encoder(maps)  # (n, width, 1, 1)
        mean = self.latent_mean(features).flatten(1)
        return mean, _variance(self.latent_variance(features)).flatten(1)

    def decode(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance (n, k, k) of p(w|z) for codes (n, latent)."""
        maps = codes[:, :, None, None].contiguous(memory_format=torch.channels_last)
        features = self.decoder(maps)  # (n, width, k, k)
        return self.kernel_mean(features)[:, 0], _variance(self.kernel_variance(features))[:, 0]

    def elbo_terms(self, kernels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return, in nats (n,), log p(w|z) for one z from r(z|w), and KL(r(z|w) || p(z)).

        Their difference is an unbiased estimate of a lower bound of log p(w), kernels (n, k, k).
        """
        shape = (len(kernels), self.latent)
        return self._elbo_terms(kernels, standard_normal(shape, generator, kernels))

    def _elbo_terms(self, kernels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        mean, variance = self.encode(kernels)
        codes = mean + variance.sqrt() * noise
        log_likelihood = _log_normal(kernels, *self.decode(codes)).sum((-2, -1))
        return log_likelihood, 0.5 * (mean.square() + variance - 1 - variance.log()).sum(1)

    def loss(self, kernels: Tensor, generator: torch.Generator) -> Tensor:
        """Return the negative ELBO, in nats (n,), of kernels (n, k, k)."""
        log_likelihood, kl = self.elbo_terms(kernels, generator)
        return kl - log_likelihood

    def importance_log_prob(
        self, kernels: Tensor, samples: int, generator: torch.Generator
    ) -> Tensor:
        """Return the importance-weighted estimate of log p(w), in nats (n,).

        log 1/S sum_s p(w|z_s) p(z_s) / r(z_s|w): a lower bound in expectation, tighter than the
        ELBO, that approaches log p(w) as `samples` = S grows (Burda et al. 2016).
        """
        mean, variance = self.encode(kernels)
        total = torch.full_like(mean[:, 0], -math.inf)
        for _ in range(samples):
            noise = torch.empty_like(mean).normal_(generator=generator)
            codes = mean + variance.sqrt() * noise
            log_weight = (
                _log_normal(kernels, *self.decode(codes)).sum((-2, -1))
                + _log_normal(codes, 0, torch.ones_like(codes)).sum(1)
                - _log_normal(codes, mean, variance).sum(1)
            )
            total = torch.logaddexp(total, log_weight)
        return total - math.log(samples)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw kernels (n, k, k) from p(w): a code from p(z), then a kernel from p(w|z)."""
        mean, variance = self._decode_prior(n, generator)
        return mean + variance.sqrt() * torch.empty_like(mean).normal_(generator=generator)

    def initial(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw decoder means (n, k, k) of codes from p(z): what the paper's nets start from."""
        return self._decode_prior(n, generator)[0]

    @torch.no_grad()
    def _decode_prior(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        codes = torch.randn((n, self.latent), generator=generator, device=generator.device)
        means, variances = zip(*(self.decode(part) for part in codes.split(_CHUNK)), strict=True)
        return torch.cat(means), torch.cat(variances)


@register_kl(GaussianKernels, KernelVAE, "upper bound")
def _kl(posterior: GaussianKernels, prior: KernelVAE, generator: Source) -> Tensor:
    # KL(q||p) <= -H(q) + E_q [KL(r(z|w) || p(z)) - E_r log p(w|z)], one draw of w and of z
    kernels = posterior.sample(generator).flatten(0, -3)  # (n, k, k)
    noise = standard_normal((len(kernels), prior.latent), generator, kernels)
    chunks = zip(kernels.split(_CHUNK), noise.split(_CHUNK), strict=True)
    parts = [prior._elbo_terms(*chunk) for chunk in chunks]
    bound = torch.cat([kl - log_likelihood for log_likelihood, kl in parts])
    return bound.view(posterior.mean.shape[:-2]) - posterior.entropy()


def _variance(raw: Tensor) -> Tensor:
    return F.softplus(raw).clamp_min(_LEAST_VARIANCE)


def _log_normal(value: Tensor, mean: Tensor | float, variance: Tensor) -> Tensor:
    return -0.5 * ((value - mean).square() / variance + variance.log() + math.log(2 * math.pi))


def _stack(*layers: nn.Module) -> nn.Sequential:
    """Return the layers with an ELU after each."""
    return nn.Sequential(*(part for layer in layers for part in (layer, nn.ELU())))


def _encoder7(h: int) -> tuple[nn.Module, int]:
    stack = _stack(nn.Conv2d(1, h, 3), nn.Conv2d(h, 2 * h, 3), nn.Conv2d(2 * h, 2 * h, 3))
    return stack, 2 * h


def _decoder7(h: int, latent: int) -> tuple[nn.Module, int]:
    up = nn.ConvTranspose2d
    return _stack(up(latent, 2 * h, 3), up(2 * h, 2 * h, 3), up(2 * h, h, 3)), h


def _encoder5(h: int) -> tuple[nn.Module, int]:
    stack = _stack(
        nn.Conv2d(1, h, 3, padding=1),
        nn.Conv2d(h, h, 3, padding=1),
        nn.Conv2d(h, 2 * h, 3),
        nn.Conv2d(2 * h, 2 * h, 3),
    )
    return stack, 2 * h


def _decoder5(h: int, latent: int) -> tuple[nn.Module, int]:
    stack = _stack(
        nn.Conv2d(latent, 2 * h, 1),
        nn.ConvTranspose2d(2 * h, 2 * h, 3),
        nn.ConvTranspose2d(2 * h, 2 * h, 3),
        nn.Conv2d(2 * h, h, 1),
    )
    return stack, h


def _encoder16(h: int) -> tuple[nn.Module, int]:
    widths = (1, h, 2 * h, 2 * h, 2 * h)
    blocks = [
        nn.Sequential(
            nn.Conv2d(before, after, 3, padding=1, padding_mode="reflect"), nn.MaxPool2d(2)
        )
        for before, after in itertools.pairwise(widths)
    ]
    return _stack(*blocks), 2 * h


def _decoder16(h: int, latent: int) -> tuple[nn.Module, int]:
    up = nn.ConvTranspose2d
    stack = _stack(
        up(latent, 2 * h, 4, 2), up(2 * h, 2 * h, 4, 2, padding=1), up(2 * h, h, 4, 2, padding=1)
    )
    return stack, h


_ENCODERS = {5: _encoder5, 7: _encoder7, 16: _encoder16}
_DECODERS = {5: _decoder5, 7: _decoder7, 16: _decoder16}
