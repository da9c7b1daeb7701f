"""A convolutional variational auto-encoder of grey images."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_ENCODED, _DECODED = 4, 5  # sides of the maps at the encoder's end, and at the decoder's start


class ImageVAE(nn.Module):
    """p(x) = E_{N(z; 0, I)} Bernoulli(x; decoder(z)) over 28 x 28 images, with encoder q(z|x).

    Encoder: conv 7x7, leaky ReLU, conv 5x5, leaky ReLU, both of stride 2, then a linear layer to
    mean and log-variance. The decoder has transposed convolutions of the same sizes and strides,
    padded so that their kernels reach every pixel. The kernels have the sizes of the paper's net
    for such images. The architecture is our choice: the authors' own is not in their release.

    Args:
        filters: number of filters of the encoder's convolutions; the decoder's are the reverse.
        latent: dimensions of z.
    """

    kernel_sizes: ClassVar = {"encoder1": 7, "encoder2": 5, "decoder1": 5, "decoder2": 7}
    # a literal, which a study reads without torch
    kernels_of: ClassVar = {
        "encoder1": "conv1",
        "encoder2": "conv2",
        "decoder1": "conv2",
        "decoder2": "conv1",
    }
    """The layer of a `dwp.nn.networks.MnistNet` whose kernels each convolution may start from."""

    def __init__(self, filters: Sequence[int], latent: int) -> None:
        super().__init__()
        first, second = filters
        self.encoder1 = nn.Conv2d(1, first, 7, stride=2)
        self.encoder2 = nn.Conv2d(first, second, 5, stride=2)
        self.code = nn.Linear(second * _ENCODED**2, 2 * latent)
        self.start = nn.Linear(latent, second * _DECODED**2)
        self.decoder1 = nn.ConvTranspose2d(second, first, 5, stride=2, padding=1, output_padding=1)
        self.decoder2 = nn.ConvTranspose2d(first, 1, 7, stride=2, padding=1, output_padding=1)
        self.activation = nn.LeakyReLU()
        self.latent = latent

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance (n, latent) of q(z|x) for images (n, 1, 28, 28)."""
        maps = self.activation(self.encoder1(images))  # (n, first, 11, 11)
        maps = self.activation(self.encoder2(maps))  # (n, second, 4, 4)
        return self.code(maps.flatten(1)).chunk(2, 1)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the logits (n, 1, 28, 28) of the pixels for codes (n, latent)."""
        maps = self.activation(self.start(codes)).unflatten(1, (-1, _DECODED, _DECODED))
        maps = self.activation(self.decoder1(maps))  # (n, first, 12, 12)
        return self.decoder2(maps)

    def elbo(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return the variational lower bound, in nats an image (n,), by one code from q(z|x).

        Unbiased for E_q log p(x|z) - KL(q(z|x) || p(z)), summed over pixels. A pixel in [0, 1] is
        the probability of a 1: its log-likelihood is the mean over that bit.

        Args:
            images: (n, 1, 28, 28) in [0, 1].
            generator: where the codes come from.
        """
        mean, log_variance = self.encode(images)
        noise = torch.empty_like(mean).normal_(generator=generator)
        codes = mean + (0.5 * log_variance).exp() * noise
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
        return log_likelihood(self.decode(codes), images) - kl


def log_likelihood(logits: Tensor, images: Tensor) -> Tensor:
    """Return the Bernoulli log-likelihood, in nats an image (n,), of images in [0, 1]."""
    return -F.binary_cross_entropy_with_logits(logits, images, reduction="none").flatten(1).sum(1)
