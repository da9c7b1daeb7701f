"""Collect, prune, split and describe the kernels of one layer over all source nets."""

import argparse

from dwp.errors import one_line_errors
from dwp.files import load_tensors, save_tensors, write_json
from dwp.kernels import collect, cut_norm, describe, norms, split, thin
from dwp.records import json_option


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nets", nargs="+", required=True)
    parser.add_argument("--layer", required=True)
    parser.add_argument("--settings", type=json_option("--settings"), required=True)
    parser.add_argument("--kernels", required=True)
    parser.add_argument("--description", required=True)
    arguments = parser.parse_args()
    settings = arguments.settings

    name = f"{arguments.layer}.weight"
    kernels = collect(load_tensors(path, kind="source net")[0][name] for path in arguments.nets)
    kernel_norms = norms(kernels)
    cut = cut_norm(
        kernel_norms, threshold=settings.get("threshold"), quantile=settings.get("quantile")
    )
    kept = kernels[kernel_norms >= cut]
    train, test = split(kept, settings["test_fraction"], arguments.layer)
    tensors = {"train": train, "test": test, "norms": thin(kernel_norms)}
    header = {"layer": arguments.layer, "cut": cut, "collected": len(kernels), **settings}
    save_tensors(arguments.kernels, tensors, kind="kernels", settings=header)
    description = describe(kernel_norms, cut, len(arguments.nets), len(train), len(test))
    write_json(arguments.description, description)
    print(f"{arguments.layer}: kept {len(kept)} of {len(kernels)} kernels")


if __name__ == "__main__":
    main()
