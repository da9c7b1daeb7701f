"""Products of polynomials by their values at points (Toom and Cook), for convolutions.

Winograd, "Arithmetic Complexity of Computations", 1980.
"""

import functools
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor

from dwp.devices import Switch, has_matrix_units

# Where polynomials are evaluated, by the number of points; the last is infinity. The released
# VAEs' gradients are then within 7e-6 of those in double precision (direct convolutions: 3e-6).
POINTS = {
    5: (0.0, 1.0, -1.0, -2.0),
    7: (0.0, 0.5, -0.5, 1.25, -1.25, -2.5),
    8: (0.0, 0.5, -0.5, 1.0, -1.0, 2.0, -2.0),
}


def _evaluation(count: int, coefficients: int) -> Tensor:
    """Return the matrix (count, coefficients) that evaluates a polynomial at `count` points."""
    points = torch.tensor(POINTS[count], dtype=torch.double)
    infinity = torch.zeros(1, coefficients, dtype=torch.double)
    infinity[0, -1] = 1
    return torch.cat([points[:, None] ** torch.arange(coefficients), infinity])


def matrices(size: int, taps: int, padding: int = 0, full: bool = False) -> tuple[Tensor, ...]:
    """Return matrices K, I and O of two-dimensional convolutions, in float64.

    The outputs of maps x of size^2 pixels under kernels w of taps^2 are O ((K w) * (I x)), each
    flattened: as many products as there are points, squared.

    Args:
        size: height and width of the maps.
        taps: height and width of the kernels.
        padding: zeros around the maps.
        full: whether it is the transposed convolution, without padding.
    """
    points = size + taps - 1 if full else size + 2 * padding
    kernel, inverse = _evaluation(points, taps), torch.linalg.inv(_evaluation(points, points))
    if full:
        into, out = _evaluation(points, size), inverse
    else:  # the transpose of the full product
        into, out = inverse.T[:, padding : padding + size], _evaluation(points, points - taps + 1).T
    scale = into.abs().sum(1, keepdim=True)  # values of inputs all of one scale
    return tuple(torch.kron(m, m) for m in (kernel * scale, into / scale, out))


_matmul = torch.backends.mkldnn.matmul
_precision = Switch(
    lambda: _matmul.fp32_precision, lambda value: setattr(_matmul, "fp32_precision", value)
)


def full_width() -> AbstractContextManager[None]:
    """Within the block, let torch's products of float32 use the whole width of AMD's processors.

    Torch asks MKL for them, which on these uses half of it; oneDNN, asked if precision may be
    lower, keeps the precision where there are no matrix units.
    """
    return _precision("bf16") if _is_amd() and not has_matrix_units() else nullcontext()


@functools.cache
def _is_amd() -> bool:
    cpu = Path("/proc/cpuinfo")
    return cpu.is_file() and "AuthenticAMD" in cpu.read_text()
