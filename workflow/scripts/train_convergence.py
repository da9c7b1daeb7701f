"""Train whole nets from where their kernels start, and record how fast they get better."""

import argparse

import pandas as pd
import torch

from dwp.data.tensors import ImageTensors
from dwp.devices import choose_device
from dwp.errors import one_line_errors
from dwp.files import checked, digest, save_tensors
from dwp.priors import load_priors
from dwp.records import json_option
from dwp.runs import CHECKPOINT, kept, naming, run_folder
from dwp.training.convergence import train_from


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--init", nargs="*", help="LAYER=FILE; none: Xavier-normal")
    parser.add_argument("--settings", type=json_option("--settings"), required=True)
    parser.add_argument("--code", required=True, help="what other code made is made again")
    parser.add_argument("--folder", required=True, help="folder of a run, with {places}")
    parser.add_argument(
        "--runs", type=json_option("--runs", list), required=True, help="places of each run"
    )
    parser.add_argument("--device", default="cpu", help="auto, cpu or cuda")
    parser.add_argument("--checkpoint-minutes", type=float, default=5, help="from one to the next")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    device = choose_device(arguments.device)

    data = ImageTensors.load(arguments.data)
    init = load_priors(arguments.init)
    layers = arguments.init or []
    inputs = digest([arguments.data, *(layer.partition("=")[2] for layer in layers)])
    for run in arguments.runs:
        folder = run_folder(arguments.folder, run)
        label = " ".join(folder.parts[-5:])
        settings = {**arguments.settings, **run}
        identity = {**settings, "code": arguments.code, "inputs": inputs}
        checkpoint = folder / CHECKPOINT
        drawing = arguments.settings["kind"] == "image-vae"
        names = ["weights.safetensors", "history.csv", *["samples.safetensors"] * drawing]
        with naming(label), kept(folder, names, identity) as place:
            if place is None:
                print(f"{label}: finished before")
            else:
                net, records, drawn = train_from(
                    data,
                    arguments.settings,
                    **run,
                    init=init,
                    device=device,
                    checkpoint=checkpoint,
                    checkpoint_seconds=60 * arguments.checkpoint_minutes,
                    identity=identity,
                    label=label,
                )
                weights = place / "weights.safetensors"
                save_tensors(weights, net.state_dict(), kind="convergence", settings=settings)
                with checked(place / "history.csv") as path:
                    history = pd.DataFrame(records).melt("step", var_name="metric")
                    history.to_csv(path, index=False)
                if drawing:
                    samples = place / "samples.safetensors"
                    save_tensors(samples, {"images": drawn}, kind="samples", settings=settings)


if __name__ == "__main__":
    main()
