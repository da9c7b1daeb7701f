"""Read one data set, from files, a download or its generator, into one tensor file."""

import argparse
import json

from dwp.data import data_folder, load_dataset
from dwp.data.tensors import ImageTensors
from dwp.errors import one_line_errors


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--location", type=json.loads, required=True, help="folder and download")
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    folder = data_folder(arguments.location["folder"])
    train, test = (
        load_dataset(
            arguments.dataset, folder, train=train, download=arguments.location["download"]
        )
        for train in (True, False)
    )
    tensors = ImageTensors(train.data[:, None], train.targets, test.data[:, None], test.targets)
    tensors.save(arguments.output, {"dataset": arguments.dataset})
    skipped = getattr(train, "skipped", 0)
    unreadable = f", {skipped} unreadable pictures skipped" if skipped else ""
    print(f"{arguments.dataset}: {len(train)} training and {len(test)} test images{unreadable}")


if __name__ == "__main__":
    main()
