"""The interface of a prior over kernels."""

import os
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from dwp.errors import UserError
from dwp.files import save_tensors
from dwp.priors.kinds import KINDS, Kind


class _Fact:
    """An attribute of classes and instances that stands in the class's `Kind`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, prior: object, owner: Any) -> Any:
        return getattr(KINDS.get(getattr(owner, "kind", ""), Kind("")), self.name)


class KernelPrior(nn.Module):
    """A distribution over k x k kernels; a layer's prior is its product over all kernels.

    A kind of prior subclasses this, is registered in `dwp.priors.KINDS`, and registers its KL
    with `dwp.priors.register_kl`. Its parameters and buffers are its fitted state. `trained`,
    `needs_kernels`, `density`, `kl_settings` and `posterior_kind` are those of its entry in `KINDS`
    (see `dwp.priors.Kind`).

    Attributes:
        kind: the name in `KINDS`.
        kernel_size: k.
        arguments: those that `__init__` was called with, enough to build it again before its state
            is loaded.
    """

    kind: ClassVar[str]
    trained = _Fact("trained")
    needs_kernels = _Fact("needs_kernels")
    density = _Fact("density")
    kl_settings = _Fact("kl_settings")
    posterior_kind = _Fact("posterior")

    def __init__(self, kernel_size: int, **arguments: Any) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.arguments = {"kernel_size": kernel_size, **arguments}

    @property
    def dtype(self) -> torch.dtype:
        """The type of the prior's numbers, and of its samples."""
        state = self.state_dict().values()
        return next((tensor.dtype for tensor in state), torch.get_default_dtype())

    @classmethod
    def fit(cls, kernels: Tensor) -> Self:
        """Return the maximum-likelihood prior of this kind for kernels (n, k, k)."""
        raise NotImplementedError(f"{cls.__name__} is not fitted in closed form")

    def prepare(self, kernels: Tensor) -> None:
        """Set the state that a trained kind takes from kernels (n, k, k) before gradient steps."""

    def loss(self, kernels: Tensor, generator: torch.Generator | int) -> Tensor:
        """Return the loss that fitting minimises, in nats (n,), of kernels (n, k, k)."""
        return -self.log_prob(kernels)

    def sample(self, n: int, generator: torch.Generator | int) -> Tensor:
        """Draw kernels (n, k, k).

        Args:
            n: at least 1.
            generator: on the device of the prior; or a seed, for the draws of a fresh one.

        Raises:
            UserError: the prior is improper and cannot be sampled.
        """
        raise NotImplementedError

    def initial(self, n: int, generator: torch.Generator | int) -> Tensor:
        """Draw kernels (n, k, k) to start a net from: samples, unless a kind has better."""
        return self.sample(n, generator)

    def log_prob(self, kernels: Tensor) -> Tensor:
        """Return the log density, in nats (n,), of kernels (n, k, k).

        Raises:
            UserError: the kind has no tractable density.
        """
        raise UserError(f"prior kind '{self.kind}' has no tractable density")

    def save(self, path: str | os.PathLike) -> None:
        """Write the prior to one `.safetensors` file that `dwp.load_prior` reads."""
        settings = {"kind": self.kind, "arguments": self.arguments}
        save_tensors(path, self.state_dict(), kind="prior", settings=settings)
