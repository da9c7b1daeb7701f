"""Watching a training: its progress, its newest numbers, and event files for TensorBoard."""

import io
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

try:
    from tqdm import tqdm
except ImportError:  # which the core does not need; then nothing is shown
    tqdm = None

EVENTS = "DWP_TENSORBOARD"
"""The environment variable that names the folder of event files; without it none are written."""

_SECONDS = 30  # between two lines of a log
_LINE = "{desc}: step {n_fmt} of {total_fmt}, {rate_noinv_fmt}, {remaining} left{postfix}"


class _Lines(io.TextIOBase):
    """A stream that turns tqdm's carriage returns into lines, for logs and shared terminals."""

    def write(self, text: str) -> int:
        if line := text.strip("\r\n "):
            sys.stderr.write(f"{line}\n")
        return len(text)


class Watched:
    """The steps of a training, whose progress is shown: on a terminal by a bar, elsewhere by lines.

    A line comes at the start, every 30 seconds and at the end: the step, the speed, the time left
    and the newest numbers, means over the runs that train together. Where `DWP_TENSORBOARD` names a
    folder, each run's numbers go to event files in it as well, in a folder named by the label and,
    of several runs, by the run. None of this has an influence on the training.

    Args:
        steps: what to iterate over.
        label: of the training.
        first: number of steps done before.
        total: number of steps in all.
        names: of the runs, None for one. Of runs of one name the first goes to the event files.
        shown: whether to show progress, which needs the package tqdm.

    Raises:
        ModuleNotFoundError: event files are wanted and the package tensorboard is not there.
    """

    def __init__(
        self,
        steps: Iterable[Any],
        label: str,
        first: int,
        total: int,
        names: Sequence[str] | None,
        shown: bool = True,
    ) -> None:
        self._bar: Any = None
        options: dict[str, Any] = {"dynamic_ncols": True}
        if not sys.stderr.isatty():
            options = {"file": _Lines(), "bar_format": _LINE, "miniters": 1}
            options |= {"mininterval": _SECONDS, "maxinterval": _SECONDS}
        if shown and tqdm:
            options |= {"desc": label, "initial": first, "total": total, "unit": " steps"}
            self._bar = steps = tqdm(steps, **options)
        self._steps = steps
        self._writers = {}  # by the number of the run
        if folder := os.environ.get(EVENTS):
            from torch.utils.tensorboard import SummaryWriter

            names = list(names or [""])
            different = dict.fromkeys(names)
            for name in different:
                own = Path(folder, label, name if len(different) > 1 else "")
                self._writers[names.index(name)] = SummaryWriter(str(own), purge_step=first + 1)

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._steps
        finally:
            for writer in self._writers.values():
                writer.close()

    def record(self, step: int, records: Sequence[Mapping[str, float]]) -> None:
        """Show and write the numbers known after a step.

        Args:
            step: number of steps done.
            records: of each run, numbers by name.
        """
        means = {key: sum(own[key] for own in records) / len(records) for key in records[0]}
        if self._bar is not None:
            self._bar.set_postfix(means, refresh=False)
        for run, writer in self._writers.items():
            for key, value in records[run].items():
                writer.add_scalar(key, value, step)
            writer.flush()
