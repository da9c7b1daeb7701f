"""Train and test the nets of a batch: of one prior, init, variant and number of target images.

Args:
    source: source images, out of the distribution of the target's
    priors: files of priors, LAYER.safetensors, of the Bayesian layers
    init: of priors to draw kernels from; none: Xavier-normal
    penalty: of priors by which the kernels of a plain net are penalised
    settings: of the training
    n: training images; default: that of the columns
    tolerant: go on after a run that diverges; its numbers are missing
"""

from dataclasses import replace
from pathlib import Path

from dwp.data.tensors import ImageTensors
from dwp.evaluation.classifier import evaluate_run
from dwp.nn.networks import network_class
from dwp.priors.load import load_priors
from dwp.study.program import program
from dwp.study.runs import Batch
from dwp.study.settings import RunSettings
from dwp.training.classification import train_classifiers


@program
def main(
    batch: Batch,
    *,
    source: Path,
    priors: list[Path] | None = None,
    init: list[Path] | None = None,
    penalty: list[Path] | None = None,
    settings: RunSettings,
    n: int | None = None,
    tolerant: bool = False,
) -> None:
    shape = network_class(settings.network).image_shape
    target, other = (ImageTensors.load(path, shape) for path in (batch.data, source))
    files = {"priors": priors, "init": init, "penalty": penalty}
    loaded = {role: load_priors(own) for role, own in files.items()}
    n = n or batch.columns["n"]

    def train(group, **options):
        runs = [(run["split"], run["seed"]) for run in group]
        options |= {"n": n, "tolerant": tolerant, **loaded}
        for net, records in train_classifiers(target, settings, runs, **options):
            yield net.state_dict(), records, {}

    device = batch.chosen_device
    together = 1 if device == "cpu" else None  # on a GPU the launches of kernels dominate
    finished = batch.train(train, settings, *files.values(), together=together, n=n)
    given = {"settings": settings, "n": n, "priors": loaded["priors"], "device": device}
    for number, one in enumerate(finished):
        metrics = {k: v for k, v in one.records[-1].items() if k.startswith("validation_")}
        run = one.run["split"], one.run["seed"]
        metrics |= evaluate_run(one.tensors, run, target, other, **given)
        finished[number] = replace(one, metrics=metrics)
    batch.write(finished, settings, kind="classifiers")


if __name__ == "__main__":
    main()
