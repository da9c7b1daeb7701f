"""Train nets on a few target images under one prior."""

import argparse
import json
from pathlib import Path

import pandas as pd
import torch

from dwp.data.tensors import ImageTensors
from dwp.errors import one_line_errors
from dwp.files import atomic, digest, save_tensors
from dwp.priors import load_priors
from dwp.runs import kept, naming
from dwp.training.classification import train_classifier


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--priors", nargs="*", help="LAYER=FILE for each Bayesian layer")
    parser.add_argument("--init", nargs="*", help="LAYER=FILE; none: Xavier-normal")
    parser.add_argument("--settings", type=json.loads, required=True)
    parser.add_argument("--code", required=True, help="what other code made is made again")
    parser.add_argument("--folder", required=True, help="folder of a run, with {places}")
    parser.add_argument("--runs", type=json.loads, required=True, help="places of each run")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    target = ImageTensors.load(arguments.data)
    priors, init = load_priors(arguments.priors), load_priors(arguments.init)
    layers = [*(arguments.priors or []), *(arguments.init or [])]
    inputs = digest([arguments.data, *(layer.partition("=")[2] for layer in layers)])
    names = ("weights.safetensors", "history.csv")
    for run in arguments.runs:
        folder = Path(arguments.folder.format(**run))
        label = " ".join(folder.parts[-5:])
        settings = {**arguments.settings, **run}
        identity = {**settings, "code": arguments.code, "inputs": inputs}
        checkpoint = folder / "weights.safetensors.checkpoint"
        with naming(label), kept(folder, names, identity) as place:
            if place is None:
                print(f"{label}: finished before")
            else:
                net, records = train_classifier(
                    target,
                    arguments.settings,
                    **run,
                    priors=priors,
                    init=init,
                    device=arguments.device,
                    checkpoint=checkpoint,
                    identity=identity,
                    label=label,
                )
                weights = place / "weights.safetensors"
                save_tensors(weights, net.state_dict(), kind="classifier", settings=settings)
                rows = [
                    {"step": record["step"], "metric": name, "value": value}
                    for record in records
                    for name, value in record.items()
                    if name != "step"
                ]
                with atomic(place / "history.csv") as path:
                    pd.DataFrame(rows).to_csv(path, index=False)
        checkpoint.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
