"""Train source nets."""

import pandas as pd
import torch

from dwp.data.tensors import ImageTensors
from dwp.devices import choose_device
from dwp.errors import one_line_errors
from dwp.files import save_tensors, write_csv, write_json
from dwp.nn.networks import network_class
from dwp.study.commands import train_unfinished, training_options
from dwp.training.source import nets_together, train_source_nets


@one_line_errors
def main() -> None:
    arguments = training_options(__doc__).parse_args()
    torch.set_num_threads(1)
    device = choose_device(arguments.device)
    network = network_class(arguments.settings["network"])
    data = ImageTensors.load(arguments.data, network.image_shape).to(device)
    together = nets_together(arguments.settings, device)
    runs = arguments.runs
    groups = [runs[first : first + together] for first in range(0, len(runs), together)]

    def train(runs, **options) -> None:
        seeds = [run.places["seed"] for run in runs]
        trained = train_source_nets(data, arguments.settings, seeds, device=device, **options)
        for run, (net, records, metrics) in zip(runs, trained, strict=True):
            weights = run.folder / "weights.safetensors"
            save_tensors(weights, net.state_dict(), kind="source net", settings=run.settings)
            write_csv(run.folder / "history.csv", pd.DataFrame(records))
            write_json(run.folder / "metrics.json", metrics)

    names = ("weights.safetensors", "history.csv", "metrics.json")
    train_unfinished(arguments, names, train, depth=3, groups=groups)


if __name__ == "__main__":
    main()
