"""Random changes of training images."""

import pytest
import torch

from dwp.data.distort import distort
from dwp.seeds import generator


def spots(n: int, size: int = 29) -> torch.Tensor:
    """Return images (n, 1, size, size) of a bright spot in the middle and of one beside it."""
    y, x = torch.meshgrid(*2 * [torch.arange(size) - size // 2], indexing="ij")
    return torch.exp(-((x - 4) ** 2 + y**2) / 4.0).expand(n, 1, size, size).contiguous()


def centre(images: torch.Tensor) -> torch.Tensor:
    """Return the centre of mass (n, 2) of images, in pixels from the middle: x, y."""
    places = torch.arange(images.shape[-1]) - images.shape[-1] // 2
    mass = images.sum((1, 2, 3))
    x, y = (images.sum((1, axis)) @ places.float() for axis in (2, 3))
    return torch.stack([x / mass, y / mass], 1)


def test_nothing_changes_without_a_width():
    images = torch.rand(5, 3, 8, 9, generator=generator("images"))
    same = distort(images, generator("maps"), shift=0, warp=0)
    torch.testing.assert_close(same, images, atol=1e-5, rtol=0)


def test_moves_have_the_width_asked_for():
    moved = centre(distort(spots(2000), generator("maps"), shift=1.5, warp=0))
    assert moved.mean(0) == pytest.approx([4, 0], abs=0.15)
    assert moved.std(0) == pytest.approx([1.5, 1.5], rel=0.06)


def test_a_warp_moves_by_its_share_of_the_distance_from_the_middle():
    moved = centre(distort(spots(2000), generator("maps"), shift=0, warp=0.05))
    assert moved.std(0) == pytest.approx([0.2, 0.2], rel=0.08)
    middle = centre(distort(spots(2000).roll(-4, 3), generator("maps"), shift=0, warp=0.05))
    assert middle.abs().max() < 0.02


def test_images_of_a_run_change_as_they_would_alone():
    images = torch.rand(8, 1, 9, 9, generator=generator("images"))
    both = distort(images, [generator(0), generator(1)], shift=1, warp=0.1)
    alone = distort(images[4:], generator(1), shift=1, warp=0.1)
    torch.testing.assert_close(both[4:], alone)
    assert not torch.allclose(both[:4], distort(images[:4], generator(1), shift=1, warp=0.1))


def test_what_leaves_the_image_is_lost_and_zeros_come_in():
    moved = distort(torch.ones(50, 1, 6, 6), generator("maps"), shift=20, warp=0)
    assert moved.min() == 0
    assert moved.max() <= 1
    assert (moved.sum((1, 2, 3)) < 1e-3).any()
