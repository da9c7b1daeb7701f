"""Priors that come with the package, each with a model card."""

import json
import re
from pathlib import Path
from typing import Any

from safetensors import safe_open

from dwp.errors import check_one_of

FOLDER = Path(__file__).parent / "files"


def pretrained() -> dict[str, str]:
    """Return the model card, in Markdown, of every prior that comes with the package, by name.

    A card describes the data, the training, the held-out nats, the use, the limits and the licence.
    `dwp.load_prior` takes the name.
    """
    files = sorted(FOLDER.glob("*.safetensors"))
    return {file.stem: file.with_suffix(".md").read_text(encoding="utf-8") for file in files}


def pretrained_file(name: str) -> Path:
    """Return the file of a prior that comes with the package.

    Raises:
        UserError: there is none of that name.
    """
    names = sorted(file.stem for file in FOLDER.glob("*.safetensors"))
    check_one_of("prior", name, [*names, "a file", "a folder of the authors' release"])
    return FOLDER / f"{name}.safetensors"


def pretrained_family(name: str) -> dict[int, str]:
    """Return the priors that come with the package and differ in the kernel size alone, by size.

    Args:
        name: that of a prior without its size: `mnist` stands for `mnist-7x7` and `mnist-5x5`,
            `mnist-gaussian` for `mnist-7x7-gaussian` and `mnist-5x5-gaussian`.

    Returns:
        Names by the size k; none if there is no such prior.
    """
    found = {}
    for file in FOLDER.glob("*.safetensors"):
        size = re.search(r"-(\d+)x\1(?=-|$)", file.stem)
        if size and file.stem.replace(size[0], "") == name:
            found[int(size[1])] = file.stem
    return found


def pretrained_kind(name: str) -> tuple[str, int]:
    """Return the kind and the kernel size of a prior that comes with the package, without torch.

    Raises:
        UserError: there is none of that name.
    """
    settings = _settings(name)
    return settings["kind"], settings["arguments"]["kernel_size"]


def pretrained_arguments(name: str) -> dict[str, Any]:
    """Return the arguments that the class of a prior that comes with the package is called with.

    Raises:
        UserError: there is none of that name.
    """
    return _settings(name)["arguments"]


def _settings(name: str) -> dict[str, Any]:
    with safe_open(pretrained_file(name), framework="numpy") as file:
        return json.loads(file.metadata()["dwp"])["settings"]
