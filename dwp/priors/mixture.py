"""A mixture of Gaussians fitted to kernels."""

import math
from typing import Self

import torch
from torch import Tensor, nn

from dwp.errors import UserError
from dwp.priors.base import KernelPrior
from dwp.priors.kl import monte_carlo_kl, register_kl
from dwp.priors.posteriors import GaussianKernels
from dwp.seeds import check_draws, standard_normal

_STEPS = 500


class GaussianMixture(KernelPrior):
    """A mixture of Gaussians with full covariances over the d = k * k weights of a kernel."""

    kind = "gaussian-mixture"

    def __init__(self, kernel_size: int, components: int) -> None:
        super().__init__(kernel_size, components=components)
        d = kernel_size**2
        self.log_weights = nn.Buffer(torch.full((components,), -math.log(components)))
        self.means = nn.Buffer(torch.zeros(components, d))
        # Cholesky factors of the covariances, and their inverses
        self.scales = nn.Buffer(torch.eye(d).repeat(components, 1, 1))
        self.whitenings = nn.Buffer(self.scales.clone())

    @classmethod
    def fit(cls, kernels: Tensor, components: int, seed: int, floor: float = 1e-3) -> Self:
        """Return a mixture of locally maximal likelihood for kernels (n, k, k).

        By scikit-learn's expectation-maximisation, started from k-means.

        Args:
            kernels: (n, k, k), n >= components.
            components: how many Gaussians.
            seed: of the start.
            floor: added to every weight's variance in every component, in units of the mean
                variance of a weight; keeps a component from shrinking onto few kernels.

        Raises:
            UserError: there are fewer kernels than components, or the kernels are all the same.
        """
        from sklearn.mixture import GaussianMixture as Mixture  # not needed to use a fitted prior

        flat = kernels.flatten(1).double()  # (n, d)
        spread = flat.var(0, correction=0).mean().item()
        if len(flat) < components or spread <= 1e-12 * flat.square().mean().item():
            raise UserError(
                f"kernels: a {cls.kind} prior of {components} components needs as many kernels "
                f"that differ, found {len(flat)}; lower components or collect more kernels"
            )
        fitted = Mixture(components, reg_covar=floor * spread, max_iter=_STEPS, random_state=seed)
        fitted.fit(flat.numpy())
        prior = cls(kernels.shape[-1], components)
        scales = torch.linalg.cholesky(torch.from_numpy(fitted.covariances_))  # (c, d, d)
        eye = torch.eye(flat.shape[1], dtype=torch.double)
        prior.log_weights.copy_(torch.from_numpy(fitted.weights_).log())
        prior.means.copy_(torch.from_numpy(fitted.means_))
        prior.scales.copy_(scales)
        prior.whitenings.copy_(torch.linalg.solve_triangular(scales, eye, upper=False))
        return prior

    def sample(self, n: int, generator: torch.Generator | int) -> Tensor:
        """Draw kernels (n, k, k)."""
        generator = check_draws(n, generator, self.means.device)
        chosen = torch.multinomial(self.log_weights.exp(), n, True, generator=generator)
        flat = self.means[chosen]
        noise = standard_normal(flat.shape, generator, flat)
        for component, scale in enumerate(self.scales):  # not a d x d matrix for every kernel
            flat[chosen == component] += noise[chosen == component] @ scale.T
        return flat.unflatten(1, (self.kernel_size, -1))

    def log_prob(self, kernels: Tensor) -> Tensor:
        """Return the log density, in nats (n,), of kernels (n, k, k)."""
        # in double, as no setting of the nets' precision changes: it takes differences of weights
        flat, whitenings = kernels.flatten(1).double(), self.whitenings.double()  # (n, d)
        # W (w - m) = W w - W m, so that nothing of shape (c, n, d) but the result is made
        shift = (whitenings @ self.means.double()[:, :, None])[:, None, :, 0]  # (c, 1, d)
        whitened = (flat @ whitenings.mT - shift).to(kernels)  # (c, n, d)
        log_determinant = self.whitenings.diagonal(dim1=1, dim2=2).log().sum(1)
        constant = log_determinant - 0.5 * flat.shape[1] * math.log(2 * math.pi)
        log_density = constant[:, None] - 0.5 * whitened.square().sum(2)  # (c, n)
        return (self.log_weights[:, None] + log_density).logsumexp(0)


register_kl(GaussianKernels, GaussianMixture, "estimate")(monte_carlo_kl)
