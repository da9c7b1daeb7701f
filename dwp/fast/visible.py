"""Images without what a net does not see."""

import copy

import torch
from torch import Tensor, nn

from dwp.fast.door import faster


@torch.no_grad()
def visible(net: nn.Module, images: Tensor) -> Tensor:
    """Return images (n, c, h', w') without the last rows and columns that reach no output of a net.

    Max-pools drop what is left over after their last window, and so the convolutions before them
    need not be computed there: the paper's MNIST net sees 26 x 26 of 28 x 28 pixels. Pixels that
    turn no output of the first image into NaN when they are NaN are not seen. If the net's outputs
    for it are others without them, or random, the images are returned as they are.

    Args:
        net: takes images, those of one run; a copy of it is evaluated, with mean weights.
        images: (n, c, h, w).
    """
    if not (len(images) and images.is_floating_point()):
        return images
    net = copy.deepcopy(net).eval()
    for module in net.modules():
        if hasattr(module, "sampling"):
            module.sampling = False
    image, size = images[:1], list(images.shape[2:])
    # by the plain path, on which a pixel reaches its own outputs only
    with faster(False), torch.random.fork_rng([image.device] if image.is_cuda else []):
        expected = net(image.clone())
        for axis in (0, 1):
            while size[axis] > 1:
                unseen = image.clone()
                unseen.movedim(axis + 2, 0)[size[axis] - 1 :] = torch.nan
                if not net(unseen).isfinite().all():
                    break
                size[axis] -= 1
        height, width = size
        try:
            found = net(image[:, :, :height, :width].clone())
        except RuntimeError:  # it takes no smaller ones
            return images
    same = found.shape == expected.shape and torch.allclose(found, expected, 1e-3, 1e-4)
    return images[:, :, :height, :width] if same else images
