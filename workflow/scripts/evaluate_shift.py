"""Test trained nets on rotated test images: a table and a figure of metrics against the angle.

Args:
    data: target images
    weights: files of the batches of nets
    priors: file of each prior of each layer, as PRIOR/LAYER=FILE
    angles: degrees
    output: CSV of all runs
    table: .md of the means over splits to write, with a .html
    figures: files of the figure
    device: where to compute
    checkpoint_minutes: not used
"""

import re
from pathlib import Path
from typing import Literal

import pandas as pd
import torch

from dwp.data.tensors import ImageTensors
from dwp.devices import choose_device
from dwp.evaluation.shift import METRICS, metrics_by_angle
from dwp.evaluation.statistics import summarise
from dwp.evaluation.tables import write_readable
from dwp.files import load_tensors, write_csv
from dwp.plots.curves import curves
from dwp.plots.style import save
from dwp.priors import load_prior
from dwp.study.program import program
from dwp.study.settings import RunSettings


@program
def main(
    *,
    data: Path,
    weights: list[Path],
    priors: dict[str, Path] | None = None,
    angles: list[float],
    output: Path,
    table: Path,
    figures: list[Path],
    device: Literal["auto", "cpu", "cuda"] = "cpu",
    checkpoint_minutes: float = 5,
) -> None:
    torch.set_num_threads(1)
    target, rows = ImageTensors.load(data), []
    for path in weights:
        tensors, header = load_tensors(path, kind="classifiers")
        settings = RunSettings(**{k: v for k, v in header.items() if k in RunSettings.model_fields})
        own = {
            layer: load_prior(file)
            for (prior, _, layer), file in (
                (k.partition("/"), v) for k, v in (priors or {}).items()
            )
            if prior == header["prior"]
        }
        states: dict[str, dict] = {}
        for name, tensor in tensors.items():
            run, _, parameter = name.partition("/")
            states.setdefault(run, {})[parameter] = tensor
        for name, state in states.items():  # of a name such as split0-seed3
            run = {column: int(n) for column, n in re.findall(r"([a-z]+)(\d+)", name)}
            found = metrics_by_angle(
                state,
                (run["split"], run["seed"]),
                target,
                angles,
                settings=settings,
                priors=own or None,
                device=choose_device(device),
            )
            columns = {name: header[name] for name in ("domain", "prior", "init", "n")} | run
            rows += [
                {**columns, "angle": angle, "metric": name, "value": value}
                for angle, metrics in zip(angles, found, strict=True)
                for name, value in metrics.items()
            ]
    runs = pd.DataFrame(rows)
    write_csv(output, runs)
    means = summarise(runs, ["prior", "angle", "metric"])
    write_readable(
        means.pivot(index=["prior", "angle"], columns="metric", values="mean").reset_index(), table
    )
    save(curves(runs, METRICS, "angle", "prior", over="split"), figures)


if __name__ == "__main__":
    main()
