"""Train the source nets of a batch.

Args:
    settings: of the training
"""

from dwp.data.tensors import ImageTensors
from dwp.nn.networks import network_class
from dwp.study.program import program
from dwp.study.runs import Batch
from dwp.study.settings import SourceTraining
from dwp.training.source import nets_together, train_source_nets


@program
def main(batch: Batch, *, settings: SourceTraining) -> None:
    data = ImageTensors.load(batch.data, network_class(settings.network).image_shape)
    data = data.to(batch.chosen_device)

    def train(group, **options):
        seeds = [run["seed"] for run in group]
        trained = train_source_nets(data, settings, seeds, **options)
        return [(net.state_dict(), *results) for net, *results in trained]

    together = nets_together(settings, batch.chosen_device)
    finished = batch.train(train, settings, together=together)
    batch.write(finished, settings, kind="source nets")


if __name__ == "__main__":
    main()
