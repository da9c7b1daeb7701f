"""Priors that come with the package, each with a model card."""

import json
from pathlib import Path

from safetensors import safe_open

from dwp.errors import UserError

FOLDER = Path(__file__).parent.parent / "pretrained"


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
    if not (file := FOLDER / f"{name}.safetensors").is_file():
        names = ", ".join(sorted(each.stem for each in FOLDER.glob("*.safetensors")))
        raise UserError(
            f"prior '{name}': expected a file's path, which has a suffix or a folder, or a name of "
            f"dwp.pretrained(): {names or 'there are none'}"
        )
    return file


def pretrained_kind(name: str) -> tuple[str, int]:
    """Return the kind and the kernel size of a prior that comes with the package, without torch.

    Raises:
        UserError: there is none of that name.
    """
    with safe_open(pretrained_file(name), framework="numpy") as file:
        settings = json.loads(file.metadata()["dwp"])["settings"]
    return settings["kind"], settings["arguments"]["kernel_size"]
