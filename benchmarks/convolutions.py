"""Time a convolution on a CPU three ways: torch's in float32 and in bfloat16, and by tiles.

Prints a table of milliseconds for 250 images, forward and with the gradients: which one
`dwp.fast.convolve` should take where.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from dwp.fast.tiles import by_tiles, least_share
from dwp.fast.toom_cook import full_width
from dwp.study.study import JOB_ENVIRONMENT

from run import process, timed  # isort: skip

# input and output channels, pixels across the inputs, kernel size
LAYERS = (
    (16, 16, 10, 5),
    (32, 32, 13, 5),
    (32, 128, 10, 5),
    (64, 64, 10, 5),
    (64, 128, 10, 5),
    (128, 128, 10, 5),
    (256, 512, 10, 5),
    (64, 64, 16, 3),
    (64, 64, 14, 7),
)
WAYS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], torch.dtype]] = {
    "torch": (F.conv2d, torch.float32),
    "bfloat16": (F.conv2d, torch.bfloat16),
    "tiles": (lambda inputs, weight: by_tiles(inputs, weight, None), torch.float32),
}


def measure(way: str, inputs: int, outputs: int, size: int, taps: int) -> str:
    """Return the times of a way, forward and with gradients, as text."""
    convolution, dtype = WAYS[way]
    maps = torch.randn(250, inputs, size, size, dtype=dtype)
    maps = maps.contiguous(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(outputs, inputs, taps, taps, dtype=dtype)
    weight = weight.contiguous(memory_format=torch.channels_last).requires_grad_()
    gradient = torch.ones_like(convolution(maps, weight))

    def both() -> None:
        torch.autograd.grad(convolution(maps, weight), (maps, weight), gradient)

    with full_width():
        with torch.no_grad():
            convolution(maps, weight)
            forward = timed(lambda: convolution(maps, weight))
        return f"{1e3 * forward:.1f}, {1e3 * timed(both):.1f}"


def main() -> None:
    print("| channels, pixels, kernel | products |", " | ".join(WAYS), "|")
    print("| --- " + "| --: " * (1 + len(WAYS)) + "|")
    for layer in LAYERS:
        inputs, outputs, size, taps = layer
        share, _ = least_share((outputs, inputs, taps, taps), *2 * (size - taps + 1,))
        with process(JOB_ENVIRONMENT) as call:
            cells = [call(measure, way, *layer) for way in WAYS]
        name = f"{inputs} to {outputs}, {size}, {taps}"
        print(f"| {name} | {share:.2f} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
