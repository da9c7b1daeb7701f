"""Test trained nets on rotated test images: a table and a figure of metrics against the angle.

Args:
    data: target images
    weights: files of the batches of nets
    priors: files of the priors by layer, each in the folder of its prior
    angles: degrees
    output: CSV of all runs
    table: .md of the means over splits to write, with a .html
    figure: files of the figure
    device: where to compute
"""

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
from dwp.priors.load import load_priors
from dwp.study.program import program
from dwp.study.runs import run_name
from dwp.study.settings import RunSettings


@program
def main(
    *,
    data: Path,
    weights: list[Path],
    priors: list[Path] | None = None,
    angles: list[float],
    output: Path,
    table: Path,
    figure: list[Path],
    device: Literal["auto", "cpu", "cuda"] = "cpu",
) -> None:
    torch.set_num_threads(1)
    target, rows, chosen_device = ImageTensors.load(data), [], choose_device(device)
    for path in weights:
        tensors, header = load_tensors(path, kind="classifiers")
        settings = RunSettings(**{k: v for k, v in header.items() if k in RunSettings.model_fields})
        of_prior = [file for file in priors or [] if file.parent.name == header["prior"]]
        own = load_priors(of_prior)
        for each in header["runs"]:
            run = {"split": each["split"], "seed": each["seed"]}
            start = f"{run_name(run)}/"
            state = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
            options = {"settings": settings, "priors": own, "device": chosen_device}
            split_and_seed = run["split"], run["seed"]
            found = metrics_by_angle(state, split_and_seed, target, angles, **options)
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
    save(curves(runs, METRICS, "angle", "prior", over="split"), figure)


if __name__ == "__main__":
    main()
