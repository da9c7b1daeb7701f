"""Train one source net."""

import argparse
import json
from pathlib import Path

import pandas as pd
import torch

from dwp.data.tensors import ImageTensors
from dwp.devices import choose_device
from dwp.errors import one_line_errors
from dwp.files import atomic, digest, save_tensors, write_json
from dwp.training.source import train_source_net


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--settings", type=json.loads, required=True)
    parser.add_argument("--code", required=True, help="a checkpoint of other code is ignored")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--device", default="cpu", help="auto, cpu or cuda")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--history", required=True)
    parser.add_argument("--metrics", required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    settings = {**arguments.settings, "seed": arguments.seed}
    checkpoint = Path(f"{arguments.weights}.checkpoint")
    net, records, metrics = train_source_net(
        ImageTensors.load(arguments.data),
        settings,
        arguments.seed,
        device=choose_device(arguments.device),
        checkpoint=checkpoint,
        identity={**settings, "code": arguments.code, "inputs": digest([arguments.data])},
    )
    save_tensors(arguments.weights, net.state_dict(), kind="source net", settings=settings)
    with atomic(arguments.history) as path:
        pd.DataFrame(records).to_csv(path, index=False)
    write_json(arguments.metrics, metrics)
    checkpoint.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
