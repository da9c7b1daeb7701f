"""Train source nets."""

import argparse
import contextlib

import pandas as pd
import torch

from dwp.data.tensors import ImageTensors
from dwp.devices import choose_device
from dwp.errors import deadline_after, one_line_errors
from dwp.files import checked, digest, save_tensors, write_json
from dwp.nn.networks import network_class
from dwp.records import json_option
from dwp.runs import CHECKPOINT, kept, naming, run_folder
from dwp.training.source import nets_together, train_source_nets


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--settings", type=json_option("--settings"), required=True)
    parser.add_argument("--code", required=True, help="what other code made is made again")
    parser.add_argument("--folder", required=True, help="folder of a net, with {seed}")
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--device", default="cpu", help="auto, cpu or cuda")
    parser.add_argument("--checkpoint-minutes", type=float, default=5, help="from one to the next")
    parser.add_argument("--minutes", type=float, help="stop with a checkpoint after so many")
    arguments = parser.parse_args()
    deadline = deadline_after(arguments.minutes)
    torch.set_num_threads(1)
    device = choose_device(arguments.device)

    network = network_class(arguments.settings["network"])
    data = ImageTensors.load(arguments.data, network.image_shape).to(device)
    inputs = digest([arguments.data])
    names = ("weights.safetensors", "history.csv", "metrics.json")
    together = nets_together(arguments.settings, device)
    for first in range(0, len(arguments.seeds), together):
        with contextlib.ExitStack() as stack:
            todo = []
            for seed in arguments.seeds[first : first + together]:
                folder = run_folder(arguments.folder, {"seed": seed})
                label = " ".join(folder.parts[-3:])
                settings = {**arguments.settings, "seed": seed}
                identity = {**settings, "code": arguments.code, "inputs": inputs}
                place = stack.enter_context(kept(folder, names, identity))
                if place is None:
                    print(f"{label}: finished before")
                else:
                    todo.append((seed, place, label, settings, identity))
            if not todo:
                continue
            seeds, places, labels, headers, identities = zip(*todo, strict=True)
            checkpoint = places[0].parent / CHECKPOINT
            label = labels[0] if len(todo) == 1 else f"{labels[0]} and {len(todo) - 1} others"
            with naming(label):
                trained = train_source_nets(
                    data,
                    arguments.settings,
                    seeds,
                    device=device,
                    checkpoint=checkpoint,
                    checkpoint_seconds=60 * arguments.checkpoint_minutes,
                    deadline=deadline,
                    identity={"nets": list(identities)},
                    label=label,
                )
            for result, place, header in zip(trained, places, headers, strict=True):
                net, records, metrics = result
                weights = place / "weights.safetensors"
                save_tensors(weights, net.state_dict(), kind="source net", settings=header)
                with checked(place / "history.csv") as path:
                    pd.DataFrame(records).to_csv(path, index=False)
                write_json(place / "metrics.json", metrics)


if __name__ == "__main__":
    main()
