"""The one training loop: Adam with a linearly decaying step size, records, resume, progress."""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dwp.errors import OutOfTime, UserError
from dwp.files import load_tensors, save_tensors
from dwp.seeds import generator as make_generator
from dwp.training import graphs

try:
    from tqdm import tqdm
except ImportError:  # a bare machine: training shows no progress
    tqdm = None


class _Lines:
    """A stream that turns tqdm's carriage returns into lines, for logs and shared terminals."""

    def __init__(self, stream) -> None:
        self.stream = stream

    def write(self, text: str) -> None:
        text = text.strip("\r\n ")
        if text:
            self.stream.write(text + "\n")

    def flush(self) -> None:
        self.stream.flush()


def progress(items: Iterator | range, label: str, initial: int = 0, total: int | None = None):
    """Wrap an iterable in a tqdm bar that prints a plain line every 15 seconds."""
    if tqdm is None:
        return items
    return tqdm(
        items,
        desc=label,
        initial=initial,
        total=total,
        file=_Lines(sys.stderr),
        mininterval=15,
        maxinterval=15,
        miniters=1,
        ascii=True,
        ncols=100,
    )


def batches(n: int, batch_size: int, steps: int, *seed: object, start: int = 0) -> Iterator[Tensor]:
    """Yield index batches for `steps` steps, a fresh permutation every epoch.

    The batch of a step depends only on the arguments, so that a resumed run sees the same ones.

    Args:
        n: number of examples.
        batch_size: indices a batch; the last batch of an epoch may be smaller.
        steps: number of batches in all.
        *seed: parts of the seed (see `dwp.seeds.derive_seed`).
        start: the step to begin with.
    """
    per_epoch = -(-n // batch_size)
    order, epoch_of_order = None, -1
    for step in range(start, steps):
        epoch, place = divmod(step, per_epoch)
        if epoch != epoch_of_order:
            order = torch.randperm(n, generator=make_generator(*seed, "batches", epoch))
            epoch_of_order = epoch
        yield order[place * batch_size : (place + 1) * batch_size]


def optimise(
    model: nn.Module,
    objective: Callable[[Tensor], tuple[Tensor, Mapping[str, Tensor]]],
    *,
    n: int,
    batch_size: int,
    steps: int,
    learning_rate: float,
    seeds: Sequence[tuple],
    noise: Sequence[torch.Generator] = (),
    record_every: int = 0,
    evaluate: Callable[[int], Sequence[Mapping[str, float]]] | None = None,
    evaluate_every: int = 0,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_seconds: float = 120.0,
    deadline: float | None = None,
    identity: Mapping[str, Any] | None = None,
    label: str = "training",
    names: Sequence[str] | None = None,
) -> list[list[dict[str, float]]]:
    """Minimise an objective with Adam, the step size falling linearly to 0 over all steps.

    R runs train together: the sum of their losses is minimised. Adam moves every number by its own
    gradient alone, so that runs with parameters of their own do not influence each other.

    On a GPU the step is recorded and replayed (see `dwp.training.graphs`): the objective must
    neither wait for the GPU (`item`, `tolist`) nor bring numbers to it (`torch.tensor`).

    Args:
        model: its parameters with `requires_grad` are trained.
        objective: takes the indices of each run's batch (R, batch), on the device of the
            parameters, and returns the loss and scalars to record, each a tensor with one number
            for each run.
        n: number of training examples of a run.
        batch_size: examples a step (`n` if smaller).
        steps: number of steps.
        learning_rate: step size at step 0.
        seeds: for each of the R runs, the parts of the seed of its batch order.
        noise: the generators the objective draws from; their states go into the checkpoint.
        record_every: record the objective's scalars every so many steps (0: never), and at the
            last.
        evaluate: called with the number of steps done; what it returns for each run is recorded. It
            must not draw from `noise`.
        evaluate_every: call `evaluate` every so many steps (0: never), and at the last.
        checkpoint: file to resume from, bit for bit, and to save to while training; whoever has
            written the results removes it.
        checkpoint_seconds: least time between two checkpoints.
        deadline: the `time.monotonic()` after which to save a checkpoint and stop.
        identity: what tells the run from others (its settings, code and inputs), as JSON would
            give it back; a checkpoint of another run is ignored.
        label: name shown with the progress.
        names: of the runs, to tell which of them fails; None: the label says it.

    Returns:
        The records of each run: dictionaries with `step` and the recorded scalars.

    Raises:
        UserError: a loss is not finite.
        OutOfTime: the deadline has passed before the last step.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    device = parameters[0].device
    graphed = graphs.supported(device)
    rate = torch.tensor(learning_rate, device=device) if graphed else learning_rate
    optimiser = torch.optim.Adam(parameters, lr=rate, capturable=graphed)

    def take_step(batch: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        losses, scalars = objective(batch)
        optimiser.zero_grad(set_to_none=True)
        losses.sum().backward()
        optimiser.step()
        return losses.detach(), scalars

    if graphed:
        take_step = graphs.Replayed(take_step, device, noise, label)
    records: list[list[dict[str, float]]] = [[] for _ in seeds]
    first = 0
    if checkpoint is not None and Path(checkpoint).exists():
        state = _load_checkpoint(checkpoint, identity)
        if state is not None:
            try:
                first, records = _restore(state, model, optimiser, parameters, noise)
            except (IndexError, RuntimeError, TypeError, ValueError) as error:
                reason = " ".join(str(error).split())
                raise UserError(
                    f"{checkpoint}: expected a checkpoint of this very run, found another "
                    f"({reason}); delete it"
                ) from None
    saved = time.monotonic()
    indices = zip(
        *(batches(n, batch_size, steps, *seed, start=first) for seed in seeds), strict=True
    )
    for step, batch in enumerate(progress(indices, label, first, steps), start=first):
        size = learning_rate * (1 - step / steps)
        for group in optimiser.param_groups:
            group["lr"] = rate.fill_(size) if graphed else size
        losses, scalars = take_step(torch.stack(batch))
        done = step + 1
        if record_every and (done % record_every == 0 or done == steps):
            for run, loss in enumerate(losses.flatten().tolist()):
                if not math.isfinite(loss):
                    place = f"{label}, {names[run]}" if names else label
                    raise UserError(
                        f"{place}: the loss is {loss} at step {done}; lower learning_rate"
                    )
            values = {name: value.flatten().tolist() for name, value in scalars.items()}
            for run, own in enumerate(records):
                own.append({"step": done, **{name: value[run] for name, value in values.items()}})
        look = evaluate_every and (done % evaluate_every == 0 or done == steps)
        if evaluate is not None and look:
            for own, found in zip(records, evaluate(done), strict=True):
                own.append({"step": done, **found})
        now = time.monotonic()
        late = deadline is not None and now > deadline
        if checkpoint is not None and (late or now - saved > checkpoint_seconds) and done < steps:
            # as text, because settings are saved with sorted keys: columns would change places
            history = json.dumps(records)
            settings = {"identity": identity, "done": done, "records": history}
            tensors = _state(model, optimiser, parameters, noise)
            save_tensors(checkpoint, tensors, kind="checkpoint", settings=settings)
            saved = time.monotonic()
        if late and done < steps:
            raise OutOfTime(f"{label}: stopped at its deadline after {done} of {steps} steps")
    return records


def _state(model, optimiser, parameters, noise) -> dict[str, Tensor]:
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    for number, parameter in enumerate(parameters):
        for name, value in optimiser.state[parameter].items():
            tensors[f"adam/{number}/{name}"] = value
    for number, source in enumerate(noise):
        tensors[f"noise/{number}"] = source.get_state()
    return tensors


def _load_checkpoint(path, identity):
    try:
        tensors, settings = load_tensors(path, kind="checkpoint")
    except UserError:
        return None  # unreadable: starting over is always right
    return (tensors, settings) if settings.get("identity") == identity else None


def _restore(state, model, optimiser, parameters, noise) -> tuple[int, list]:
    tensors, settings = state
    model.load_state_dict(
        {k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")}
    )
    for number, parameter in enumerate(parameters):
        prefix = f"adam/{number}/"
        values = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        for name, value in values.items():
            if name != "step":  # in the parameter's layout, as if training had gone on
                values[name] = torch.empty_like(parameter).copy_(value)
            elif optimiser.defaults["capturable"]:
                values[name] = value.to(parameter.device)
        optimiser.state[parameter] = values
    for number, source in enumerate(noise):
        source.set_state(tensors[f"noise/{number}"])
    return settings["done"], json.loads(settings["records"])
