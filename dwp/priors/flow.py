"""A normalising flow over kernels: the explicit alternative to the Deep Weight Prior."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dwp.errors import UserError, check_count
from dwp.priors.gaussian import LocationScalePrior

_LEAST_SPREAD = 1e-6  # of a direction, relative to the mean square of a weight
_LEAST_SCALE = 0.5  # of a layer, and 2 the most: else the density is absurd away from the kernels


class Flow(LocationScalePrior):
    """Affine coupling layers on whitened kernels.

    The whitening is fixed and fitted to the kernels before training, and is part of the density.
    Untrained, the layers are the identity, so that training starts from the full-covariance
    Gaussian. It overfits few kernels: watch its score on the test kernels.

    Dinh et al., "Density estimation using Real NVP", ICLR 2017.

    Args:
        kernel_size: k.
        transforms: number of coupling layers; each moves half of the d = k * k weights given the
            others, in turn.
        hidden: width of the two hidden layers of each one's net.

    Raises:
        UserError: the kernel size is 1, so that there is nothing to couple.
    """

    kind = "flow"

    def __init__(self, kernel_size: int, transforms: int, hidden: int) -> None:
        from zuko.flows import RealNVP  # only flows need it
        from zuko.transforms import MonotonicAffineTransform

        super().__init__(kernel_size, transforms=transforms, hidden=hidden)
        check_count("kernel size of a flow", kernel_size, least=2)
        self.flow: Any = RealNVP(
            kernel_size**2,
            transforms=transforms,
            hidden_features=[hidden, hidden],
            univariate=partial(MonotonicAffineTransform, slope=_LEAST_SCALE),
        )
        for transform in self.flow.transform.transforms:
            nn.init.zeros_(transform.hyper[-1].weight)
            nn.init.zeros_(transform.hyper[-1].bias)
            transform.hyper.register_forward_hook(_as_the_input)
        self._made: tuple = (None, None)

    def prepare(self, kernels: Tensor) -> None:
        """Fit the whitening to kernels (n, k, k).

        Raises:
            UserError: all kernels are zero.
        """
        flat = kernels.flatten(1).double()
        covariance = flat.T.cov(correction=0)
        floor = _LEAST_SPREAD * flat.square().mean()
        covariance.diagonal().add_(floor)
        scale, failed = torch.linalg.cholesky_ex(covariance)
        if failed or floor == 0:
            raise UserError(
                f"kernels: a {self.kind} prior needs kernels that are not all zero, found none "
                f"among {len(flat)}; prune the kernels"
            )
        self._set(flat.mean(0), scale)

    @torch.no_grad()
    def _from_noise(self, noise: Tensor, generator: torch.Generator) -> Tensor:
        return self._density().transform.inv(noise)

    def log_prob(self, kernels: Tensor) -> Tensor:
        """Return the log density, in nats (n,), of kernels (n, k, k)."""
        log_density = self._density().log_prob(self._whitened(kernels).to(self.mean))
        return log_density + self.whitening.diagonal().log().sum()

    def _density(self) -> Any:
        # once for each storage: finding the weights that layers move waits for a GPU, and a
        # recorded step must not wait
        if self._made[0] is not self.mean:
            self._made = self.mean, self.flow()
        return self._made[1]


def _as_the_input(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
    return output.to(inputs[0])  # sums of logarithms that half precision would round
