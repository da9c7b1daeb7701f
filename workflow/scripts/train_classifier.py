"""Train nets on a few target images under one prior."""

import itertools
from collections.abc import Mapping, Sequence

import pandas as pd
import torch

from dwp.data.tensors import ImageTensors
from dwp.devices import choose_device
from dwp.errors import one_line_errors
from dwp.files import save_tensors, write_csv
from dwp.nn.networks import network_class
from dwp.priors import load_priors
from dwp.study.commands import train_unfinished, training_options
from dwp.training.classification import train_classifiers


@one_line_errors
def main() -> None:
    parser = training_options(
        __doc__,
        ("priors", "for each Bayesian layer"),
        ("init", "(none: Xavier-normal)"),
        ("penalty", "for a plain net's weights"),
    )
    parser.add_argument("--tolerant", action="store_true", help="go on after a run that diverges")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    device = choose_device(arguments.device)
    network = network_class(arguments.settings["network"])
    target = ImageTensors.load(arguments.data, network.image_shape)
    layers = arguments.priors, arguments.init, arguments.penalty
    priors, init, penalty = map(load_priors, layers)

    def train(runs, **options) -> None:
        trained = train_classifiers(
            target,
            arguments.settings,
            [(run.places["split"], run.places["seed"]) for run in runs],
            n=runs[0].places["n"],
            priors=priors,
            init=init,
            penalty=penalty,
            device=device,
            tolerant=arguments.tolerant,
            **options,
        )
        for run, (net, records) in zip(runs, trained, strict=True):
            weights = run.folder / "weights.safetensors"
            save_tensors(weights, net.state_dict(), kind="classifier", settings=run.settings)
            rows = [
                {"step": record["step"], "metric": name, "value": value}
                for record in records
                for name, value in record.items()
                if name != "step"
            ]
            write_csv(run.folder / "history.csv", pd.DataFrame(rows))

    names = ("weights.safetensors", "history.csv")
    groups = _groups(arguments.runs, device)
    files = itertools.chain(*layers)
    train_unfinished(arguments, names, train, depth=8, layers=files, groups=groups)


def _groups(
    runs: Sequence[Mapping[str, int]], device: str
) -> list[Sequence[Mapping[str, int]]] | None:
    """The runs to train together: on a GPU all of one size, where launches of kernels dominate."""
    if device == "cpu":
        return None
    by_size = itertools.groupby(sorted(runs, key=lambda run: run["n"]), key=lambda run: run["n"])
    return [list(group) for _, group in by_size]


if __name__ == "__main__":
    main()
