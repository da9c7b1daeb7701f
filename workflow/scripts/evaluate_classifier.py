"""Test trained nets: accuracy, likelihood, calibration, and what they know they do not know."""

import argparse

import torch

from dwp.data.subsets import few_shot_subset
from dwp.data.tensors import ImageTensors, to_unit
from dwp.devices import choose_device, products
from dwp.errors import one_line_errors
from dwp.evaluation.classifier import evaluate_classifier
from dwp.files import load_tensors, write_json
from dwp.nn.classifier import build_classifier, member_places
from dwp.priors import load_priors
from dwp.priors.kl import DEFAULT, Estimation
from dwp.records import json_option
from dwp.seeds import generator
from dwp.study.runs import naming, run_folder


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out-of-domain", required=True)
    parser.add_argument("--priors", nargs="*", help="LAYER=FILE for each Bayesian layer")
    parser.add_argument("--settings", type=json_option("--settings"), required=True)
    parser.add_argument("--folder", required=True, help="folder of a run, with {places}")
    parser.add_argument(
        "--runs", type=json_option("--runs", list), required=True, help="places of each run"
    )
    parser.add_argument("--device", default="cpu", help="auto, cpu or cuda")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    device = choose_device(arguments.device)

    target = ImageTensors.load(arguments.data)
    test = (to_unit(target.test_images), target.test_targets)
    strange = to_unit(ImageTensors.load(arguments.out_of_domain).test_images)
    priors = load_priors(arguments.priors)
    for place in arguments.runs:
        folder = run_folder(arguments.folder, place)
        with naming(" ".join(folder.parts[-6:])):
            tensors, run = load_tensors(folder / "weights.safetensors", kind="classifier")
            net = build_classifier(run, target.classes, priors)
            diverged = any(tensor.isnan().any() for tensor in tensors.values())
            net.load_state_dict({name: tensor.nan_to_num() for name, tensor in tensors.items()})
            net.to(device, memory_format=torch.channels_last)
            n, split, seed = run["n"], run["split"], run["seed"]
            members = run.get("members", 1)
            places = member_places((split, seed), members)
            draws = [generator("evaluation", *place, device=device) for place in places]
            chosen, _ = few_shot_subset(target.train_targets, n, split, run["validation"])
            with products("float32", device):
                metrics = evaluate_classifier(
                    net,
                    train=(to_unit(target.train_images[chosen]), target.train_targets[chosen]),
                    test=test,
                    out_of_domain=strange,
                    samples=arguments.settings["samples"] if priors else 0,
                    generator=draws,
                    members=members,
                    precision=arguments.settings["precision"],
                    estimation=Estimation.of(run) if priors else DEFAULT,
                )
            write_json(folder / "metrics.json", dict.fromkeys(metrics) if diverged else metrics)


if __name__ == "__main__":
    main()
