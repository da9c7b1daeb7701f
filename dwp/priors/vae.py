"""The Deep Weight Prior: a variational auto-encoder over kernels."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dwp.errors import check_one_of
from dwp.fast import door, faster, frozen
from dwp.priors.base import KernelPrior
from dwp.priors.kl import Bound, Estimation, register_kl
from dwp.priors.posteriors import GaussianCodes, GaussianKernels
from dwp.seeds import Source, check_draws, seeded, standard_normal

_LEAST_VARIANCE = 1e-8
_CODES_AT_ONCE = 50_000


class KernelVAE(KernelPrior):
    """The latent-variable prior p(w) = E_{N(z; 0, I)} N(w; mean(z), diag variance(z)).

    Decoder p(w|z) and encoder r(z|w) are small convolutional nets; their architectures for 7 x 7,
    5 x 5 and 16 x 16 kernels are those of the paper's release; that for 3 x 3 is ours. Its
    density is intractable: `elbo_terms` bounds it from below and `importance_log_prob` estimates
    it.

    Atanov et al., "The Deep Weight Prior", ICLR 2019.

    Args:
        kernel_size: 3, 5, 7 or 16.
        hidden: width of the nets.
        latent: dimensions of z.
        variance: of every pixel of p(w|z); None: learned, for each pixel and z.

    Raises:
        UserError: no architecture for the kernel size.
    """

    kind = "vae"

    def __init__(
        self, kernel_size: int, hidden: int, latent: int, variance: float | None = None
    ) -> None:
        fixed = {} if variance is None else {"variance": variance}
        super().__init__(kernel_size, hidden=hidden, latent=latent, **fixed)
        check_one_of("kernel size of a vae", str(kernel_size), map(str, _ENCODERS))
        self.latent, self.variance = latent, variance
        self.encoder = _ENCODERS[kernel_size](hidden, 2 * hidden)
        self.latent_mean = nn.Conv2d(2 * hidden, latent, 1)
        self.latent_variance = nn.Conv2d(2 * hidden, latent, 1)
        self.decoder = _DECODERS[kernel_size](hidden, 2 * hidden, latent)
        self.kernel_mean = nn.Conv2d(hidden, 1, 1)
        self.kernel_variance = nn.Conv2d(hidden, 1, 1) if variance is None else None
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    @property
    def frozen(self) -> bool:
        """Whether no parameter is trained: `requires_grad_(False)` makes the prior faster."""
        return not any(parameter.requires_grad for parameter in self.parameters())

    def encode(self, kernels: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance (n, latent) of r(z|w) for kernels (n, k, k)."""
        heads = self.latent_mean, self.latent_variance
        mean, raw = _run(self.encoder, heads, kernels[:, None]).flatten(1).chunk(2, 1)
        return mean, _variance(raw)

    def decode(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance (n, k, k) of p(w|z) for codes (n, latent)."""
        heads = [head for head in (self.kernel_mean, self.kernel_variance) if head is not None]
        mean, *raw = _run(self.decoder, heads, codes[:, :, None, None]).unbind(1)  # each (n, k, k)
        if self.variance is not None:
            return mean, torch.full_like(mean, self.variance)
        return mean, _variance(raw[0])

    def elbo_terms(self, kernels: Tensor, generator: Source) -> tuple[Tensor, Tensor]:
        """Return, in nats (n,), log p(w|z) for one z from r(z|w), and KL(r(z|w) || p(z)).

        Their difference is an unbiased estimate of a lower bound of log p(w), kernels (n, k, k).
        """
        fit, _, kl = self._terms(kernels, self._noise(kernels, 1, generator))
        return fit[:, 0], kl

    def _noise(self, kernels: Tensor, samples: int, generator: Source) -> Tensor:
        return standard_normal((len(kernels), samples, self.latent), generator, kernels)

    def _terms(self, kernels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log p(w|z) and log p(z) / r(z|w) (n, S), and KL(r(z|w) || p(z)) (n,).

        Of kernels (n, k, k) and codes z of r(z|w), made of noise (n, S, latent).
        """
        mean, variance = self.encode(kernels)
        codes = mean[:, None] + variance.sqrt()[:, None] * noise
        decoded = (m.unflatten(0, codes.shape[:2]) for m in self.decode(codes.flatten(0, 1)))
        fit = _log_normal(kernels[:, None], *decoded).sum((-2, -1))
        # z minus its mean, over its deviation, is the noise
        log_ratio = 0.5 * (noise.square() - codes.square() + variance.log()[:, None]).sum(2)
        return fit, log_ratio, 0.5 * (mean.square() + variance - 1 - variance.log()).sum(1)

    def loss(
        self, kernels: Tensor, generator: Source, bound: Bound = "elbo", latent_samples: int = 1
    ) -> Tensor:
        """Return minus a lower bound of log p(w), in nats (n,), of kernels (n, k, k).

        A frozen prior (`requires_grad_(False)`) takes memory that does not grow with n: the
        gradient with respect to the kernels is found together with the loss, part by part.

        Args:
            kernels: w.
            generator: of the codes; see `dwp.seeds.standard_normal`.
            bound: "elbo", on which a VAE is trained, or "importance-weighted": an unbiased
                estimate of E log 1/S sum_s p(w|z_s) p(z_s) / r(z_s|w), a tighter bound that
                approaches log p(w) as S grows (Burda et al. 2016).
            latent_samples: S, draws of z.
        """
        Estimation(bound=bound, latent_samples=latent_samples)  # checks them
        noise = self._noise(kernels, latent_samples, generator)
        with faster(self.frozen):  # the gradients of a trained one may need their own
            return door.by(frozen.in_parts, _loss, kernels, noise, self, bound)

    def importance_log_prob(self, kernels: Tensor, samples: int, generator: Source) -> Tensor:
        """Return the importance-weighted estimate of log p(w), in nats (n,).

        As `loss` with that bound, part by part: for many samples, without gradients.
        """
        generator, losses = seeded(generator, kernels.device), []
        with faster():
            for part in kernels.split(max(1, _CODES_AT_ONCE // samples)):
                noise = self._noise(part, samples, generator)
                losses.append(_loss(part, noise, self, "importance-weighted"))
        return -torch.cat(losses)

    def sample(self, n: int, generator: torch.Generator | int) -> Tensor:
        """Draw kernels (n, k, k) from p(w): a code from p(z), then a kernel from p(w|z)."""
        generator = check_draws(n, generator, self.latent_mean.weight.device)
        mean, variance = self._decode_prior(n, generator)
        return mean + variance.sqrt() * torch.empty_like(mean).normal_(generator=generator)

    def initial(self, n: int, generator: torch.Generator | int) -> Tensor:
        """Draw decoder means (n, k, k) of codes from p(z), from which the paper's nets start."""
        return self._decode_prior(n, check_draws(n, generator, self.latent_mean.weight.device))[0]

    @torch.no_grad()
    def reconstruct(self, kernels: Tensor) -> Tensor:
        """Return decoder means (n, k, k) of the mean codes of kernels (n, k, k)."""
        with faster():
            return self.decode(self.encode(kernels)[0])[0]

    def kernel_means(self, codes: Tensor) -> Tensor:
        """Return decoder means (..., k, k) of codes (..., latent), differentiably."""
        return self.decode(codes.flatten(0, -2))[0].unflatten(0, codes.shape[:-1])

    @torch.no_grad()
    def _decode_prior(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        codes = standard_normal((n, self.latent), generator, self.latent_mean.weight)
        with faster():
            return self.decode(codes)


def _run(layers: nn.Sequential, heads: Sequence[nn.Module], maps: Tensor) -> Tensor:
    """Return maps (n, c, h, w) after layers, and then each of the heads, concatenated."""
    return door.by(frozen.run, _plain_run, layers, heads, maps)


def _plain_run(layers: nn.Sequential, heads: Sequence[nn.Module], maps: Tensor) -> Tensor:
    features = layers(maps)
    return torch.cat([head(features) for head in heads], 1).to(maps)


def _loss(kernels: Tensor, noise: Tensor, prior: KernelVAE, bound: str) -> Tensor:
    """Return `KernelVAE.loss` (n,) of kernels (n, k, k), given the noise (n, S, latent) of z."""
    fit, log_ratio, kl = prior._terms(kernels, noise)
    if bound == "elbo":
        return kl - fit.mean(1)
    return math.log(noise.shape[1]) - (fit + log_ratio).logsumexp(1)


@register_kl(GaussianKernels, KernelVAE, "upper bound")
def _kl(
    posterior: GaussianKernels, prior: KernelVAE, generator: Source, estimation: Estimation
) -> Tensor:
    # KL(q||p) <= -H(q) + E_q [KL(r(z|w) || p(z)) - E_r log p(w|z)], one draw of w, or
    # KL(q||p) <= -H(q) - E_q E_r log 1/S sum_s p(w|z_s) p(z_s) / r(z_s|w)
    kernels = posterior.sample(generator)
    kernels = kernels.reshape(-1, *kernels.shape[-2:])  # (n, k, k)
    loss = prior.loss(kernels, generator, estimation.bound, estimation.latent_samples)
    return loss.view(posterior.mean.shape[:-2]) - posterior.entropy()


@register_kl(GaussianCodes, KernelVAE, "upper bound")
def _kl_of_codes(posterior: GaussianCodes, *_) -> Tensor:
    # KL(q(z) || p(z)), in closed form; that of the kernels decoded from the two is no larger
    square, log_variance = posterior.mean.square(), posterior.log_variance
    return 0.5 * (square + log_variance.exp() - 1 - log_variance).sum(-1)


def _variance(raw: Tensor) -> Tensor:
    return F.softplus(raw).clamp_min(_LEAST_VARIANCE)


def _log_normal(value: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return -0.5 * ((value - mean).square() / variance + variance.log() + math.log(2 * math.pi))


def _stack(*layers: nn.Module) -> nn.Sequential:
    """Return the layers with an ELU after each."""
    return nn.Sequential(*(part for layer in layers for part in (layer, nn.ELU())))


def _down(before: int, after: int) -> nn.Module:
    convolution = nn.Conv2d(before, after, 3, padding=1, padding_mode="reflect")
    return nn.Sequential(convolution, nn.MaxPool2d(2))


_conv, _up = nn.Conv2d, nn.ConvTranspose2d
# By the kernel size; of a convolution: channels in and out, kernel size, stride, padding. Encoders
# of widths h and w = 2 h give w maps of one pixel.
_ENCODERS = {
    3: lambda h, w: _stack(_conv(1, h, 3), _conv(h, w, 1)),
    5: lambda h, w: _stack(
        _conv(1, h, 3, 1, 1), _conv(h, h, 3, 1, 1), _conv(h, w, 3), _conv(w, w, 3)
    ),
    7: lambda h, w: _stack(_conv(1, h, 3), _conv(h, w, 3), _conv(w, w, 3)),
    16: lambda h, w: _stack(_down(1, h), _down(h, w), _down(w, w), _down(w, w)),
}
# from codes of d numbers; decoders give h maps
_DECODERS = {
    3: lambda h, w, d: _stack(_conv(d, w, 1), _up(w, h, 3)),
    5: lambda h, w, d: _stack(_conv(d, w, 1), _up(w, w, 3), _up(w, w, 3), _conv(w, h, 1)),
    7: lambda h, w, d: _stack(_up(d, w, 3), _up(w, w, 3), _up(w, h, 3)),
    16: lambda h, w, d: _stack(_up(d, w, 4, 2), _up(w, w, 4, 2, 1), _up(w, h, 4, 2, 1)),
}
