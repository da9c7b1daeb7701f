"""Score the test kernels of one layer under one prior, and what its samples remember."""

from pathlib import Path

import torch

from dwp.evaluation.scores import nearest, score
from dwp.files import write_json
from dwp.kernels import load_kernels
from dwp.priors import load_prior
from dwp.study.program import program


@program
def main(*, prior: Path, kernels: Path, importance_samples: int, output: Path) -> None:
    torch.set_num_threads(1)
    of = load_prior(prior)
    train, test = (load_kernels(kernels, part, of.kernel_size) for part in ("train", "test"))
    scores = score(of, test, importance_samples=importance_samples)
    write_json(output, scores | nearest(of, train, test))


if __name__ == "__main__":
    main()
