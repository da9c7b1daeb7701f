"""Read a data set, or some of one, from files, a download or its generator, into one file."""

import argparse

from dwp.data import data_folder, load_dataset
from dwp.data.choice import choose, dataset_of, describe
from dwp.errors import one_line_errors
from dwp.records import json_option


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--choice", type=json_option("--choice", str), required=True, help="see dwp.data.choice"
    )
    parser.add_argument(
        "--location", type=json_option("--location"), required=True, help="folder and download"
    )
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    folder = data_folder(arguments.location["folder"])
    train, test = (
        load_dataset(
            dataset_of(arguments.choice),
            folder,
            train=train,
            download=arguments.location["download"],
        )
        for train in (True, False)
    )
    images = choose(arguments.choice, train, test)
    images.save(arguments.output, {"choice": arguments.choice})
    skipped = getattr(train, "skipped", 0)
    unreadable = f", {skipped} unreadable pictures skipped" if skipped else ""
    counts = f"{len(images.train_images)} training and {len(images.test_images)} test images"
    print(f"{describe(arguments.choice)}: {counts}{unreadable}")


if __name__ == "__main__":
    main()
