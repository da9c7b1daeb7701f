"""Time the library against the yardstick, alternately, and write a table and a JSON file.

Each row has a process of its own, since what a process did before decides where its memory comes
from: the yardstick's with torch's defaults, the library's in the environment of workflow jobs.
Prints what the processor has, and which of the faster paths each row takes.
"""

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import time
import unittest.mock
from pathlib import Path
from statistics import median

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


NET, SOURCE = (32, 128), (256, 512)
# what the yardstick does: (how, {what the library does: (how, largest ratio allowed)})
CASES = {
    "VAE term": (
        lambda: yardstick.VaeTerm(4096),
        {"VAE term, 4,096 kernels of 5 x 5": (lambda: ours.VaeTerm(4096), None)},
    ),
    "DWP step": (
        lambda: yardstick.Dwp(*images(50), NET),
        {
            "DWP step, 50 examples": (lambda: ours.Dwp(*images(50), NET), 0.38),
            "DWP step, KL in bfloat16": (
                lambda: ours.Dwp(*images(50), NET, precision="bfloat16"),
                0.28,
            ),
            "DWP step, KL from 512 kernels": (
                lambda: ours.Dwp(*images(50), NET, kernels_per_step=512),
                0.28,
            ),
        },
    ),
    "prediction": (
        lambda: yardstick.Prediction(images(2000)[0], 10),
        {
            "prediction, 10 samples of 2,000 images": (
                lambda: ours.Prediction(images(2000)[0], 10),
                1 / 6,
            ),
            "the same, products in bfloat16": (
                lambda: ours.Prediction(images(2000)[0], 10, "bfloat16"),
                1 / 6,
            ),
        },
    ),
    "source step": (
        lambda: yardstick.Source(*images(256), SOURCE),
        {
            "source step, bfloat16": (
                lambda: ours.Source(*images(256), SOURCE, "bfloat16"),
                0.5,
            ),
            "source step, float32": (lambda: ours.Source(*images(256), SOURCE, "float32"), None),
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
PROFILED = ("DWP step, 50 examples", "source step, bfloat16")


def convolution_peak() -> float:
    """Return the rate, in GFLOP/s, of a large 5 x 5 convolution in single precision."""
    last = torch.channels_last
    maps = torch.randn(64, 128, 28, 28).contiguous(memory_format=last)
    weight = torch.randn(128, 128, 5, 5).contiguous(memory_format=last)
    flops = 2 * 64 * 24 * 24 * 128 * 128 * 25
    times = [timed(lambda: torch.conv2d(maps, weight)) for _ in range(3)]
    return flops / median(times) / 1e9


def timed(step) -> float:
    """Return the seconds that a call takes: the mean of as many in a row as take a second."""
    start, calls = time.perf_counter(), 0
    while not calls or time.perf_counter() - start < 1:
        step()
        calls += 1
    return (time.perf_counter() - start) / calls


def count_paths(step) -> list[str]:
    """Return which of the faster paths a step takes."""
    taken = []
    with contextlib.ExitStack() as patches:
        for path, (module, name) in PATHS.items():
            way = getattr(module, name)

            def noted(*arguments, path=path, way=way):
                taken.append(path)
                return way(*arguments)

            patches.enter_context(unittest.mock.patch.object(module, name, noted))
        step()
    return sorted({*taken})


def work(case: str, row: str, threads: int) -> None:
    """Answer orders on standard input, as JSON lines: `peak`, `time`, `flops`, `profile`.

    Args:
        case: a key of `CASES`.
        row: one of its rows; "": the yardstick.
        threads: how many to use.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    if case == "peak":
        print(json.dumps(convolution_peak()))
        return
    make, rows = CASES[case]
    with faster(bool(row)):
        step = rows[row][0]() if row else make()
        paths = count_paths(step)
        for line in sys.stdin:
            order = line.strip()
            if order == "time":
                answer = timed(step)
            elif order == "paths":
                answer = paths
            elif order == "flops":
                with FlopCounterMode(display=False) as counter:
                    step()
                answer = counter.get_total_flops()
            else:
                with profile(activities=[ProfilerActivity.CPU]) as recorded:
                    step()
                events = sorted(recorded.key_averages(), key=lambda e: -e.self_cpu_time_total)
                total = sum(event.self_cpu_time_total for event in events)
                answer = {e.key: e.self_cpu_time_total / total for e in events[:8]}
            print(json.dumps(answer), flush=True)


class Worker:
    """A process that takes the steps of a row, or of the yardstick."""

    def __init__(self, case: str, row: str, threads: int) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
        if row:
            environment |= JOB_ENVIRONMENT
        environment["OMP_NUM_THREADS"] = str(threads)
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--work", case, row, "--threads", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def ask(self, order: str):
        """Send an order and return the answer."""
        if order:
            self.process.stdin.write(order + "\n")
            self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="default: 1, as the workflow's jobs")
    parser.add_argument("--rounds", type=int, default=7, help="times each side is timed")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--output", type=Path, default=Path("results/benchmark.json"))
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work is not None:
        work(*arguments.work, arguments.threads)
        return
    found = {"bfloat16": has_bfloat16(), "matrix units (AMX)": has_matrix_units()}
    capability = torch.backends.cpu.get_cpu_capability()
    print(f"processor: {capability}", *(f"{k}: {'yes' if v else 'no'}" for k, v in found.items()))
    first = Worker("peak", "", arguments.threads)
    peak = first.ask("")
    first.end()
    print(f"convolution peak: {peak:.0f} GFLOP/s in float32, {arguments.threads} thread(s)")
    header = f"{'yardstick':>10} {'dwp':>9} {'ratio':>6} {'target':>7} {'of peak':>8} {'target':>7}"
    print(f"{'':40} {header}  faster paths")
    rows, profiles = [], {}
    for case, (_, sides) in CASES.items():
        chosen = {row: target for row, (_, target) in sides.items() if arguments.only in row}
        if not chosen:
            continue
        workers = {row: Worker(case, row, arguments.threads) for row in ("", *chosen)}
        flops = workers[""].ask("flops")
        times: dict[str, list[float]] = {row: [] for row in workers}
        for number in range(arguments.rounds):
            if number >= 3 and sum(map(sum, times.values())) > 30:
                break  # long steps vary little
            for row, worker in workers.items():
                times[row].append(worker.ask("time"))
        for row, target in chosen.items():
            plain, fast = median(times[""]), median(times[row])
            paths, least = workers[row].ask("paths"), SHARE_TARGET.get(row)
            share = flops / fast / 1e9 / peak
            met = (target is None or fast <= target * plain) and (least is None or share >= least)
            rows.append(
                {
                    "case": row,
                    "yardstick_seconds": plain,
                    "dwp_seconds": fast,
                    "ratio": fast / plain,
                    "target": target,
                    "gflop": flops / 1e9,
                    "share_of_peak": share,
                    "share_target": least,
                    "met": met,
                    "paths": paths,
                    "times": [times[""], times[row]],
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
                named = {"yardstick": workers[""], "dwp": workers[row]}
                profiles[row] = {side: worker.ask("profile") for side, worker in named.items()}
        for worker in workers.values():
            worker.end()
    for name, sides in profiles.items():
        for side, shares in sides.items():
            parts = ", ".join(f"{op} {share:.0%}" for op, share in shares.items())
            print(f"{name}, {side}: {parts}")
    write_json(
        arguments.output,
        {
            "machine": platform.processor() or platform.machine(),
            "cpu": capability,
            **found,
            "torch": torch.__version__,
            "threads": arguments.threads,
            "peak_gflops": peak,
            "rows": rows,
            "profiles": profiles,
        },
    )
    print(f"written: {arguments.output}")


if __name__ == "__main__":
    main()
