"""Draw images of generative models: a row per initialisation, a column per step of training."""

import argparse
from pathlib import Path

from dwp.errors import one_line_errors
from dwp.files import load_tensors
from dwp.plots.images import images_by_step
from dwp.plots.style import save


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", nargs="+", required=True, help=".../INIT/seedN/NAME")
    parser.add_argument("--outputs", nargs="+", required=True)
    arguments = parser.parse_args()
    images = {}
    for path in arguments.samples:
        tensors, settings = load_tensors(path, kind="samples")
        images[Path(path).parts[-3]] = tensors["images"]
    save(images_by_step(images, settings["sample_steps"]), arguments.outputs)


if __name__ == "__main__":
    main()
