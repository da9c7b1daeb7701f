"""The one training loop: Adam with a linearly decaying step size, records, resume, progress."""

import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dwp.errors import OutOfTime, UserError
from dwp.fast import faster, graphs
from dwp.files import load_tensors, save_tensors
from dwp.isolated import own_randomness, seed_globally
from dwp.seeds import generator
from dwp.training.watch import Watched

_log = logging.getLogger(__name__)
Records = list[dict[str, float]]
"""What is recorded of a run: dictionaries with `step` and numbers by name."""


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
    for epoch in range(start // per_epoch, -(-steps // per_epoch)):
        order = torch.randperm(n, generator=generator(*seed, "batches", epoch)).split(batch_size)
        first = epoch * per_epoch
        yield from order[max(start - first, 0) : steps - first]


def by_epochs(settings: Any, n: int, record_every: int = 1) -> dict[str, Any]:
    """Return arguments of `optimise` for settings in epochs.

    Args:
        settings: `epochs`, `batch_size` and `learning_rate`.
        n: number of training examples.
        record_every: epochs from one record to the next.
    """
    per_epoch = -(-n // settings.batch_size)
    return {
        "n": n,
        "batch_size": settings.batch_size,
        "learning_rate": settings.learning_rate,
        "steps": settings.epochs * per_epoch,
        "record_every": record_every * per_epoch,
    }


@own_randomness()
@faster()
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
    checkpoint: str | os.PathLike | None = None,
    checkpoint_seconds: float = 300.0,
    deadline: float | None = None,
    identity: Mapping[str, Any] | None = None,
    label: str = "training",
    progress: bool = True,
    names: Sequence[str] | None = None,
    tolerant: bool = False,
    rates: Mapping[str, float] | None = None,
) -> list[Records]:
    """Minimise an objective with Adam, the step size falling linearly to 0 over all steps.

    R runs train together: the sum of their losses is minimised. Adam moves every number by its own
    gradient alone, so that runs with parameters of their own do not influence each other.

    The global generators of torch, numpy and Python are seeded at every step, by the seed of the
    first run and the step: layers may draw from them. After training they are as before.

    On a GPU the step is recorded and replayed (see `dwp.fast.graphs`): the objective must
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
        record_every: make a record every so many steps (0: never), and at the last.
        evaluate: called with the number of steps done for every record; what it returns for each
            run is recorded with the objective's scalars. It must not draw from `noise`.
        checkpoint: file to resume from, bit for bit, and to save to while training; whoever has
            written the results removes it.
        checkpoint_seconds: least time between two checkpoints.
        deadline: the `time.monotonic()` after which to save a checkpoint and stop.
        identity: what the run depends on (its settings, code and inputs), as JSON would give it
            back. A checkpoint of another run, version of torch or kind of device, and a damaged
            one, is not used: training starts from the beginning and says so.
        label: name shown with the progress (see `dwp.training.watch`).
        progress: whether to show it.
        names: of the runs, for messages; None: the label is enough.
        tolerant: a loss that is not finite does not stop training: the record of its run is NaN.
            Training ends at a record for which no run has a finite loss.
        rates: factors of the step size of some parameters, by the last part of their names.

    Returns:
        The records of each run: dictionaries with `step` and the recorded scalars.

    Raises:
        UserError: a loss is not finite, unless `tolerant`.
        OutOfTime: the deadline has passed before the last step.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    device = next(iter(trained.values())).device
    graphed, on_gpu = graphs.supported(device), device.type == "cuda"
    by_factor: dict[float, list[nn.Parameter]] = {}
    for name, parameter in trained.items():
        factor = (rates or {}).get(name.rpartition(".")[2], 1.0)
        by_factor.setdefault(factor, []).append(parameter)
    groups = [
        {"params": own, "lr": torch.tensor(learning_rate, device=device) if graphed else 0.0}
        for own in by_factor.values()
    ]
    optimiser = torch.optim.Adam(groups, capturable=graphed, fused=on_gpu)

    def take_step(batch: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        losses, scalars = objective(batch)
        optimiser.zero_grad(set_to_none=True)
        losses.sum().backward()
        optimiser.step()
        return losses.detach(), scalars

    if graphed:
        take_step = graphs.Replayed(take_step, device, noise, label)
    identity = {"run": identity, "torch": torch.__version__, "device": device.type}
    resumed = None
    if checkpoint is not None and Path(checkpoint).exists():
        resumed = _resume(checkpoint, identity, label, model, optimiser, noise)
    first, records = resumed or (0, [[] for _ in seeds])
    saved = time.monotonic()
    indices = (batches(n, batch_size, steps, *seed, start=first) for seed in seeds)
    watched = Watched(zip(*indices, strict=True), label, first, steps, names, progress)

    for done, batch in enumerate(watched, start=first + 1):
        size = learning_rate * (1 - (done - 1) / steps)
        for factor, group in zip(by_factor, optimiser.param_groups, strict=True):
            rate = factor * size
            group["lr"] = group["lr"].fill_(rate) if graphed else rate
        seed_globally(*seeds[0], "step", done - 1)
        losses, scalars = take_step(torch.stack(batch))
        record = record_every and (done % record_every == 0 or done == steps)
        if record or device.type == "cpu":  # others would have to be waited for at every step
            finite = losses.flatten().isfinite().tolist()
            if not (tolerant or all(finite)):
                run = finite.index(False)
                which = f"{label}, {names[run]}" if names else label
                values = {"loss": losses, **scalars}
                numbers = {name: value.flatten()[run].item() for name, value in values.items()}
                terms = ", ".join(f"{k} {v}" for k, v in numbers.items() if not math.isfinite(v))
                cause = f"the loss is {numbers['loss']} at step {done} ({terms})"
                raise UserError(f"{which}: {cause}; lower learning_rate")
        if record:
            values = {name: value.flatten().tolist() for name, value in scalars.items()}
            found = [{name: own[run] for name, own in values.items()} for run in range(len(seeds))]
            if evaluate is not None:
                seed_globally(*seeds[0], "evaluation", done - 1)
                found = [one | more for one, more in zip(found, evaluate(done), strict=True)]
            for run, own in enumerate(records):
                if not finite[run]:
                    found[run] = dict.fromkeys(found[run], math.nan)
                own.append({"step": done, **found[run]})
            watched.record(done, found)
            if not any(finite):
                break
        if done == steps:
            continue
        now = time.monotonic()
        late = deadline is not None and now > deadline
        if checkpoint is not None and (late or now - saved > checkpoint_seconds):
            # as text, because settings are saved with sorted keys: columns would change order
            settings = {"identity": identity, "done": done, "records": json.dumps(records)}
            tensors = _state(model, optimiser, noise)
            save_tensors(checkpoint, tensors, kind="checkpoint", settings=settings)
            saved = time.monotonic()
        if late:
            raise OutOfTime(f"{label}: stopped at its deadline after {done} of {steps} steps")
    return records


def one_by_one(
    train: Callable[..., list[Any]], runs: Sequence[Any], options: Mapping[str, Any]
) -> list[Any]:
    """Return the results of runs that are trained one after another, not as one stack.

    Args:
        train: takes a list of one run, and options.
        runs: of the training.
        options: of `optimise`; a checkpoint gets a name of its own for each run.
    """
    results = []
    for number, run in enumerate(runs):
        if checkpoint := options.get("checkpoint"):
            checkpoint = f"{checkpoint}.{number}"
        results += train([run], **{**options, "checkpoint": checkpoint})
    return results


def _state(model, optimiser, noise) -> dict[str, Tensor]:
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    for number, state in optimiser.state_dict()["state"].items():
        tensors |= {f"adam/{number}/{name}": value for name, value in state.items()}
    return tensors | {f"noise/{number}": source.get_state() for number, source in enumerate(noise)}


def _resume(path, identity, label, model, optimiser, noise) -> tuple[int, list[Records]] | None:
    """Return the steps done and the records of a checkpoint, and restore its state."""
    try:
        tensors, settings = load_tensors(path, kind="checkpoint")
        if settings.get("identity") != identity:
            other = "other settings, code, inputs, torch or device"
            raise UserError(f"{path} is the checkpoint of a run with {other}")
    except UserError as error:
        _log.warning("%s: starts from the beginning; %s", label, error)
        return None

    def below(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    model.load_state_dict(below("model/"))
    groups = optimiser.param_groups
    for number, parameter in enumerate(p for group in groups for p in group["params"]):
        device = parameter.device if optimiser.defaults["capturable"] else "cpu"
        optimiser.state[parameter] = {
            name: value.to(device)
            if name == "step"  # the others in the parameter's layout, as if it had gone on
            else torch.empty_like(parameter).copy_(value)
            for name, value in below(f"adam/{number}/").items()
        }
    for number, source in enumerate(noise):
        source.set_state(tensors[f"noise/{number}"])
    return settings["done"], json.loads(settings["records"])
