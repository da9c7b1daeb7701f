"""Random changes of training images and labels."""

import torch
from torch import Tensor
from torch.nn import functional as F

from dwp.data.tensors import to_unit
from dwp.seeds import Source, generator, standard_normal

SHIFT = 1.0  # pixels
WARP = 0.1


def distort(images: Tensor, noise: Source, *, shift: float, warp: float) -> Tensor:
    """Move and warp each image by a random affine map of its own, bilinearly, zeros around it.

    Args:
        images: (n, c, h, w).
        noise: where the maps are drawn from (see `dwp.seeds.standard_normal`).
        shift: standard deviation of the move along each axis, in pixels.
        warp: standard deviation of each of the four numbers of the linear part about the identity's
            (0.1: turns of 4 degrees, sizes and shears that differ by a tenth).
    """
    draws = standard_normal((len(images), 2, 3), noise, images)
    # an image spans 2 units; nothing is brought to a GPU, where the step is recorded
    right, down = (2 * shift * draws[:, :, 2:]).split(1, 1)
    moves = torch.cat([right / images.shape[3], down / images.shape[2]], 1)
    linear = torch.eye(2, device=images.device, dtype=images.dtype) + warp * draws[:, :, :2]
    grid = F.affine_grid(torch.cat([linear, moves], 2), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def enlarge(images: Tensor, targets: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return a training set with fixed copies of its images added, moved by `SHIFT` and `WARP`.

    Each image is copied as often as any other, up to once.

    Args:
        images: uint8 (n, c, h, w).
        targets: classes (n,).
        count: images of the result, at least n.

    Returns:
        uint8 (count, c, h, w), the images themselves first, and classes (count,).
    """
    draw, more = generator("enlarge"), count - len(images)
    rounds = [torch.randperm(len(images), generator=draw) for _ in range(0, more, len(images))]
    copied = torch.cat([torch.arange(len(images)), *rounds])[:count]
    parts = [images]
    for chosen in copied[len(images) :].split(10_000):  # to keep the memory small
        moved = distort(to_unit(images[chosen]), draw, shift=SHIFT, warp=WARP)
        parts.append((255 * moved).round().to(torch.uint8))
    return torch.cat(parts), targets[copied]


def redraw_labels(targets: Tensor, share: float) -> Tensor:
    """Return classes (n,) of which a fixed share is redrawn, evenly from those that occur."""
    draw, classes = generator("label noise"), targets.unique()
    chosen = torch.randperm(len(targets), generator=draw)[: round(share * len(targets))]
    drawn = classes[torch.randint(len(classes), chosen.shape, generator=draw)]
    return targets.index_put((chosen,), drawn)
