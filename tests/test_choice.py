"""Parts of data sets: choices, few-shot subsets, and random changes of training images."""

import itertools
import re

import pytest
import torch
from helpers import refusal

from dwp.data.choice import choose, describe, share_images
from dwp.data.digits import Digits
from dwp.data.distort import distort
from dwp.data.images import ImageDataset
from dwp.data.subsets import few_shot_subset
from dwp.seeds import generator
from dwp.study.settings import DataChoice

# Choices


class Numbered(ImageDataset):
    """Images that hold their number, in turn of the classes 0, 1, 2, 3."""

    image_shape, classes = (1, 1, 1), tuple("abcd")

    def __init__(self, first: int, n: int) -> None:
        self._numbers = torch.arange(first, first + n)
        super().__init__()

    def _read(self, train: bool, download: bool) -> None:
        self.data = self._numbers.to(torch.uint8)[:, None, None]
        self.targets = self._numbers % 4


def chosen(**choice) -> list[list[int]]:
    """Numbers and targets of the training part, then of the test part, of 40 and 8 images."""
    choice = DataChoice(dataset="numbered", **choice)
    images = choose(choice, Numbered(0, 40), Numbered(100, 8))
    return [tensor.flatten().tolist() for tensor in vars(images).values()]


def test_choices():
    whole = [*range(40)], [i % 4 for i in range(40)], [*range(100, 108)], [0, 1, 2, 3] * 2
    assert chosen() == list(whole)
    train, targets, test, test_targets = chosen(classes=[3, 1])
    assert train == [i for i in range(40) if i % 4 in (1, 3)]
    assert targets == [{3: 0, 1: 1}[i % 4] for i in train]
    assert test == [101, 103, 105, 107]
    assert test_targets == [1, 0, 1, 0]
    assert chosen(train=[10, 14]) == [[10, 11, 12, 13], [2, 3, 0, 1], *whole[2:]]
    assert chosen(train=[0, 4], test=[36, 40])[2:] == [[36, 37, 38, 39], [0, 1, 2, 3]]
    assert chosen(train=[4, 9], classes=[0, 1])[:2] == [[4, 5, 8], [0, 1, 0]]
    words = describe(DataChoice(dataset="x", classes=[1, 2], label_noise=0.1))
    assert words == "x, classes 1 2, label noise 0.1"


def test_a_training_part_is_enlarged_and_gets_wrong_labels_once():
    data = Digits(train=True), Digits(train=False)

    def take(**choice):
        return choose(DataChoice(dataset="digits", train=[0, 60], **choice), *data)

    plain, large, again = take(), take(enlarge=150), take(enlarge=150)
    assert torch.equal(large.train_images, again.train_images)
    assert torch.equal(large.train_images[:60], plain.train_images)
    assert large.train_images.shape == (150, 1, 28, 28)
    assert sorted(large.train_targets[60:120].tolist()) == sorted(plain.train_targets.tolist())
    # Copies are near their images, and no two the same.
    copies = large.train_images[60:].float().flatten(1)
    nearest = torch.cdist(copies, plain.train_images.float().flatten(1)).min(1)
    assert (plain.train_targets[nearest.indices] == large.train_targets[60:]).float().mean() > 0.8
    assert len(large.train_images.unique(dim=0)) == 150

    noisy = take(enlarge=150, label_noise=0.4)
    assert torch.equal(noisy.train_images, large.train_images)
    wrong = (noisy.train_targets != large.train_targets).sum()
    assert 40 < wrong <= 60  # of 60 redrawn a tenth stays right
    assert set(noisy.train_targets.tolist()) == set(range(10))
    assert torch.equal(noisy.test_images, plain.test_images)
    assert torch.equal(noisy.test_targets, plain.test_targets)


def test_disjoint_choices_share_nothing_and_others_may():
    def shared(name, first, other, second):
        return share_images(DataChoice(dataset=name, **first), DataChoice(dataset=other, **second))

    choices = [
        {},
        *({"classes": c} for c in ([0, 1], [2, 3], [1, 2])),
        {"train": [0, 10], "test": [10, 20]},
        {"train": [20, 40]},
        {"train": [10, 20], "test": [0, 10]},
        {"train": [0, 10]},
        {"train": [0, 10], "test": [10, 20], "classes": [0, 1]},
    ]
    for first, second in itertools.product(choices, repeat=2):
        numbers = [{*train, *test} for train, _, test, _ in (chosen(**first), chosen(**second))]
        assert shared("a", first, "a", second) is bool(numbers[0] & numbers[1])
        assert not shared("a", first, "b", second)
    assert shared("notmnist", {}, "notmnist-large", {"train": [0, 9]})
    assert not shared("notmnist", {}, "mnist", {})


# Subsets

TARGETS = torch.arange(1000).remainder(10)[torch.randperm(1000, generator=torch.Generator())]


@pytest.mark.parametrize("n", [1, 7, 55, 800])
def test_subsets_are_balanced_nested_and_apart_from_the_validation_part(n):
    chosen, held_out = few_shot_subset(TARGETS, n, 3, 200)
    assert (chosen.shape, chosen.dtype) == ((n,), torch.int64)
    assert len(chosen.unique()) == n
    counts = TARGETS[chosen].bincount(minlength=10)
    assert counts.max() - counts.min() <= 1
    assert TARGETS[held_out].bincount().tolist() == [20] * 10
    assert not set(chosen.tolist()) & set(held_out.tolist())
    assert torch.equal(few_shot_subset(TARGETS, 800, 3, 200)[0][:n], chosen)


def test_draws_depend_on_their_arguments_only():
    torch.manual_seed(0)
    splits = [few_shot_subset(TARGETS, 50, split, 50) for split in range(5)]
    torch.manual_seed(1)
    assert all(map(torch.equal, few_shot_subset(TARGETS, 50, 0, 50), splits[0]))
    assert len({tuple(chosen.tolist()) for chosen, _ in splits}) == 5
    assert len({tuple(held_out.tolist()) for _, held_out in splits}) == 1
    assert len({int(TARGETS[few_shot_subset(TARGETS, 1, split, 0)[0]]) for split in range(30)}) > 3


def subset(n: int, validation: int):
    return few_shot_subset(TARGETS, n, 0, validation)


@pytest.mark.parametrize(
    ("draw", "options", "message"),
    [
        (chosen, {"train": [30, 41]}, "numbered, train 30 41: expected train to end at 40"),
        (chosen, {"train": [0, 4], "test": [39, 50]}, "expected test to end at 40"),
        (chosen, {"train": [0, 2], "classes": [0, 3]}, r"no train images of the classes \[3\]"),
        (chosen, {"train": [0, 2]}, r"no train images of the classes \[2, 3\]"),
        (chosen, {"enlarge": 39}, "expected enlarge from 40 up"),
        (subset, {"n": 810, "validation": 200}, "810 images need 81 .* only 80 .*; ask for fewer"),
        (subset, {"n": 1, "validation": 1001}, "from 0 to 1000, found 1001"),
        (subset, {"n": 0, "validation": 0}, "at least 1"),
        (subset, {"n": -1, "validation": 0}, "at least 1"),
    ],
)
def test_impossible_choices_and_subsets_are_refused(draw, options, message):
    assert re.search(message, refusal(draw, **options))


# Changes of images


def spots(n: int, size: int = 29) -> torch.Tensor:
    """Return images (n, 1, size, size) of a bright spot, 4 pixels to the right of the middle."""
    y, x = torch.meshgrid(*2 * [torch.arange(size) - size // 2], indexing="ij")
    return torch.exp(-((x - 4) ** 2 + y**2) / 4.0).expand(n, 1, size, size).contiguous()


def centre(images: torch.Tensor) -> torch.Tensor:
    """Return the centre of mass (n, 2) of images, in pixels from the middle: x, y."""
    positions = torch.arange(images.shape[-1]) - images.shape[-1] // 2
    mass = images.sum((1, 2, 3))
    x, y = (images.sum((1, axis)) @ positions.float() for axis in (2, 3))
    return torch.stack([x / mass, y / mass], 1)


def test_images_move_by_the_shift_and_by_the_warp_times_their_distance_from_the_middle():
    images = torch.rand(5, 3, 8, 9, generator=generator("images"))
    same = distort(images, generator("maps"), shift=0, warp=0)
    torch.testing.assert_close(same, images, atol=1e-5, rtol=0)
    moved = centre(distort(spots(2000), generator("maps"), shift=1.5, warp=0))
    assert moved.mean(0) == pytest.approx([4, 0], abs=0.15)
    assert moved.std(0) == pytest.approx([1.5, 1.5], rel=0.06)
    moved = centre(distort(spots(2000), generator("maps"), shift=0, warp=0.05))
    assert moved.std(0) == pytest.approx([0.2, 0.2], rel=0.08)
    middle = centre(distort(spots(2000).roll(-4, 3), generator("maps"), shift=0, warp=0.05))
    assert middle.abs().max() < 0.02


def test_what_leaves_the_image_is_lost_and_zeros_come_in():
    moved = distort(torch.ones(50, 1, 6, 6), generator("maps"), shift=20, warp=0)
    assert moved.min() == 0
    assert moved.max() <= 1
    assert (moved.sum((1, 2, 3)) < 1e-3).any()
