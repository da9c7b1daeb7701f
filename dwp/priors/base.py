"""The interface of a prior over kernels."""

import inspect
import os
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dwp.errors import UserError
from dwp.files import save_tensors


class KernelPrior(nn.Module):
    """A distribution over k x k kernels; a layer's prior is its product over all kernels.

    A kind of prior subclasses this, is registered in `dwp.priors.KINDS`, and registers its KL
    with `dwp.priors.kl.register_kl`. Its parameters and buffers are its fitted state.

    Attributes:
        kind: the name in `KINDS`.
        trained: whether the prior is fitted by gradient steps on `loss` (else by `fit`).
        iterative: whether `fit` iterates, so that its time is worth planning.
        packages: those that its training needs beside torch and numpy.
        needs_kernels: whether there is anything to fit.
        density: "exact" if `log_prob` is tractable, "bound" if only bounds of it are, None if there
            is no density to score kernels by.
        kl_settings: the fields of `dwp.priors.Estimation` that its KLs read, as settings; nothing
            runs again for another value of the rest.
        posterior_kind: the posterior that goes with the prior ("additive" or "multiplicative").
        arguments: what `__init__` was called with, enough to build it again before its state is
            loaded.
    """

    kind: ClassVar[str]
    trained: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ()
    iterative: ClassVar[bool] = False
    needs_kernels: ClassVar[bool] = True
    density: ClassVar[str | None] = "exact"
    kl_settings: ClassVar[tuple[str, ...]] = ("kl_estimator", "kl_bound", "latent_samples")
    posterior_kind: ClassVar[str] = "additive"

    def __init__(self, kernel_size: int, **arguments: Any) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.arguments = {"kernel_size": kernel_size, **arguments}

    @classmethod
    def choices(cls) -> dict[str, inspect.Parameter]:
        """Return what a user chooses for the kind: name, type, and default of what may be left out.

        The parameters of the class but for the kernel size if it is trained by gradient steps, else
        those of `fit` but for the kernels.
        """
        _, *chosen = inspect.signature(cls if cls.trained else cls.fit).parameters.values()
        return {parameter.name: parameter for parameter in chosen}

    @classmethod
    def fit(cls, kernels: Tensor) -> "KernelPrior":
        """Return the maximum-likelihood prior of this kind for kernels (n, k, k)."""
        raise NotImplementedError(f"{cls.__name__} is not fitted in closed form")

    def prepare(self, kernels: Tensor) -> None:
        """Set what a trained kind takes from its kernels (n, k, k) before the gradient steps."""

    def loss(self, kernels: Tensor, generator: torch.Generator) -> Tensor:
        """Return what fitting minimises, in nats per kernel (n,), for kernels (n, k, k)."""
        return -self.log_prob(kernels)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw kernels (n, k, k).

        Raises:
            UserError: the prior is improper and cannot be sampled.
        """
        raise NotImplementedError

    def initial(self, n: int, generator: torch.Generator) -> Tensor:
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
