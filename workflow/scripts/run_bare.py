"""Go from a domain's prepared source data to its trained priors on a bare machine.

It runs the workflow's own programs, in the domain's results folder, without Snakemake: Python,
torch, numpy and pandas are enough. Exit status 0: done; 75: stopped at the time limit, to be
continued by the same command; anything else: an error. What is worth carrying back (kernels,
priors, histories, accuracies; no source nets) is packed, to be unpacked in the same folder on
another machine.
"""

import argparse
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path

from dwp.errors import UserError, deadline_after, one_line_errors
from dwp.files import atomic, digest, read_json, write_json
from dwp.nn.networks import network_class, network_place
from dwp.priors import KINDS, prior_class
from dwp.study.fingerprint import fingerprint
from dwp.study.settings import (
    DETERMINISTIC,
    JOB_ENVIRONMENT,
    as_json,
    check_config,
    kernel_settings,
    prior_place,
    prior_settings,
    source_settings,
)

_ROOT = Path(__file__).resolve().parents[2]
_PACKED = (
    "kernels/collected/*",
    "priors/fitted/*/*",
    "source/*/history.csv",
    "source/*/metrics.json",
)


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, help="a config of the workflow, as JSON")
    parser.add_argument("--domain", help="which of its domains; needed if it has several")
    parser.add_argument("--minutes", type=float, help="stop after so many, to be continued")
    parser.add_argument("--pack", help="default: bare.tar.gz in the domain's results folder")
    arguments = parser.parse_args()
    deadline = deadline_after(arguments.minutes)

    config = read_json(arguments.config)
    check_config(config, arguments.config)
    domain = arguments.domain or next(iter(config["domains"]))
    if domain not in config["domains"] or not (arguments.domain or len(config["domains"]) == 1):
        raise UserError(f"--domain: expected one of {', '.join(config['domains'])}, found {domain}")
    section, device = config["domains"][domain], config["device"]
    if "source_nets" not in section:
        raise UserError(f"{arguments.config}: domains.{domain} has no source_nets to train")
    network, folder = section["network"], Path("results", config["name"], domain)

    def run(
        program: Sequence[str],
        inputs: Sequence[Path],
        outputs: Sequence[Path],
        **options: str | int | list[str],
    ) -> None:
        """Run a program (and classes it finds by name) unless it has made its outputs before."""
        script = f"workflow/scripts/{program[0]}"
        code = fingerprint(script, *program[1:], root=_ROOT)
        made = {"options": options, "code": code, "inputs": digest(inputs)}
        mark = outputs[0].parent / f".{outputs[0].name}.made"
        if all(path.is_file() for path in outputs) and mark.is_file() and read_json(mark) == made:
            return
        command = [sys.executable, str(_ROOT / script)]
        for option, value in options.items():
            values = value if isinstance(value, list) else [value]
            command += [f"--{option.replace('_', '-')}", *map(str, values)]
        if program[0] != "build_kernels.py":
            command += ["--code", code, "--device", device]
            if "checkpoint_minutes" in config:
                command += ["--checkpoint-minutes", str(config["checkpoint_minutes"])]
            if deadline is not None:
                command += ["--minutes", str(max(0.0, deadline - time.monotonic()) / 60)]
        environment = {**os.environ, **JOB_ENVIRONMENT}
        status = subprocess.run(command, env=environment, check=False).returncode
        if status:
            raise SystemExit(status)
        write_json(mark, made)

    data, seeds = (
        folder / "data" / "source.safetensors",
        list(range(section["source_nets"]["count"])),
    )
    nets = [folder / "source" / str(seed) / "weights.safetensors" for seed in seeds]
    run(
        ["train_source.py", network_place(network)],
        [data],
        nets,
        data=str(data),
        settings=as_json(source_settings(section)),
        folder=str(folder / "source" / "{seed}"),
        runs=as_json([{"seed": seed} for seed in seeds]),
    )
    for layer, how in section["kernels"]["layers"].items():
        if not how or "released" in how:
            continue
        kernels = folder / "kernels" / "collected" / f"{layer}.safetensors"
        description = kernels.with_suffix(".json")
        run(
            ["build_kernels.py"],
            nets,
            [kernels, description],
            nets=[str(net) for net in nets],
            layer=layer,
            settings=as_json(kernel_settings(section, layer)),
            kernels=str(kernels),
            description=str(description),
        )
        for name, prior in section["priors"].items():
            kind = prior["kind"]
            if kind == DETERMINISTIC or not prior_class(kind).trained or prior_class(kind).packages:
                continue  # nothing to fit, or fitted in seconds by the workflow
            if prior_place(prior, layer) != "fitted":
                continue
            file = folder / "priors" / "fitted" / name / f"{layer}.safetensors"
            run(
                ["fit_prior.py", KINDS[kind]],
                [kernels],
                [file, file.with_suffix(".csv")],
                kernels=str(kernels),
                kernel_size=network_class(network).kernel_sizes[layer],
                settings=as_json(prior_settings(section, name, layer)),
                prior=str(file),
                history=str(file.with_suffix(".csv")),
            )
    pack = Path(arguments.pack or folder / "bare.tar.gz")
    with atomic(pack) as path, tarfile.open(path, "w:gz") as archive:
        for file in sorted(file for pattern in _PACKED for file in folder.glob(pattern)):
            if not file.name.startswith("."):
                archive.add(file, file.relative_to(folder))
    print(f"done: unpack {pack} in {folder} of another machine")


if __name__ == "__main__":
    main()
