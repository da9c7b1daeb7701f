"""Train whole nets from where their kernels start, and record how fast they get better."""

import pandas as pd
import torch

from dwp.data.tensors import ImageTensors
from dwp.devices import choose_device
from dwp.errors import one_line_errors
from dwp.files import save_tensors, write_csv
from dwp.priors import load_priors
from dwp.study.commands import train_unfinished, training_options
from dwp.training.convergence import train_from


@one_line_errors
def main() -> None:
    arguments = training_options(__doc__, ("init", "(none: Xavier-normal)")).parse_args()
    torch.set_num_threads(1)
    device = choose_device(arguments.device)
    data = ImageTensors.load(arguments.data)
    init = load_priors(arguments.init)
    drawing = arguments.settings["kind"] == "image-vae"

    def train(runs, **options) -> None:
        (run,) = runs
        net, records, drawn = train_from(
            data, arguments.settings, **run.places, init=init, device=device, **options
        )
        weights = run.folder / "weights.safetensors"
        save_tensors(weights, net.state_dict(), kind="convergence", settings=run.settings)
        history = pd.DataFrame(records).melt("step", var_name="metric")
        write_csv(run.folder / "history.csv", history)
        if drawing:
            samples = run.folder / "samples.safetensors"
            save_tensors(samples, {"images": drawn}, kind="samples", settings=run.settings)

    names = ["weights.safetensors", "history.csv", *["samples.safetensors"] * drawing]
    train_unfinished(arguments, names, train, depth=5, layers=arguments.init)


if __name__ == "__main__":
    main()
