"""Score the test kernels of each layer under a prior, its samples, and where its bound leads them.

Args:
    priors: file of the prior of each layer, named after it
    kernels: file of the kernels of each layer, named after it
    importance_samples: draws of z for a VAE's log p(w)
    bound_steps: for which samples follow the bound; 0: none
    output: JSON of the scores by layer
"""

from pathlib import Path

import torch

from dwp.evaluation.scores import follow_bound, nearest, score
from dwp.files import write_json
from dwp.kernels import load_kernels
from dwp.priors import load_prior
from dwp.study.program import program


@program
def main(
    *,
    priors: list[Path],
    kernels: list[Path],
    importance_samples: int,
    bound_steps: int,
    output: Path,
) -> None:
    torch.set_num_threads(1)
    scores = {}
    for file, of_layer in zip(priors, kernels, strict=True):
        prior = load_prior(file)
        train, test = (
            load_kernels(of_layer, part, prior.kernel_size) for part in ("train", "test")
        )
        scores[file.stem] = score(prior, test, importance_samples=importance_samples)
        scores[file.stem] |= nearest(prior, train, test)
        if bound_steps:
            scores[file.stem]["bound"] = follow_bound(prior, steps=bound_steps)
    write_json(output, scores)


if __name__ == "__main__":
    main()
