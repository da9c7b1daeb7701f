"""Train whole nets from where their kernels start, and record how fast they get better.

The weights of an image VAE have a tensor `drawn` as well: images (sample_steps, 8, h, w).

Args:
    settings: of the training
    init: prior of each layer to draw kernels from; none: Xavier-normal
"""

from pathlib import Path

from dwp.data.tensors import ImageTensors
from dwp.priors import load_prior
from dwp.study.program import program
from dwp.study.runs import Batch
from dwp.study.settings import ConvergenceTraining
from dwp.training.convergence import train_from


@program
def main(
    batch: Batch, *, settings: ConvergenceTraining, init: dict[str, Path] | None = None
) -> None:
    data = ImageTensors.load(batch.data)
    start = {layer: load_prior(path) for layer, path in (init or {}).items()} or None

    def train(group, **options):
        (run,) = group
        net, records, drawn = train_from(data, settings, init=start, **run, **options)
        images = {} if drawn is None else {"drawn": drawn}
        return [(net.state_dict() | images, records, {})]

    batch.write(batch.train(train, settings, init), settings, kind="convergence")


if __name__ == "__main__":
    main()
