"""Collect, prune, split and describe the kernels of one layer, or take those of the release.

Args:
    nets: files of the batches of source nets
    layer: whose kernels
    settings: of the kernels
    release: folder of the authors' release; default: DWP_RELEASE
    kernels: file of the kernels
    description: JSON of their counts and norms
"""

from pathlib import Path

import torch

from dwp.files import load_tensors, save_tensors, write_json
from dwp.kernels import collect, describe, mean_share, norms, pruning_threshold, split, thin
from dwp.release import load_released_kernels, release_folder
from dwp.study.program import program
from dwp.study.settings import CollectedKernels


@program
def main(
    *,
    nets: list[Path] | None = None,
    layer: str,
    settings: CollectedKernels,
    release: Path | None = None,
    kernels: Path,
    description: Path,
) -> None:
    if settings.released:
        train, test = load_released_kernels(release_folder(release) / settings.released)
        count, kernel_norms = 0, norms(torch.cat([train, test]))
        threshold = float(kernel_norms.min())
    else:
        weights = [
            tensor
            for path in nets or []
            for name, tensor in load_tensors(path, kind="source nets")[0].items()
            if name.partition("/")[2] == f"{layer}.weight"
        ]
        count, collected = len(weights), collect(weights)
        kernel_norms = norms(collected)
        threshold = settings.threshold
        if threshold is None:
            threshold = pruning_threshold(kernel_norms, settings.quantile)
        kept = collected[kernel_norms >= threshold]
        train, test = split(kept, settings.test_fraction, layer)
    tensors = {"train": train, "test": test, "norms": thin(kernel_norms)}
    header = {"layer": layer, "cut": threshold, "collected": len(kernel_norms), **settings.dump()}
    save_tensors(kernels, tensors, kind="kernels", settings=header)
    described = describe(kernel_norms, threshold, count, len(train), len(test))
    write_json(description, described | {"mean_share": mean_share(torch.cat([train, test]))})
    print(f"{layer}: kept {len(train) + len(test)} of {len(kernel_norms)} kernels")


if __name__ == "__main__":
    main()
