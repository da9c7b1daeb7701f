"""Refuse a source data set that is the target under another name."""

import argparse

from dwp.data import check_different
from dwp.data.tensors import ImageTensors
from dwp.errors import one_line_errors
from dwp.files import write_json


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    source, target = (ImageTensors.load(path) for path in (arguments.source, arguments.target))
    check_different(source, target)
    write_json(arguments.output, {"source and target": "differ"})


if __name__ == "__main__":
    main()
