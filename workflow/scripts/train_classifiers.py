"""Train and test the nets of a batch: of one prior, init, variant and number of target images.

Args:
    source: source images, out of the distribution of the target's
    priors: prior of each Bayesian layer
    init: prior of each layer to draw kernels from; none: Xavier-normal
    penalty: prior of each layer of a plain net, by which its kernels are penalised
    settings: of the training
    test_settings: of the test; default: those of the training
    n: training images; default: that of the columns
    tolerant: go on after a run that diverges; its numbers are missing
"""

from dataclasses import replace
from pathlib import Path

from dwp.data.tensors import ImageTensors
from dwp.evaluation.run import evaluate_run
from dwp.nn.networks import network_class
from dwp.priors import load_prior
from dwp.study.runs import Batch, batch_program
from dwp.study.settings import RunSettings, TestSettings
from dwp.training.classification import train_classifiers


@batch_program
def main(
    batch: Batch,
    *,
    source: Path,
    priors: dict[str, Path] | None = None,
    init: dict[str, Path] | None = None,
    penalty: dict[str, Path] | None = None,
    settings: RunSettings,
    test_settings: TestSettings | None = None,
    n: int | None = None,
    tolerant: bool = False,
) -> None:
    shape = network_class(settings.network).image_shape
    target, other = (ImageTensors.load(path, shape) for path in (batch.data, source))
    loaded = {
        role: {layer: load_prior(path) for layer, path in (files or {}).items()} or None
        for role, files in {"priors": priors, "init": init, "penalty": penalty}.items()
    }
    n = n or batch.columns["n"]

    def train(group, **options):
        places = [(run["split"], run["seed"]) for run in group]
        options |= {"n": n, "device": batch.device, "tolerant": tolerant, **loaded}
        for net, records in train_classifiers(target, settings, places, **options):
            last = {k: v for row in records for k, v in row.items() if k.startswith("validation_")}
            yield net.state_dict(), records, last

    # on a GPU the launches of kernels dominate
    together = 1 if batch.device == "cpu" else None
    finished = batch.train(train, settings, priors, init, penalty, together=together, n=n)
    given = {"settings": settings, "n": n, "priors": loaded["priors"], "device": batch.device}
    for number, one in enumerate(finished):
        place = one.run["split"], one.run["seed"]
        found = evaluate_run(one.tensors, place, target, other, test_settings, **given)
        finished[number] = replace(one, metrics={**one.metrics, **found})
    batch.write(finished, settings, kind="classifiers")


if __name__ == "__main__":
    main()
