"""Draw the distribution of the kernels' norms with the pruning cut."""

import argparse

from dwp.errors import one_line_errors
from dwp.files import load_tensors
from dwp.plots.norms import norm_histogram
from dwp.plots.style import save


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernels", required=True)
    parser.add_argument("--outputs", nargs="+", required=True)
    arguments = parser.parse_args()
    tensors, settings = load_tensors(arguments.kernels, kind="kernels")
    kept = len(tensors["train"]) + len(tensors["test"])
    cut, collected = settings["cut"], settings["collected"]
    if "released" in settings:  # which are pruned already
        collected = None
    figure = norm_histogram(tensors["norms"], cut, kept, collected)
    save(figure, arguments.outputs)


if __name__ == "__main__":
    main()
