"""A new kind of prior in one file: a Laplace distribution over every weight of a kernel.

    python examples/new_prior.py

fits it to kernels, puts it into a net, and takes its KL and a few steps. In the library the file
would lie in `dwp/priors/`, its entry stand in `dwp.priors.kinds.KINDS`; then configs know the kind,
too.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import dwp
from dwp.priors import KINDS, GaussianKernels, KernelPrior, Kind, register_kl
from dwp.seeds import check_draws

# What the library knows of the kind; the rest is as by default: fitted to kernels in closed form,
# an exact density, an additive posterior.
KINDS["laplace"] = Kind(f"{__name__}:Laplace", kl_settings=("kl_estimator",))


class Laplace(KernelPrior):
    """Every weight p(w) = exp(-|w| / b) / 2b independently, one scale b for all."""

    kind = "laplace"
    scale: Tensor

    def __init__(self, kernel_size: int) -> None:
        super().__init__(kernel_size)
        self.register_buffer("scale", torch.ones(()))

    @classmethod
    def fit(cls, kernels: Tensor) -> "Laplace":
        """Return the maximum-likelihood prior of kernels (n, k, k)."""
        prior = cls(kernels.shape[-1])
        prior.scale.copy_(kernels.abs().mean())
        return prior

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw kernels (n, k, k)."""
        generator = check_draws(n, generator, self.scale.device)
        draws = self.scale.new_empty((2, n, self.kernel_size, self.kernel_size))
        first, second = draws.exponential_(generator=generator)
        return self.scale * (first - second)

    def log_prob(self, kernels: Tensor) -> Tensor:
        """Return the log density, in nats (n,), of kernels (n, k, k)."""
        return (-kernels.abs() / self.scale - (2 * self.scale).log()).sum((-2, -1))


# Where there is no closed form of the KL, register `dwp.priors.kl.monte_carlo_kl`.
@register_kl(GaussianKernels, Laplace, "exact")
def _kl(posterior: GaussianKernels, prior: Laplace, *_) -> Tensor:
    # E |w| of a Gaussian is the mean of the folded one (Leone et al. 1961)
    mean, deviation = posterior.mean, posterior.variance.sqrt()
    ratio = mean / deviation
    absolute = deviation * math.sqrt(2 / math.pi) * (-0.5 * ratio.square()).exp()
    absolute = absolute + mean * torch.erf(ratio / math.sqrt(2))
    expected = (absolute / prior.scale + (2 * prior.scale).log()).sum((-2, -1))
    return expected - posterior.entropy()


def main() -> None:
    kernels = 0.1 * torch.randn((500, 3, 3), generator=dwp.generator("laplace", "kernels"))
    prior = Laplace.fit(kernels)
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10))
    images, targets = torch.rand(4, 1, 28, 28), torch.arange(4)
    net(images)
    dwp.init.from_prior_(net, prior, dwp.generator("laplace", "start"))
    dwp.bayesianize(net, prior)
    adam = torch.optim.Adam(net.parameters(), lr=1e-3)
    for step in range(5):
        kl = dwp.kl(net)
        loss = F.cross_entropy(net(images), targets, reduction="sum") + kl
        adam.zero_grad()
        loss.backward()
        adam.step()
        print(f"step {step}: loss {loss.item():.1f} nats, of it the KL {kl.item():.1f}")


if __name__ == "__main__":
    main()
