"""Train classifiers on convolutions that stay as they were initialised."""

import torch

from dwp.data.tensors import ImageTensors
from dwp.devices import choose_device
from dwp.errors import one_line_errors
from dwp.files import save_tensors, write_json
from dwp.nn.networks import network_class
from dwp.priors import load_priors
from dwp.study.commands import train_unfinished, training_options
from dwp.training.features import train_on_features, trained_state


@one_line_errors
def main() -> None:
    arguments = training_options(__doc__, ("init", "(none: Xavier-normal)")).parse_args()
    torch.set_num_threads(1)
    device = choose_device(arguments.device)
    network = network_class(arguments.settings["network"])
    data = ImageTensors.load(arguments.data, network.image_shape)
    init = load_priors(arguments.init)

    def train(runs, **options) -> None:
        (run,) = runs
        net, metrics = train_on_features(
            data, arguments.settings, **run.places, init=init, device=device, **options
        )
        weights = run.folder / "weights.safetensors"
        state = trained_state(net)
        save_tensors(weights, state, kind="trained on features", settings=run.settings)
        write_json(run.folder / "metrics.json", metrics)

    names = ("weights.safetensors", "metrics.json")
    train_unfinished(arguments, names, train, depth=5, layers=arguments.init)


if __name__ == "__main__":
    main()
