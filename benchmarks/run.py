"""Time the library against the yardstick, alternately, and write a table and a JSON file.

For each case each side has a process of its own, since what a process did before decides where its
memory comes from: the yardstick's with torch's defaults, the library's in the environment that the
workflow gives its jobs.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from dwp.files import write_json
from dwp.study.settings import JOB_ENVIRONMENT

import ours  # isort: skip
import yardstick  # isort: skip


def images(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return made-up images (n, 1, 28, 28) in [0, 1] and targets (n,)."""
    source = torch.Generator().manual_seed(0)
    return torch.rand(n, 1, 28, 28, generator=source), torch.randint(10, (n,), generator=source)


NET, SOURCE = (32, 128), (256, 512)
# name: (what the yardstick does, what the library does, largest ratio allowed)
CASES = {
    "VAE term, 4,096 kernels of 5 x 5": (
        lambda: yardstick.VaeTerm(4096),
        lambda: ours.VaeTerm(4096),
        None,
    ),
    "DWP step, 50 examples": (
        lambda: yardstick.Dwp(*images(50), NET),
        lambda: ours.Dwp(*images(50), NET),
        0.38,
    ),
    "DWP step, KL in bfloat16": (
        lambda: yardstick.Dwp(*images(50), NET),
        lambda: ours.Dwp(*images(50), NET, precision="bfloat16"),
        0.28,
    ),
    "DWP step, KL from 512 kernels": (
        lambda: yardstick.Dwp(*images(50), NET),
        lambda: ours.Dwp(*images(50), NET, kernels_per_step=512),
        0.28,
    ),
    "prediction, 10 samples of 10,000 images": (
        lambda: yardstick.Prediction(images(10000)[0], 10),
        lambda: ours.Prediction(images(10000)[0], 10),
        1 / 6,
    ),
    "the same, products in bfloat16": (
        lambda: yardstick.Prediction(images(10000)[0], 10),
        lambda: ours.Prediction(images(10000)[0], 10, "bfloat16"),
        1 / 6,
    ),
    "source step, bfloat16": (
        lambda: yardstick.Source(*images(256), SOURCE),
        lambda: ours.Source(*images(256), SOURCE, "bfloat16"),
        0.5,
    ),
    "source step, float32": (
        lambda: yardstick.Source(*images(256), SOURCE),
        lambda: ours.Source(*images(256), SOURCE, "float32"),
        None,
    ),
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


def work(side: int, threads: int) -> None:
    """Answer orders on standard input, as JSON lines: `time CASE`, `flops CASE`, `profile CASE`."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    step = None
    for line in sys.stdin:
        order, _, name = line.strip().partition(" ")
        if order != "peak" and step is None:
            step = CASES[name][side]()
            step()
        if order == "time":
            answer = timed(step)
        elif order == "peak":
            answer = convolution_peak()
        elif order == "flops":
            with FlopCounterMode(display=False) as counter:
                step()
            answer = counter.get_total_flops()
        else:
            with profile(activities=[ProfilerActivity.CPU]) as recorded:
                step()
            rows = sorted(recorded.key_averages(), key=lambda e: -e.self_cpu_time_total)
            total = sum(row.self_cpu_time_total for row in rows)
            answer = {row.key: row.self_cpu_time_total / total for row in rows[:8]}
        print(json.dumps(answer), flush=True)


class Worker:
    """A process that runs one side."""

    def __init__(self, side: int, threads: int) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
        if side == 1:
            environment |= JOB_ENVIRONMENT
        environment["OMP_NUM_THREADS"] = str(threads)
        arguments = ["--work", str(side), "--threads", str(threads)]
        self.process = subprocess.Popen(
            [sys.executable, __file__, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def ask(self, order: str):
        """Send an order and return the answer."""
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
    parser.add_argument("--work", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work is not None:
        work(arguments.work, arguments.threads)
        return
    first = Worker(1, arguments.threads)
    peak = first.ask("peak")
    first.end()
    rows, profiles = [], {}
    header = f"{'yardstick':>10} {'dwp':>9} {'ratio':>6} {'target':>7} {'of peak':>8} {'target':>7}"
    print(f"{'':40} {header}")
    for name, (_, _, target) in CASES.items():
        if arguments.only not in name:
            continue
        workers = [Worker(side, arguments.threads) for side in (0, 1)]
        flops = workers[0].ask(f"flops {name}")
        times = [[], []]
        for number in range(arguments.rounds):
            if number >= 3 and sum(map(sum, times)) > 60:
                break  # long steps vary little
            for side, worker in enumerate(workers):
                times[side].append(worker.ask(f"time {name}"))
        if name in PROFILED:
            sides = zip(("yardstick", "dwp"), workers, strict=True)
            profiles[name] = {side: worker.ask(f"profile {name}") for side, worker in sides}
        for worker in workers:
            worker.end()
        plain, fast = map(median, times)
        share = flops / fast / 1e9 / peak
        least = SHARE_TARGET.get(name)
        met = (target is None or fast <= target * plain) and (least is None or share >= least)
        rows.append(
            {
                "case": name,
                "yardstick_seconds": plain,
                "dwp_seconds": fast,
                "ratio": fast / plain,
                "target": target,
                "gflop": flops / 1e9,
                "share_of_peak": share,
                "share_target": least,
                "met": met,
                "times": times,
            }
        )
        print(
            f"{name:40} {plain:9.4f}s {fast:8.4f}s {fast / plain:6.3f} "
            f"{'' if target is None else format(target, '.3f'):>7} {share:8.0%} "
            f"{'' if least is None else format(least, '.0%'):>7}{'' if met else '  not met'}",
            flush=True,
        )
    print(
        f"convolution peak: {peak:.0f} GFLOP/s in single precision, {arguments.threads} thread(s)"
    )
    for name, sides in profiles.items():
        for side, shares in sides.items():
            parts = ", ".join(f"{op} {share:.0%}" for op, share in shares.items())
            print(f"{name}, {side}: {parts}")
    write_json(
        arguments.output,
        {
            "machine": platform.processor() or platform.machine(),
            "cpu": torch.backends.cpu.get_cpu_capability(),
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
