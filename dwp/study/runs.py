"""The runs of a batch: each is kept as it ends, so that no later job trains it again."""

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor

from dwp.devices import choose_device
from dwp.errors import UserError, deadline_after
from dwp.files import digest, load_tensors, save_tensors, write_csv
from dwp.study.settings import Settings

KEPT = ".runs"
"""The folder of finished runs, in that of their cell."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finished:
    """A finished run.

    Attributes:
        run: its grid columns in the cell, such as split and seed.
        tensors: the state of the net.
        records: over time: dictionaries with `step` and numbers by name.
        metrics: at the end: numbers by name; None for one that is missing.
    """

    run: Mapping[str, int]
    tensors: Mapping[str, Tensor]
    records: Sequence[Mapping[str, float]]
    metrics: Mapping[str, float | None]


def run_name(run: Mapping[str, int]) -> str:
    """Return the name of a run in its cell, such as "split0-seed3"."""
    return "-".join(f"{column}{value}" for column, value in run.items())


@dataclass
class Batch:
    """The options of every program that trains the runs of a batch (see `dwp.study.program`).

    Args:
        data: images to train on
        code: fingerprint of the training's code; runs of other code are trained again
        runs: grid columns of each run in its cell, such as split and seed
        columns: grid columns that are the same for all runs
        weights: file of all nets; a tensor has a name such as "split0-seed3/conv1.weight"
        metrics: CSV with a row a run, step and metric; those at the end have no step
        device: where to train
        checkpoint_minutes: from one checkpoint to the next
        minutes: time after which to stop with a checkpoint
    """

    data: Path
    code: str
    runs: list[dict[str, int]]
    columns: dict[str, Any]
    weights: Path
    metrics: Path
    device: Literal["auto", "cpu", "cuda"] = "cpu"
    checkpoint_minutes: float = 5
    minutes: float | None = None

    def __post_init__(self) -> None:
        torch.set_num_threads(1)
        self.deadline = deadline_after(self.minutes)
        self.chosen_device = choose_device(self.device)

    def train(
        self,
        train: Callable[..., Iterable[tuple]],
        settings: Settings,
        *priors: Sequence[Path] | None,
        together: int | None = 1,
        **more: Any,
    ) -> list[Finished]:
        """Return the finished runs: those that are kept, and the others once trained.

        Every run is kept in a file `.runs/NAME.safetensors` in the folder of the weights as soon as
        its group has ended. A later job, of any batch, takes it if all that it depends on is the
        same: the settings, the code, the content of its files and the version of torch.

        Args:
            train: called with the unfinished runs of a group and, by name, `device`, `checkpoint`,
                `checkpoint_seconds`, `deadline`, `identity` and `label` as training takes them (see
                `dwp.training.loop.optimise`); returns of each run the state, records and metrics.
            settings: of the training.
            *priors: files of priors, each named by its layer, that it reads as well.
            together: how many runs to train in a group; None: all.
            **more: what else it depends on.

        Raises:
            UserError: what `train` raises, with the name of the run.
            OutOfTime: the time is over.
        """
        files = [self.data, *(file for own in priors for file in own or ())]
        layers = [[file.stem for file in own or ()] for own in priors]
        identity = {"settings": settings.dump(), "layers": layers}
        identity |= {**more, "code": self.code, "inputs": digest(files), "torch": torch.__version__}
        folder, cell = self.weights.parent / KEPT, " ".join(self.weights.parts[-6:-1])
        runs, finished = {run_name(run): run for run in self.runs}, {}
        for name, run in runs.items():
            if found := _kept(folder / f"{name}.safetensors", run, identity):
                finished[name] = found
                print(f"{cell} {name}: finished before")
        todo = [name for name in runs if name not in finished]
        size = together or len(todo)
        while todo:
            names, todo = todo[:size], todo[size:]
            label = f"{cell} {names[0]}" + f" and {len(names) - 1} others" * (len(names) > 1)
            options = {"deadline": self.deadline, "checkpoint": folder / f"{names[0]}.checkpoint"}
            options |= {"checkpoint_seconds": 60 * self.checkpoint_minutes, "label": label}
            options |= {"identity": {"runs": names, **identity}, "device": self.chosen_device}
            try:
                trained = list(train([runs[name] for name in names], **options))
            except UserError as error:
                message = str(error)
                raise UserError(message if label in message else f"{label}: {message}") from None
            for name, (tensors, *numbers) in zip(names, trained, strict=True):
                finished[name] = Finished(runs[name], tensors, *numbers)
                # as text, which keeps its order and may have NaN
                header = {"identity": identity, "numbers": json.dumps(numbers)}
                save_tensors(folder / f"{name}.safetensors", tensors, kind="run", settings=header)
            for path in folder.glob(f"{names[0]}.checkpoint*"):
                path.unlink()
        return [finished[name] for name in runs]

    def write(self, finished: Sequence[Finished], settings: Settings, *, kind: str) -> None:
        """Write the files of the batch.

        Args:
            finished: its runs.
            settings: of the training, for the header of the weights.
            kind: what the weights are of, for `dwp.files.load_tensors`.
        """
        header = settings.dump() | self.columns | {"runs": [dict(one.run) for one in finished]}
        named = {f"{run_name(one.run)}/{k}": v for one in finished for k, v in one.tensors.items()}
        save_tensors(self.weights, named, kind=kind, settings=header)
        rows = [
            {**self.columns, **one.run, "step": numbers.get("step"), "metric": name, "value": value}
            for one in finished
            for numbers in (*one.records, one.metrics)
            for name, value in numbers.items()
            if name != "step"
        ]
        write_csv(self.metrics, pd.DataFrame(rows).astype({"step": "Int64"}))


def _kept(path: Path, run: Mapping[str, int], identity: Mapping[str, Any]) -> Finished | None:
    if not path.exists():
        return None
    try:
        tensors, settings = load_tensors(path, kind="run")
    except UserError as error:
        _log.warning("%s; it is trained again", error)
        return None
    if settings["identity"] != identity:
        return None
    return Finished(run, tensors, *json.loads(settings["numbers"]))
