"""Draw images of generative models: a row per initialisation, a column per step of training.

Args:
    samples: file of each initialisation
    outputs: files of the figure
"""

from pathlib import Path

from dwp.files import load_tensors
from dwp.plots.kernels import images_by_step
from dwp.plots.style import save
from dwp.study.program import program


@program
def main(*, samples: dict[str, Path], outputs: list[Path]) -> None:
    loaded = {init: load_tensors(path, kind="samples") for init, path in samples.items()}
    steps = next(iter(loaded.values()))[1]["sample_steps"]
    images = {init: tensors["images"] for init, (tensors, _) in loaded.items()}
    save(images_by_step(images, steps), outputs)


if __name__ == "__main__":
    main()
