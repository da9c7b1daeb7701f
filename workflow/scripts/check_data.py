"""Refuses a source data set that is the target under another name."""

from pathlib import Path

from dwp.data import check_different
from dwp.data.tensors import ImageTensors
from dwp.files import write_json
from dwp.study.program import program


@program
def main(*, source: Path, target: Path, output: Path) -> None:
    """Refuse a source data set that is the target under another name.

    Args:
        source: the file of the source
        target: the file of the target
        output: a mark that they differ, .json
    """
    check_different(ImageTensors.load(source), ImageTensors.load(target))
    write_json(output, {"source and target": "differ"})


if __name__ == "__main__":
    main()
