"""Test one trained net: accuracy, likelihood, calibration, and what it knows it does not know."""

import argparse
import json

import torch

from dwp.data.subsets import few_shot_subset
from dwp.data.tensors import ImageTensors, to_unit
from dwp.devices import choose_device
from dwp.errors import one_line_errors
from dwp.evaluation.classifier import evaluate_classifier
from dwp.files import load_tensors, write_json
from dwp.nn.classifier import build_classifier
from dwp.priors import load_priors
from dwp.seeds import generator


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out-of-domain", required=True)
    parser.add_argument("--priors", nargs="*", help="LAYER=FILE for each Bayesian layer")
    parser.add_argument("--settings", type=json.loads, required=True)
    parser.add_argument("--device", default="cpu", help="auto, cpu or cuda")
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    device = choose_device(arguments.device)
    tensors, run = load_tensors(arguments.weights, kind="classifier")
    target = ImageTensors.load(arguments.data)
    strange = ImageTensors.load(arguments.out_of_domain).test_images
    priors = load_priors(arguments.priors, device)
    net = build_classifier(run, int(target.train_targets.max()) + 1, priors)
    net.load_state_dict(tensors)
    net.to(device, memory_format=torch.channels_last)
    chosen, _ = few_shot_subset(target.train_targets, run["n"], run["split"], run["validation"])
    draws = generator("evaluation", run["split"], run["seed"], device=device)
    metrics = evaluate_classifier(
        net,
        priors,
        train=(to_unit(target.train_images[chosen]), target.train_targets[chosen]),
        test=(to_unit(target.test_images), target.test_targets),
        out_of_domain=to_unit(strange),
        samples=arguments.settings["samples"] if priors else 0,
        generator=draws,
    )
    write_json(arguments.output, metrics)


if __name__ == "__main__":
    main()
