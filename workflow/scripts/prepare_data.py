"""Reads a data set, or some of one, from files, a download or its generator, into one file."""

import random
from pathlib import Path

import numpy as np
import torch

from dwp.data import data_folder, load_dataset
from dwp.data.choice import choose, describe
from dwp.seeds import derive_seed
from dwp.study.program import program
from dwp.study.settings import Choice, DataFolder


@program
def main(*, choice: Choice, location: DataFolder, output: Path) -> None:
    """Read a data set, or some of one, from files, a download or its generator, into one file.

    Args:
        choice: see dwp.data.choice
        location: folder and download
        output: the file, .safetensors
    """
    name, folder = choice.dataset, data_folder(location.folder)
    # A data set of one's own may draw from the global generators.
    seed = derive_seed("data", name)
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)
    train, test = (
        load_dataset(name, folder, train=train, download=location.download)
        for train in (True, False)
    )
    images = choose(choice, train, test)
    images.save(output, {"choice": choice.dump()})
    skipped = getattr(train, "skipped", 0)
    unreadable = f", {skipped} unreadable pictures skipped" if skipped else ""
    counts = f"{len(images.train_images)} training and {len(images.test_images)} test images"
    print(f"{describe(choice)}: {counts}{unreadable}")


if __name__ == "__main__":
    main()
