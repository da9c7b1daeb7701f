"""Train source nets."""

import argparse
import json
from pathlib import Path

import pandas as pd
import torch

from dwp.data.tensors import ImageTensors
from dwp.devices import choose_device
from dwp.errors import one_line_errors
from dwp.files import atomic, digest, save_tensors, write_json
from dwp.runs import kept, naming
from dwp.training.source import train_source_net


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--settings", type=json.loads, required=True)
    parser.add_argument("--code", required=True, help="what other code made is made again")
    parser.add_argument("--folder", required=True, help="folder of a net, with {seed}")
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--device", default="cpu", help="auto, cpu or cuda")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    device = choose_device(arguments.device)

    data = ImageTensors.load(arguments.data)
    inputs = digest([arguments.data])
    names = ("weights.safetensors", "history.csv", "metrics.json")
    for seed in arguments.seeds:
        label = f"source net {seed}"
        folder = Path(arguments.folder.format(seed=seed))
        settings = {**arguments.settings, "seed": seed}
        identity = {**settings, "code": arguments.code, "inputs": inputs}
        checkpoint = folder / "weights.safetensors.checkpoint"
        with naming(label), kept(folder, names, identity) as place:
            if place is None:
                print(f"{label}: finished before")
            else:
                net, records, metrics = train_source_net(
                    data,
                    settings,
                    seed,
                    device=device,
                    checkpoint=checkpoint,
                    identity=identity,
                )
                weights = place / "weights.safetensors"
                save_tensors(weights, net.state_dict(), kind="source net", settings=settings)
                with atomic(place / "history.csv") as path:
                    pd.DataFrame(records).to_csv(path, index=False)
                write_json(place / "metrics.json", metrics)
        checkpoint.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
