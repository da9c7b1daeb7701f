"""Fitting a prior to kernels of one's own."""

from numbers import Integral, Real
from types import SimpleNamespace
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from dwp.errors import UserError, check_count, check_one_of
from dwp.kernels import check_kernels
from dwp.priors import KINDS, Hyperparameter, KernelPrior, prior_class
from dwp.seeds import check_draws
from dwp.training import prior as studies

_STEPS, _MOST_EPOCHS = 10_000, 1000
_TRAINING = {
    "epochs": Hyperparameter(int, default=None),
    "batch_size": Hyperparameter(int),
    "learning_rate": Hyperparameter(float),
}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "gaussian-mixture": {"components": 10},
    "flow": {"transforms": 6, "hidden": 64},
}
_OF_VAES = {5: {"hidden": 64, "latent": 4}}  # by kernel size: those of the paper's configs
_OF_OTHER_VAES = {"hidden": 32, "latent": 2}


def fit_prior(
    kernels: ArrayLike | Tensor,
    kind: str = "vae",
    *,
    epochs: int | None = None,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    generator: torch.Generator | int = 0,
    device: str = "cpu",
    progress: bool = True,
    **hyperparameters: Any,
) -> KernelPrior:
    """Return a prior fitted to kernels: the Deep Weight Prior, unless another kind is asked for.

    A `vae` or a `flow` is trained by gradient steps, other kinds are fitted in closed form or by
    expectation-maximisation. Kernels that a net does not use are almost 0: drop them first (see
    `dwp.kernels.norms`). What global generators draw next does not change.

    Args:
        kernels: (n, k, k) or (n, 1, k, k), a tensor or an array of NumPy; see
            `dwp.kernels.collect`. A `vae` takes k of 3, 5, 7 and 16.
        kind: a key of `dwp.priors.KINDS`.
        epochs: passes over the kernels; None: as many as make 10,000 steps, at most 1,000. That
            takes a CPU minutes.
        batch_size: kernels a step.
        learning_rate: step size of Adam, which falls linearly to 0.
        generator: of weights, batches and noise: a generator or a seed.
        device: where to train.
        progress: show the steps and the loss, in nats a kernel, if the package tqdm is there.
        **hyperparameters: of the kind. Defaults: of a `vae`, `hidden` 32 and `latent` 2, for 5 x 5
            kernels 64 and 4; of a `gaussian-mixture`, 10 `components`; of a `flow`, 6 `transforms`
            and `hidden` 64.

    Returns:
        The prior, frozen and on the CPU.

    Raises:
        UserError: the kind or a hyperparameter is unknown, a number is out of range, or the kernels
            do not suit the kind or are too few.
    """
    kernels = check_kernels(kernels)
    prior_class(kind)  # or it is refused
    known = KINDS[kind].hyperparameters
    given = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    check_one_of(kind, hyperparameters, known or ["none"])
    for name, value in (given | hyperparameters).items():
        fact = (_TRAINING | known)[name]
        if value is None is fact.default:
            continue
        if fact.type is int:
            check_count(name, value, least=int(fact.positive))
        elif not (isinstance(value, Real) and value > 0):
            raise UserError(f"{name}: expected a number above 0, found {value}")
    if isinstance(generator, Integral):
        seed = int(generator)
    else:
        source = check_draws(1, generator)
        seed = int(torch.randint(2**62, (), generator=source, device=source.device))
    size = kernels.shape[-1]
    own = _OF_VAES.get(size, _OF_OTHER_VAES) if kind == "vae" else _DEFAULTS.get(kind, {})
    own = own | ({"seed": seed % 2**32} if "seed" in known else {}) | hyperparameters
    per_epoch = -(-len(kernels) // batch_size)
    training = SimpleNamespace(
        epochs=epochs or min(-(-_STEPS // per_epoch), _MOST_EPOCHS),
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        quantile=0,
        kernels=None,
        precision="float32",
    )
    how = {"device": device, "label": f"{kind}, {size} x {size}", "progress": progress}
    return studies.fit_prior(kind, size, kernels, own, training, **how)[0].cpu()
