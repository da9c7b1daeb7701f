"""Results that depend on nothing outside: defaults and global generators of the process."""

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch

from dwp.fast import faster
from dwp.seeds import derive_seed


def seed_globally(*parts: object) -> None:
    """Seed the global generators of torch, numpy and Python with `derive_seed(*parts)`."""
    seed = derive_seed(*parts)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed is slow where CUDA is not used
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 the global one
    random.seed(seed)


@contextlib.contextmanager
def own_randomness() -> Iterator[None]:
    """Within the block, draw from global generators as you like; after it they are as before."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    cuda = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    try:
        with torch.random.fork_rng(list(cuda)):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """Within the block, a training or a test depends on its arguments only, and changes no others.

    New tensors are of float32 and on the CPU by default, gradients are computed, global generators
    have a seed, and the fast paths are taken (see `dwp.fast`). After it all is as before.
    """
    dtype, elsewhere = torch.get_default_dtype(), torch.get_default_device().type != "cpu"
    torch.set_default_dtype(torch.float32)
    try:
        device = torch.device("cpu") if elsewhere else contextlib.nullcontext()
        with own_randomness(), device, torch.enable_grad(), faster():
            seed_globally("isolated")
            yield
    finally:
        torch.set_default_dtype(dtype)
