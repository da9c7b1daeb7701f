"""Train nets on a few target images under one prior."""

import argparse
import contextlib
import itertools

import pandas as pd
import torch

from dwp.data.tensors import ImageTensors
from dwp.devices import choose_device
from dwp.errors import deadline_after, one_line_errors
from dwp.files import checked, digest, save_tensors
from dwp.nn.networks import network_class
from dwp.priors import load_priors
from dwp.records import json_option
from dwp.runs import CHECKPOINT, kept, naming, run_folder
from dwp.training.classification import train_classifiers


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--priors", nargs="*", help="LAYER=FILE for each Bayesian layer")
    parser.add_argument("--init", nargs="*", help="LAYER=FILE; none: Xavier-normal")
    parser.add_argument("--penalty", nargs="*", help="LAYER=FILE for a plain net's weights")
    parser.add_argument("--settings", type=json_option("--settings"), required=True)
    parser.add_argument("--code", required=True, help="what other code made is made again")
    parser.add_argument("--folder", required=True, help="folder of a run, with {places}")
    parser.add_argument(
        "--runs", type=json_option("--runs", list), required=True, help="places of each run"
    )
    parser.add_argument("--device", default="cpu", help="auto, cpu or cuda")
    parser.add_argument("--minutes", type=float, help="stop with a checkpoint after so many")
    parser.add_argument("--tolerant", action="store_true", help="go on after a run that diverges")
    parser.add_argument("--checkpoint-minutes", type=float, default=5, help="from one to the next")
    arguments = parser.parse_args()
    deadline = deadline_after(arguments.minutes)
    torch.set_num_threads(1)
    device = choose_device(arguments.device)

    network = network_class(arguments.settings["network"])
    target = ImageTensors.load(arguments.data, network.image_shape)
    layers = arguments.priors or [], arguments.init or [], arguments.penalty or []
    priors, init, penalty = map(load_priors, layers)
    files = (layer.partition("=")[2] for layer in itertools.chain(*layers))
    inputs = digest([arguments.data, *files])
    names = ("weights.safetensors", "history.csv")
    for group in _groups(arguments.runs, device):
        with contextlib.ExitStack() as stack:
            todo = []
            for run in group:
                folder = run_folder(arguments.folder, run)
                label = " ".join(folder.parts[-8:])
                settings = {**arguments.settings, **run}
                identity = {**settings, "code": arguments.code, "inputs": inputs}
                place = stack.enter_context(kept(folder, names, identity))
                if place is None:
                    print(f"{label}: finished before")
                else:
                    todo.append((run, place, label, settings, identity))
            if not todo:
                continue
            runs, places, labels, settings, identities = zip(*todo, strict=True)
            checkpoint = places[0].parent / CHECKPOINT
            label = labels[0] if len(todo) == 1 else f"{labels[0]} and {len(todo) - 1} others"
            with naming(label):
                trained = train_classifiers(
                    target,
                    arguments.settings,
                    [(run["split"], run["seed"]) for run in runs],
                    n=runs[0]["n"],
                    priors=priors,
                    init=init,
                    penalty=penalty,
                    device=device,
                    checkpoint=checkpoint,
                    deadline=deadline,
                    checkpoint_seconds=60 * arguments.checkpoint_minutes,
                    identity={"runs": list(identities)},
                    label=label,
                    tolerant=arguments.tolerant,
                )
            for (net, records), place, header in zip(trained, places, settings, strict=True):
                weights = place / "weights.safetensors"
                save_tensors(weights, net.state_dict(), kind="classifier", settings=header)
                rows = [
                    {"step": record["step"], "metric": name, "value": value}
                    for record in records
                    for name, value in record.items()
                    if name != "step"
                ]
                with checked(place / "history.csv") as path:
                    pd.DataFrame(rows).to_csv(path, index=False)


def _groups(runs: list[dict[str, int]], device: str) -> list[list[dict[str, int]]]:
    """The runs to train together: on a GPU all of one size, where launches of kernels dominate."""
    if device == "cpu":
        return [[run] for run in runs]
    by_size = itertools.groupby(sorted(runs, key=lambda run: run["n"]), key=lambda run: run["n"])
    return [list(group) for _, group in by_size]


if __name__ == "__main__":
    main()
