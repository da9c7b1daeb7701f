"""Stratified draws of indices. They depend on their arguments only."""

import torch

from dwp.errors import UserError
from dwp.seeds import generator


def balanced_order(
    targets: torch.Tensor, count: int, draw: torch.Generator, exclude: torch.Tensor | None = None
) -> torch.Tensor:
    """Return `count` indices in random order, going round the classes.

    Args:
        targets: classes, integer, shape (n,).
        count: how many; each class gives as many, up to one.
        draw: source of randomness.
        exclude: indices that must not be drawn, shape (m,).

    Returns:
        int64, shape (count,). For the same `draw` a smaller count gives a prefix.

    Raises:
        UserError: some class has too few images, or `count` is negative.
    """
    if count < 0:
        raise UserError(f"expected a number of images from 0 up, found {count}")
    if count > 0 and len(targets) == 0:
        raise UserError(f"expected at least {count} images to draw from, found none")
    allowed = torch.ones(len(targets), dtype=torch.bool)
    if exclude is not None:
        allowed[exclude] = False
    classes = targets.unique()
    rows = classes[torch.randperm(len(classes), generator=draw)].tolist()
    chosen = torch.empty(count, dtype=torch.int64)
    for place, label in enumerate(rows):
        members = (targets == label).nonzero().flatten()
        # Excluding after shuffling keeps the draw nearly the same when the excluded change.
        members = members[torch.randperm(len(members), generator=draw)]
        members = members[allowed[members]]
        wanted = len(range(place, count, len(rows)))
        if wanted > len(members):
            raise UserError(
                f"{count} images need {wanted} of class {label}, but only {len(members)} are "
                "available; ask for fewer"
            )
        chosen[place :: len(rows)] = members[:wanted]
    return chosen


def validation_indices(targets: torch.Tensor, size: int, seed: int) -> torch.Tensor:
    """Draw a stratified validation part of a train set.

    Args:
        targets: classes of the train set, integer, shape (n,).
        size: how many images; class counts differ by at most one.
        seed: which draw.

    Returns:
        Indices, int64, shape (size,), without repetition.

    Raises:
        UserError: some class has too few images, or `size` is negative.
    """
    return balanced_order(targets, size, generator("validation", seed))


def stratified_subset(
    targets: torch.Tensor, n: int, split: int, exclude: torch.Tensor | None = None
) -> torch.Tensor:
    """Draw a stratified subset of a train set.

    For one `split` and `exclude` the subsets are nested: that of a smaller `n` is the beginning
    of that of a larger.

    Args:
        targets: classes of the train set, integer, shape (n_train,).
        n: how many images; class counts differ by at most one.
        split: which draw; draws of different splits are unrelated.
        exclude: indices never drawn (the validation part), shape (m,).

    Returns:
        Indices, int64, shape (n,), without repetition, classes in turn.

    Raises:
        UserError: `n` is less than 1, or more than some class allows.
    """
    if n < 1:
        raise UserError(f"expected a subset of at least 1 image, found {n}")
    return balanced_order(targets, n, generator("subset", split), exclude)


def few_shot_subset(
    targets: torch.Tensor, n: int, split: int, validation: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the training indices (n,) and the validation indices (validation,) of a split.

    The validation part is the same for every n and split, and no training subset contains it.

    Args:
        targets: labels (m,) of the whole training set.
        n: number of training examples.
        split: which draw.
        validation: number of validation examples.
    """
    held_out = validation_indices(targets, validation, 0)
    return stratified_subset(targets, n, split, exclude=held_out), held_out
