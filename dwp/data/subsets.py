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
    if not 0 <= count <= len(targets):
        raise UserError(f"expected a number of images from 0 to {len(targets)}, found {count}")
    allowed = torch.ones(len(targets), dtype=torch.bool)
    if exclude is not None:
        allowed[exclude] = False
    classes = targets.unique()
    rows = classes[torch.randperm(len(classes), generator=draw)].tolist()
    chosen = torch.empty(count, dtype=torch.int64)
    for turn, label in enumerate(rows):
        members = (targets == label).nonzero().flatten()
        # Excluding after shuffling keeps the draw nearly the same when the excluded change.
        members = members[torch.randperm(len(members), generator=draw)]
        members = members[allowed[members]]
        wanted = len(range(turn, count, len(rows)))
        if wanted > len(members):
            raise UserError(
                f"{count} images need {wanted} of class {label}, but only {len(members)} are "
                "available; ask for fewer"
            )
        chosen[turn :: len(rows)] = members[:wanted]
    return chosen


def few_shot_subset(
    targets: torch.Tensor, n: int, split: int, validation: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw the training and the validation part of a split, both stratified.

    The validation part is the same for every n and split, and no training part contains it. The
    training parts of a split are nested: a smaller one is the beginning of a larger one.

    Args:
        targets: labels (m,) of the whole training set.
        n: number of training examples.
        split: which draw; draws of different splits are unrelated.
        validation: number of validation examples.

    Returns:
        Indices (n,) and (validation,), without repetition, classes in turn.

    Raises:
        UserError: `n` is less than 1, or more than some class allows.
    """
    if n < 1:
        raise UserError(f"expected a subset of at least 1 image, found {n}")
    held_out = balanced_order(targets, validation, generator("validation", 0))
    return balanced_order(targets, n, generator("subset", split), held_out), held_out
