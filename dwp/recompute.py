"""Draws that `torch.utils.checkpoint` repeats when it computes a part of a net again.

It restores the state of torch's own generator only. Other generators are put back here, to where
they were in the first pass.
"""

import sys
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch

from dwp.errors import UserError


def repeatable(generator: torch.Generator) -> torch.Generator:
    """Return the generator to draw from next: itself, or in a repeated pass a copy as it was.

    To be called before every draw.

    Raises:
        UserError: the pass is repeated, but by other code than `torch.utils.checkpoint`.
    """
    in_backward = torch._C._current_graph_task_id() != -1
    source, first = None if in_backward else generator, []
    for region, again in _regions():
        if again:
            source = _as_before(region, generator)
            break
        first.append(vars(region).setdefault("_dwp_states", defaultdict(list)))
    if source is None:
        raise UserError(
            "generator: repeat a pass by torch.utils.checkpoint, or set the generator to None"
        )
    for states in first:
        states[generator].append(source.get_state())
    return source


def _as_before(region: Any, generator: torch.Generator) -> torch.Generator | None:
    """Return a generator in the state before the next draw of the first pass through a region."""
    states = vars(region).get("_dwp_states", {}).get(generator, [])
    # each backward pass repeats the whole region
    key = generator, torch._C._current_graph_task_id()
    left = vars(region).setdefault("_dwp_left", {}).setdefault(key, iter(states))
    state = next(left, None)
    return None if state is None else torch.Generator(generator.device).set_state(state)


def _regions() -> Iterator[tuple[Any, bool]]:
    """Yield the checkpointed regions that are being computed, innermost first, and whether again.

    A region is the object that torch keeps for one from its first pass to the last; it is known by
    the names of torch's own variables, for there is no other way.
    """
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_globals.get("__name__") == "torch.utils.checkpoint":
            function, names = frame.f_code.co_name, frame.f_locals
            if function == "checkpoint" and "gen" in names:
                region = names["gen"].gi_frame.f_locals.get("new_frame")
                if region is not None:
                    yield region, False
            elif function in ("forward", "backward") and "ctx" in names:  # use_reentrant=True
                yield names["ctx"], function == "backward"
            elif function == "unpack_hook" and "frame" in names:
                yield names["frame"], True
        frame = frame.f_back
