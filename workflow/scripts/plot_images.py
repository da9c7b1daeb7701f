"""Draw images of generative models: a row per initialisation, a column per step of training.

Args:
    weights: file of the batch with the first seed, of each initialisation
    outputs: files of the figure
"""

from pathlib import Path

from dwp.files import load_tensors
from dwp.plots.kernels import images_by_step
from dwp.plots.style import save
from dwp.study.program import program


@program
def main(*, weights: list[Path], outputs: list[Path]) -> None:
    images, steps = {}, []
    for path in weights:
        tensors, header = load_tensors(path, kind="convergence")
        images[header["init"]] = tensors[f"seed{header['runs'][0]['seed']}/drawn"]
        steps = header["sample_steps"]
    save(images_by_step(images, steps), outputs)


if __name__ == "__main__":
    main()
