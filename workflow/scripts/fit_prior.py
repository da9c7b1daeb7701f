"""Fit one prior to the kernels of one layer."""

import argparse
from pathlib import Path

import pandas as pd
import torch

from dwp.devices import choose_device
from dwp.errors import deadline_after, one_line_errors
from dwp.files import digest, write_csv
from dwp.kernels import load_kernels
from dwp.priors import load_vae
from dwp.records import json_option
from dwp.training.prior import fit_prior


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernels", help="not needed by kinds that fit nothing")
    parser.add_argument("--reconstructed-by", help="VAE prior that the kernels are passed through")
    parser.add_argument("--kernel-size", type=int, required=True)
    parser.add_argument("--settings", type=json_option("--settings"), required=True)
    parser.add_argument("--code", required=True, help="a checkpoint of other code is ignored")
    parser.add_argument("--device", default="cpu", help="auto, cpu or cuda")
    parser.add_argument("--checkpoint-minutes", type=float, default=5, help="from one to the next")
    parser.add_argument("--prior", required=True)
    parser.add_argument("--history", required=True)
    parser.add_argument("--minutes", type=float, help="stop with a checkpoint after so many")
    arguments = parser.parse_args()
    deadline = deadline_after(arguments.minutes)
    torch.set_num_threads(1)

    settings = arguments.settings
    files = arguments.kernels, arguments.reconstructed_by
    inputs = digest([file for file in files if file])
    place = Path(arguments.prior)
    checkpoint = Path(f"{place}.checkpoint")
    kernels = None
    if arguments.kernels:
        kernels = load_kernels(arguments.kernels, "train", arguments.kernel_size)
    if arguments.reconstructed_by:
        kernels = load_vae(arguments.reconstructed_by).reconstruct(kernels)
    prior, records = fit_prior(
        settings["kind"],
        arguments.kernel_size,
        kernels,
        settings["arguments"],
        settings["training"],
        device=choose_device(arguments.device),
        checkpoint=checkpoint,
        checkpoint_seconds=60 * arguments.checkpoint_minutes,
        deadline=deadline,
        identity={**settings, "code": arguments.code, "inputs": inputs},
        label=" ".join((*place.parts[-5:-3], place.parent.name, place.stem)),
    )
    prior.save(arguments.prior)
    write_csv(arguments.history, pd.DataFrame(records, columns=["step", "loss"]))
    checkpoint.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
