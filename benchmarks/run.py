"""Time the library against the yardstick, alternately, and write a table and a JSON file.

Each row has a process of its own, since what a process did before decides where its memory comes
from: the yardstick's with torch's defaults, the library's in the environment of workflow jobs.
Prints what the processor has, and which of the faster paths each row takes.
"""

import argparse
import contextlib
import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from dwp.devices import has_bfloat16, has_matrix_units
from dwp.fast import convolve, faster, frozen
from dwp.files import write_json
from dwp.study.study import JOB_ENVIRONMENT

import ours  # isort: skip
import yardstick  # isort: skip


def images(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return made-up images (n, 1, 28, 28) in [0, 1] and targets (n,)."""
    source = torch.Generator().manual_seed(0)
    return torch.rand(n, 1, 28, 28, generator=source), torch.randint(10, (n,), generator=source)


FEW, BATCH, MANY = images(50), images(256), images(2000)[0]
NET, SOURCE = (32, 128), (256, 512)
# by the case: the yardstick, and by the row: the library, and the largest ratio allowed
CASES = {
    "VAE term": (
        lambda: yardstick.VaeTerm(4096),
        {"VAE term, 4,096 kernels of 5 x 5": (lambda: ours.VaeTerm(4096), None)},
    ),
    "DWP step": (
        lambda: yardstick.Dwp(*FEW, NET),
        {
            "DWP step, 50 examples": (lambda: ours.Dwp(*FEW, NET), 0.38),
            "DWP step, KL in bfloat16": (lambda: ours.Dwp(*FEW, NET, precision="bfloat16"), 0.28),
            "DWP step, KL from 512 kernels": (
                lambda: ours.Dwp(*FEW, NET, kernels_per_step=512),
                0.28,
            ),
        },
    ),
    "prediction": (
        lambda: yardstick.Prediction(MANY, 10),
        {
            "prediction, 10 samples of 2,000 images": (lambda: ours.Prediction(MANY, 10), 1 / 6),
            "the same, products in bfloat16": (
                lambda: ours.Prediction(MANY, 10, "bfloat16"),
                1 / 6,
            ),
        },
    ),
    "source step": (
        lambda: yardstick.Source(*BATCH, SOURCE),
        {
            "source step, bfloat16": (lambda: ours.Source(*BATCH, SOURCE, "bfloat16"), 0.5),
            "source step, float32": (lambda: ours.Source(*BATCH, SOURCE, "float32"), None),
        },
    ),
}
# the faster paths by the functions that take them
PATHS = {
    "tiles": (convolve, "by_tiles"),
    "polynomials": (frozen, "_toom_cook"),
    "dense rows": (frozen, "_by_rows"),
}
SHARE_TARGET = {"VAE term, 4,096 kernels of 5 x 5": 0.6}  # of the convolution peak, at least
ENOUGH = 20  # seconds, after which three rounds suffice
PROFILED = ("DWP step, 50 examples", "source step, bfloat16")


def convolution_peak() -> float:
    """Return the rate, in GFLOP/s, of a large 5 x 5 convolution in single precision."""
    last = torch.channels_last
    maps = torch.randn(64, 128, 28, 28).contiguous(memory_format=last)
    weight = torch.randn(128, 128, 5, 5).contiguous(memory_format=last)
    flops = 2 * 64 * 24 * 24 * 128 * 128 * 25
    return flops / median(timed(lambda: torch.conv2d(maps, weight)) for _ in range(3)) / 1e9


def timed(step: Callable[[], Any]) -> float:
    """Return the seconds that a call takes: the mean of as many in a row as take a second."""
    start, calls = time.perf_counter(), 0
    while not calls or time.perf_counter() - start < 1:
        step()
        calls += 1
    return (time.perf_counter() - start) / calls


@contextlib.contextmanager
def process(environment: Mapping[str, str]) -> Iterator[Callable[..., Any]]:
    """Give a function that calls another one in a process of its own.

    Args:
        environment: of the process, in addition to this one's without `MALLOC_` variables.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        quiet = {"KINETO_LOG_LEVEL": "99"}  # of the profiler
        with patch.dict(os.environ, {**own, **quiet, **environment}, clear=True):
            pool.submit(int)  # which starts the process
        yield lambda function, *arguments: pool.submit(function, *arguments).result()


own: dict[str, Any] = {}  # of a process that takes the steps of a row: its step


def start(case: str, row: str, threads: int) -> list[str]:
    """Take this process's first step, and return which of the faster paths it takes.

    Args:
        case: a key of `CASES`.
        row: one of its rows; "": the yardstick.
        threads: how many to use.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    make, rows = CASES[case]
    own["faster"] = faster(bool(row))
    own["faster"].__enter__()
    own["step"] = rows[row][0]() if row else make()
    with contextlib.ExitStack() as stack:
        spies = {
            path: stack.enter_context(patch.object(module, name, wraps=getattr(module, name)))
            for path, (module, name) in PATHS.items()
        }
        own["step"]()
    return sorted(path for path, spy in spies.items() if spy.called)


def seconds() -> float:
    """Return the time of a step of this process."""
    return timed(own["step"])


def flops() -> int:
    """Return the number of operations of a step of this process."""
    with FlopCounterMode(display=False) as counter:
        own["step"]()
    return counter.get_total_flops()


def shares() -> dict[str, float]:
    """Return the shares of a step's time of the eight operations that take most."""
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        own["step"]()
    events = sorted(recorded.key_averages(), key=lambda e: -e.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    return {event.key: event.self_cpu_time_total / total for event in events[:8]}


def measure(case: str, rows: Iterable[str], arguments: argparse.Namespace) -> dict[str, dict]:
    """Return the measurements of rows of a case, by the row; "" is the yardstick."""
    threads = {"OMP_NUM_THREADS": str(arguments.threads)}
    with contextlib.ExitStack() as stack:
        calls = {"": stack.enter_context(process(threads))}
        for row in rows:
            calls[row] = stack.enter_context(process({**JOB_ENVIRONMENT, **threads}))
        found: dict[str, dict] = {}
        for row, call in calls.items():
            found[row] = {"paths": call(start, case, row, arguments.threads), "times": []}
        found[""]["flops"], began = calls[""](flops), time.perf_counter()
        for number in range(arguments.rounds):
            if number >= 3 and time.perf_counter() - began > ENOUGH:
                break
            for row, call in calls.items():
                found[row]["times"].append(call(seconds))
        for row in ("", *PROFILED):
            if row in calls:
                found[row]["shares"] = calls[row](shares)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="default: 1, as the workflow's jobs")
    parser.add_argument("--rounds", type=int, default=5, help="times each side is timed")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--output", type=Path, default=Path("results/benchmark.json"))
    arguments = parser.parse_args()
    threads = {"OMP_NUM_THREADS": str(arguments.threads)}
    units = {"bfloat16": has_bfloat16(), "matrix units (AMX)": has_matrix_units()}
    capability = torch.backends.cpu.get_cpu_capability()
    print(f"processor: {capability}", *(f"{k}: {'yes' if v else 'no'}" for k, v in units.items()))
    with process(threads) as call:
        peak = call(convolution_peak)
    print(f"convolution peak: {peak:.0f} GFLOP/s in float32, {arguments.threads} thread(s)")
    header = f"{'yardstick':>10} {'dwp':>9} {'ratio':>6} {'target':>7} {'of peak':>8} {'target':>7}"
    print(f"{'':40} {header}  faster paths")
    rows, profiles = [], {}
    for case, (_, sides) in CASES.items():
        targets = {row: target for row, (_, target) in sides.items() if arguments.only in row}
        if not targets:
            continue
        found = measure(case, targets, arguments)
        operations, plain = found[""]["flops"], median(found[""]["times"])
        for row, target in targets.items():
            fast, paths = median(found[row]["times"]), found[row]["paths"]
            share, least = operations / fast / 1e9 / peak, SHARE_TARGET.get(row)
            met = (target is None or fast <= target * plain) and (least is None or share >= least)
            rows.append(
                {
                    "case": row,
                    "yardstick_seconds": plain,
                    "dwp_seconds": fast,
                    "ratio": fast / plain,
                    "target": target,
                    "gflop": operations / 1e9,
                    "share_of_peak": share,
                    "share_target": least,
                    "met": met,
                    "paths": paths,
                    "times": [found[""]["times"], found[row]["times"]],
                }
            )
            print(
                f"{row:40} {plain:9.4f}s {fast:8.4f}s {fast / plain:6.3f} "
                f"{'' if target is None else format(target, '.3f'):>7} {share:8.0%} "
                f"{'' if least is None else format(least, '.0%'):>7}  {', '.join(paths) or 'none'}"
                f"{'' if met else '; target not met'}",
                flush=True,
            )
            if row in PROFILED:
                profiles[row] = {"yardstick": found[""]["shares"], "dwp": found[row]["shares"]}
    for name, sides in profiles.items():
        for side, operations in sides.items():
            parts = ", ".join(f"{op} {share:.0%}" for op, share in operations.items())
            print(f"{name}, {side}: {parts}")
    content = {
        "machine": platform.processor() or platform.machine(),
        "cpu": capability,
        **units,
        "torch": torch.__version__,
        "threads": arguments.threads,
        "peak_gflops": peak,
        "rows": rows,
        "profiles": profiles,
    }
    write_json(arguments.output, content)
    print(f"written: {arguments.output}")


if __name__ == "__main__":
    main()
