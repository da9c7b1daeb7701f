"""Train one net on a few target images under one prior."""

import argparse
import json
from pathlib import Path

import pandas as pd
import torch

from dwp.data.tensors import ImageTensors
from dwp.devices import choose_device
from dwp.errors import one_line_errors
from dwp.files import atomic, digest, save_tensors
from dwp.priors import load_priors
from dwp.training.classification import train_classifiers


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--priors", nargs="*", help="LAYER=FILE for each Bayesian layer")
    parser.add_argument("--init", nargs="*", help="LAYER=FILE; none: Xavier-normal")
    parser.add_argument("--settings", type=json.loads, required=True)
    parser.add_argument("--code", required=True, help="a checkpoint of other code is ignored")
    parser.add_argument("--n", type=int, required=True)
    parser.add_argument("--split", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--device", default="cpu", help="auto, cpu or cuda")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--history", required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    place = {"n": arguments.n, "split": arguments.split, "seed": arguments.seed}
    layers = [*(arguments.priors or []), *(arguments.init or [])]
    inputs = digest([arguments.data, *(layer.partition("=")[2] for layer in layers)])
    checkpoint = Path(f"{arguments.weights}.checkpoint")
    ((net, records),) = train_classifiers(
        ImageTensors.load(arguments.data),
        arguments.settings,
        [(arguments.split, arguments.seed)],
        n=arguments.n,
        priors=load_priors(arguments.priors),
        init=load_priors(arguments.init),
        device=choose_device(arguments.device),
        checkpoint=checkpoint,
        identity={**arguments.settings, **place, "code": arguments.code, "inputs": inputs},
        label=" ".join(Path(arguments.weights).parts[-6:-1]),
    )
    settings = {**arguments.settings, **place}
    save_tensors(arguments.weights, net.state_dict(), kind="classifier", settings=settings)
    rows = [
        {"step": record["step"], "metric": name, "value": value}
        for record in records
        for name, value in record.items()
        if name != "step"
    ]
    with atomic(arguments.history) as path:
        pd.DataFrame(rows).to_csv(path, index=False)
    checkpoint.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
