"""Time a DWP step as the work grows, and the memory of the VAE term, each in a process of its own.

Writes a JSON file and a figure: time against filters, examples and kernels, memory against kernels.
"""

import argparse
import resource
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from dwp.fast import faster
from dwp.files import write_json
from dwp.plots.style import DOUBLE_COLUMN, save, styled
from dwp.study.study import JOB_ENVIRONMENT

import ours  # isort: skip
from run import images, process  # isort: skip

# axis: (its values, their label, what is timed)
AXES = {
    "kernels": (
        (256, 1024, 4096, 16384, 65536),
        "5 x 5 kernels in the VAE term",
        lambda n: ours.VaeTerm(n),
    ),
    "filters": (
        ((8, 32), (16, 64), (32, 128), (64, 256)),
        "kernels of a net, 50 examples",
        lambda f: ours.Dwp(*images(50), f),
    ),
    "examples": (
        (25, 50, 100, 200, 400),
        "examples, 32 and 128 filters",
        lambda n: ours.Dwp(*images(n), (32, 128)),
    ),
}


def memory() -> int:
    """Return the most bytes that this process has had."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(axis: str, number: int) -> dict:
    """Return the median seconds of a step, and the bytes that stepping adds to the process."""
    torch.set_num_threads(1)
    value, make = AXES[axis][0][number], AXES[axis][2]
    step, times = make(value), []
    before = memory()
    with faster():
        for _ in range(4):
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
    size = value[0] + value[0] * value[1] if axis == "filters" else value
    return {"value": size, "seconds": median(times[1:]), "bytes": memory() - before}


@styled
def draw(results: dict[str, list[dict]]) -> Figure:
    """Draw the measurements: a panel an axis, and one for memory."""
    figure = Figure(figsize=(DOUBLE_COLUMN, 3.8), layout="constrained")
    panels = figure.subplots(2, 2).flatten()
    for axes, name in zip(panels, [*AXES, "kernels"], strict=True):
        values, seconds, size = np.transpose([list(row.values()) for row in results[name]])
        axes.set_xlabel(AXES[name][1])
        if axes is panels[-1]:
            axes.semilogx(values, size / 2**20, "o-")
            axes.set_ylim(0, 1.1 * size.max() / 2**20)
            axes.set_ylabel("memory apart from them (MiB)")
        else:
            axes.loglog(values, seconds, "o-", color="#d55e00")
            last = seconds[-1] * values / values[-1]
            axes.loglog(values, last, "--", color="0.6", linewidth=0.8, label="in proportion")
            axes.set_ylabel("seconds a step")
        axes.set_xticks(values, [f"{value:.0f}" for value in values])
        axes.xaxis.set_minor_formatter(NullFormatter())
    panels[0].legend()
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("results/growth.json"))
    parser.add_argument("--figure", type=Path, default=Path("docs/performance-growth.png"))
    arguments = parser.parse_args()
    results: dict[str, list[dict]] = {axis: [] for axis in AXES}
    for axis, (values, label, _) in AXES.items():
        for number in range(len(values)):
            with process(JOB_ENVIRONMENT) as call:
                row = call(measure, axis, number)
            results[axis].append(row)
            size = f"{row['bytes'] / 2**20:.0f} MiB"
            print(f"{label}: {row['value']:6} {row['seconds']:8.4f} s {size}", flush=True)
    write_json(arguments.output, results)
    save(draw(results), [arguments.figure])
    print(f"written: {arguments.output}, {arguments.figure}")


if __name__ == "__main__":
    main()
