"""Train whole nets from where their kernels start, and record how fast they get better.

The weights of an image VAE have a tensor `drawn` as well: images (sample_steps, 8, h, w).

Args:
    settings: of the training
    init: files of priors, LAYER.safetensors, to draw kernels from; none: Xavier-normal
"""

from pathlib import Path

from dwp.data.tensors import ImageTensors
from dwp.priors.load import load_priors
from dwp.study.program import program
from dwp.study.runs import Batch
from dwp.study.settings import ConvergenceTraining
from dwp.training.convergence import train_from


@program
def main(batch: Batch, *, settings: ConvergenceTraining, init: list[Path] | None = None) -> None:
    data = ImageTensors.load(batch.data)
    start = load_priors(init)

    def train(group, **options):
        (run,) = group
        net, records, drawn = train_from(data, settings, init=start, **run, **options)
        images = {} if drawn is None else {"drawn": drawn}
        return [(net.state_dict() | images, records, {})]

    batch.write(batch.train(train, settings, init), settings, kind="convergence")


if __name__ == "__main__":
    main()
