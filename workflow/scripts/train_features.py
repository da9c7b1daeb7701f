"""Train classifiers on convolutions that stay as they were initialised."""

import argparse

import torch

from dwp.data.tensors import ImageTensors
from dwp.devices import choose_device
from dwp.errors import one_line_errors
from dwp.files import digest, save_tensors, write_json
from dwp.nn.networks import network_class
from dwp.priors import load_priors
from dwp.records import json_option
from dwp.runs import CHECKPOINT, kept, naming, run_folder
from dwp.training.features import train_on_features, trained_state


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

    network = network_class(arguments.settings["network"])
    data = ImageTensors.load(arguments.data, network.image_shape)
    init = load_priors(arguments.init)
    layers = arguments.init or []
    inputs = digest([arguments.data, *(layer.partition("=")[2] for layer in layers)])
    for run in arguments.runs:
        folder = run_folder(arguments.folder, run)
        label = " ".join(folder.parts[-5:])
        settings = {**arguments.settings, **run}
        identity = {**settings, "code": arguments.code, "inputs": inputs}
        checkpoint = folder / CHECKPOINT
        names = ("weights.safetensors", "metrics.json")
        with naming(label), kept(folder, names, identity) as place:
            if place is None:
                print(f"{label}: finished before")
            else:
                net, metrics = train_on_features(
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
                state = trained_state(net)
                save_tensors(weights, state, kind="trained on features", settings=settings)
                write_json(place / "metrics.json", metrics)


if __name__ == "__main__":
    main()
