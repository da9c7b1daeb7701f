"""Train classifiers on convolutions that stay as they were initialised, for one init and scale.

Args:
    settings: of the training
    init: files of priors, LAYER.safetensors, to draw kernels from; none: Xavier-normal
"""

from pathlib import Path

from dwp.data.tensors import ImageTensors
from dwp.nn.networks import network_class
from dwp.priors.load import load_priors
from dwp.study.program import program
from dwp.study.runs import Batch
from dwp.study.settings import FeatureTraining
from dwp.training.features import train_on_features, trained_state


@program
def main(batch: Batch, *, settings: FeatureTraining, init: list[Path] | None = None) -> None:
    data = ImageTensors.load(batch.data, network_class(settings.network).image_shape)
    start = load_priors(init)
    scale = batch.columns["scale"]

    def train(group, **options):
        (run,) = group
        options |= {"scale": scale, "init": start}
        net, metrics = train_on_features(data, settings, **run, **options)
        return [(trained_state(net), [], metrics)]

    finished = batch.train(train, settings, init, scale=scale)
    batch.write(finished, settings, kind="features")


if __name__ == "__main__":
    main()
