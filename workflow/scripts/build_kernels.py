"""Collect, prune, split and describe the kernels of one layer over all source nets."""

from pathlib import Path

from dwp.files import load_tensors, save_tensors, write_json
from dwp.kernels import collect, describe, norms, pruning_threshold, split, thin
from dwp.study.program import program


@program
def main(*, nets: list[Path], layer: str, settings: dict, kernels: Path, description: Path) -> None:
    weights = (load_tensors(path, kind="source net")[0][f"{layer}.weight"] for path in nets)
    collected = collect(weights)
    kernel_norms = norms(collected)
    threshold = pruning_threshold(
        kernel_norms, threshold=settings.get("threshold"), quantile=settings.get("quantile")
    )
    kept = collected[kernel_norms >= threshold]
    train, test = split(kept, settings["test_fraction"], layer)
    tensors = {"train": train, "test": test, "norms": thin(kernel_norms)}
    header = {"layer": layer, "cut": threshold, "collected": len(collected), **settings}
    save_tensors(kernels, tensors, kind="kernels", settings=header)
    write_json(description, describe(kernel_norms, threshold, len(nets), len(train), len(test)))
    print(f"{layer}: kept {len(kept)} of {len(collected)} kernels")


if __name__ == "__main__":
    main()
