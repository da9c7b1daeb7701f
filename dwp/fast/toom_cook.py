"""Products of polynomials by their values at places (Toom and Cook), for convolutions.

Winograd, "Arithmetic Complexity of Computations", 1980.
"""

import functools
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from dwp.devices import Switch, has_matrix_units

# Where polynomials are evaluated, by how many places there are; the last is infinity. The released
# VAEs' gradients are then within 7e-6 of those in double precision (direct convolutions: 3e-6).
POINTS = {
    5: (0.0, 1.0, -1.0, -2.0),
    7: (0.0, 0.5, -0.5, 1.25, -1.25, -2.5),
    8: (0.0, 0.5, -0.5, 1.0, -1.0, 2.0, -2.0),
}


def evaluation(places: int, coefficients: int) -> Tensor:
    """Return the matrix (places, coefficients) that evaluates a polynomial at the places."""
    points = torch.tensor(POINTS[places], dtype=torch.double)
    infinity = torch.zeros(1, coefficients, dtype=torch.double)
    infinity[0, -1] = 1
    return torch.cat([points[:, None] ** torch.arange(coefficients), infinity])


def valid_convolution(places: int, taps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return matrices K, I and O of two-dimensional valid convolutions of tiles, in float64.

    The outputs (places - taps + 1)^2 of a tile x of places^2 inputs under kernels w of taps^2 are
    O ((K w) * (I x)), each flattened: places^2 products.
    """
    kernel, square = evaluation(places, taps), evaluation(places, places)
    into = torch.linalg.inv(square).T  # the transpose of the full product
    out = evaluation(places, places - taps + 1).T
    return balanced(kernel, into, out)


def balanced(kernel: Tensor, into: Tensor, out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the matrices for two dimensions, the values of inputs all of one scale."""
    scale = into.abs().sum(1, keepdim=True)
    return tuple(torch.kron(m, m) for m in (kernel * scale, into / scale, out))


_matmul = torch.backends.mkldnn.matmul
_precision = Switch(lambda: _matmul.fp32_precision, partial(setattr, _matmul, "fp32_precision"))


def full_width() -> AbstractContextManager[None]:
    """Within the block, let torch's products of float32 use the whole width of AMD's processors.

    Torch asks MKL for them, which on these uses half of it; oneDNN, asked if precision may be
    lower, keeps the precision where there are no matrix units.
    """
    return _precision("bf16") if _is_amd() and not has_matrix_units() else nullcontext()


@functools.cache
def _is_amd() -> bool:
    try:
        return "AuthenticAMD" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
