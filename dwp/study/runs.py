"""The runs of a batch: each is kept as it ends, so that no later job trains it again."""

import functools
import inspect
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dwp.errors import UserError, deadline_after
from dwp.study.program import program
from dwp.study.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

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
    tensors: Mapping[str, "Tensor"]
    records: Sequence[Mapping[str, float]]
    metrics: Mapping[str, float | None]


def run_name(run: Mapping[str, int]) -> str:
    """Return the name of a run in its cell, such as "split0-seed3"."""
    return "-".join(f"{column}{value}" for column, value in run.items())


def train_batch(
    folder: Path,
    runs: Sequence[Mapping[str, int]],
    identity: Mapping[str, Any],
    train: Callable[..., Iterable[tuple]],
    *,
    together: int | None = 1,
    checkpoint_minutes: float = 5,
    minutes: float | None = None,
) -> list[Finished]:
    """Return the finished runs of a batch: those that are kept, and the others once trained.

    Every run is kept in a file `FOLDER/.runs/NAME.safetensors` as soon as its group has ended. A
    later job, of any batch, takes it if its identity and the version of torch are the same.

    Args:
        folder: of the cell.
        runs: of the batch.
        identity: what the training depends on (settings, code, inputs), as JSON can hold it.
        train: called with the unfinished runs of a group and, by name, `checkpoint`,
            `checkpoint_seconds`, `deadline`, `identity` and `label` as training takes them (see
            `dwp.training.loop.optimise`); returns of each run the state, records and metrics.
        together: how many runs to train in a group; None: all.
        checkpoint_minutes: time from one checkpoint to the next.
        minutes: time after which to stop with a checkpoint; None: never.

    Raises:
        UserError: what `train` raises, with the name of the run.
        OutOfTime: the time is over.
    """
    import torch

    from dwp.files import save_tensors

    deadline, finished = deadline_after(minutes), {}
    identity = json.loads(json.dumps({**identity, "torch": torch.__version__}))
    place = " ".join(folder.parts[-5:])
    for name, run in {run_name(run): run for run in runs}.items():
        if found := _kept(folder / KEPT / f"{name}.safetensors", run, identity):
            finished[name] = found
            print(f"{place} {name}: finished before")
    todo = [run for run in runs if run_name(run) not in finished]
    size = together or len(todo) or 1
    for group in [todo[first : first + size] for first in range(0, len(todo), size)]:
        names = [run_name(run) for run in group]
        checkpoint = folder / KEPT / f"{names[0]}.checkpoint"
        others = f" and {len(group) - 1} others" if len(group) > 1 else ""
        label = f"{place} {names[0]}{others}"
        try:
            trained = list(
                train(
                    group,
                    checkpoint=checkpoint,
                    checkpoint_seconds=60 * checkpoint_minutes,
                    deadline=deadline,
                    identity={"runs": names, **identity},
                    label=label,
                )
            )
        except UserError as error:
            message = str(error)
            raise UserError(message if label in message else f"{label}: {message}") from None
        for name, run, (tensors, records, metrics) in zip(names, group, trained, strict=True):
            # as text, which keeps its order and may have NaN
            settings = {"identity": identity, "told": json.dumps([records, metrics])}
            path = folder / KEPT / f"{name}.safetensors"
            save_tensors(path, tensors, kind="run", settings=settings)
            finished[name] = Finished(run, tensors, records, metrics)
        for path in checkpoint.parent.glob(f"{checkpoint.name}*"):
            path.unlink()
    return [finished[run_name(run)] for run in runs]


def _kept(path: Path, run: Mapping[str, int], identity: Mapping[str, Any]) -> Finished | None:
    from dwp.files import load_tensors

    if not path.exists():
        return None
    try:
        tensors, settings = load_tensors(path, kind="run")
    except UserError as error:
        _log.warning("%s; it is trained again", error)
        return None
    if settings["identity"] != identity:
        return None
    return Finished(run, tensors, *json.loads(settings["told"]))


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What every program takes that trains the runs of a batch.

    Args:
        data: images to train on
        code: fingerprint of the training's code; runs of other code are trained again
        runs: grid columns of each run in its cell, such as split and seed
        columns: grid columns that are the same for all runs
        weights: file of all nets; a tensor has a name such as "split0-seed3/conv1.weight"
        metrics: CSV with a row a run and metric
        history: CSV with a row a run, step and metric
        folder: where finished runs are kept; default: that of the weights
        device: where to train
        checkpoint_minutes: from one checkpoint to the next
        minutes: time after which to stop with a checkpoint
    """

    data: Path
    code: str
    runs: list[dict[str, int]]
    columns: dict[str, Any]
    weights: Path
    metrics: Path | None = None
    history: Path | None = None
    folder: Path | None = None
    device: Literal["auto", "cpu", "cuda"] = "cpu"
    checkpoint_minutes: float = 5
    minutes: float | None = None

    def train(
        self,
        train: Callable[..., Iterable[tuple]],
        settings: Settings,
        *layers: Mapping[str, Path] | None,
        together: int | None = 1,
        **more: Any,
    ) -> list[Finished]:
        """Return the finished runs; see `train_batch`.

        Args:
            train: see `train_batch`.
            settings: of the training.
            *layers: files by layer that it reads as well.
            together: see `train_batch`.
            **more: what else it depends on.
        """
        from dwp.files import digest

        files = [file for own in layers for file in (own or {}).values()]
        identity = {"settings": settings.dump(), "layers": [[*(own or ())] for own in layers]}
        identity |= {**more, "code": self.code, "inputs": digest([self.data, *files])}
        return train_batch(
            self.folder or self.weights.parent,
            self.runs,
            identity,
            train,
            together=together,
            checkpoint_minutes=self.checkpoint_minutes,
            minutes=self.minutes,
        )

    def write(self, finished: Sequence[Finished], settings: Settings, *, kind: str) -> None:
        """Write the files of the batch.

        Args:
            finished: its runs.
            settings: of the training, for the header of the weights.
            kind: what the weights are of, for `dwp.files.load_tensors`.
        """
        import pandas as pd

        from dwp.files import save_tensors, write_csv

        header = settings.dump() | self.columns | {"runs": [dict(one.run) for one in finished]}
        named = {f"{run_name(one.run)}/{k}": v for one in finished for k, v in one.tensors.items()}
        save_tensors(self.weights, named, kind=kind, settings=header)
        for path, steps in ((self.metrics, []), (self.history, ["step"])):
            rows = [
                {**self.columns, **one.run, **{k: row[k] for k in steps}, "metric": k, "value": v}
                for one in finished
                for row in (one.records if steps else [one.metrics])
                for k, v in row.items()
                if k not in steps
            ]
            if path is not None:
                write_csv(path, pd.DataFrame(rows))


def batch_program(main: Callable[..., None]) -> Callable[..., None]:
    """Return a program (see `dwp.study.program`) whose options are those of `Batch` and of `main`.

    Args:
        main: takes the `Batch`, whose device is chosen by then, and by name its own options.
    """
    own = list(inspect.signature(main, eval_str=True).parameters.values())[1:]
    common = inspect.signature(Batch).parameters

    @functools.wraps(main)
    def run(**options: Any) -> None:
        import torch

        from dwp.devices import choose_device

        torch.set_num_threads(1)
        options["device"] = choose_device(options["device"])
        main(Batch(**{name: options.pop(name) for name in common}), **options)

    run.__signature__ = inspect.Signature([*own, *common.values()])
    text = inspect.getdoc(main) or inspect.getdoc(inspect.getmodule(main)) or ""
    text += "" if "\nArgs:\n" in text else "\n\nArgs:"
    run.__doc__ = text + (inspect.getdoc(Batch) or "").partition("\nArgs:")[2]
    return program(run)
