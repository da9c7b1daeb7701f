"""What the programs that train have in common: their options, and runs one after another."""

import argparse
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dwp.errors import deadline_after
from dwp.files import digest
from dwp.records import json_option
from dwp.study.runs import CHECKPOINT, kept, naming, run_folder


@dataclass(frozen=True)
class Run:
    """A run that is not finished: what tells it from the others, and where its files go."""

    places: Mapping[str, Any]
    folder: Path
    settings: Mapping[str, Any]
    label: str


def training_options(description: str, *layers: tuple[str, str]) -> argparse.ArgumentParser:
    """Return a parser of the options that all programs take which train the runs of a job.

    Args:
        description: what the program does.
        *layers: name of an option that takes LAYER=FILE of several layers, and its explanation.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", required=True)
    for name, explanation in layers:
        parser.add_argument(f"--{name}", nargs="*", default=[], help=f"LAYER=FILE {explanation}")
    parser.add_argument("--settings", type=json_option("--settings"), required=True)
    parser.add_argument("--code", required=True, help="what other code made is made again")
    parser.add_argument("--folder", required=True, help="folder of a run, with {places}")
    parser.add_argument(
        "--runs", type=json_option("--runs", list), required=True, help="places of each run"
    )
    parser.add_argument("--device", default="cpu", help="auto, cpu or cuda")
    parser.add_argument("--checkpoint-minutes", type=float, default=5, help="from one to the next")
    parser.add_argument("--minutes", type=float, help="stop with a checkpoint after so many")
    return parser


def train_unfinished(
    arguments: argparse.Namespace,
    names: Sequence[str],
    train: Callable[..., None],
    *,
    depth: int,
    layers: Iterable[str] = (),
    groups: Iterable[Sequence[Mapping[str, Any]]] | None = None,
) -> None:
    """Train the runs of a job that are not finished, and keep each as it ends (see `dwp.study.runs`).

    Args:
        arguments: what the parser of `training_options` read.
        names: of the files of a run.
        train: called with the unfinished runs of a group and, by name, `checkpoint`,
            `checkpoint_seconds`, `deadline`, `identity` and `label` as training takes them (see
            `dwp.training.loop.optimise`); writes the files of each run to its folder.
        depth: how many of the last parts of a run's folder name it to the user.
        layers: LAYER=FILE of all that the training reads beside the data.
        groups: the runs, in the groups that train together; None: each alone.
    """
    deadline = deadline_after(arguments.minutes)
    inputs = digest([arguments.data, *(layer.partition("=")[2] for layer in layers)])
    for group in groups or [[places] for places in arguments.runs]:
        with contextlib.ExitStack() as stack:
            todo, identities = [], []
            for places in group:
                folder = run_folder(arguments.folder, places)
                label = " ".join(folder.parts[-depth:])
                settings = {**arguments.settings, **places}
                identity = {**settings, "code": arguments.code, "inputs": inputs}
                place = stack.enter_context(kept(folder, names, identity))
                if place is None:
                    print(f"{label}: finished before")
                else:
                    todo.append(Run(places, place, settings, label))
                    identities.append(identity)
            if not todo:
                continue
            label = todo[0].label
            if len(todo) > 1:
                label = f"{label} and {len(todo) - 1} others"
            with naming(label):
                train(
                    todo,
                    checkpoint=todo[0].folder.parent / CHECKPOINT,
                    checkpoint_seconds=60 * arguments.checkpoint_minutes,
                    deadline=deadline,
                    identity={"runs": identities},
                    label=label,
                )
