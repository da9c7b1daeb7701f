"""Random changes of images that leave their class alone."""

import torch
from torch import Tensor
from torch.nn import functional as F

from dwp.seeds import Source, standard_normal


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
