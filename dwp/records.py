"""JSON whose objects know where they were read: what is missing is an error in one line."""

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from dwp.errors import UserError


class Record(dict):
    """A mapping whose missing keys are the user's errors.

    Args:
        content: the mapping.
        origin: the file or the option that it was read from, for the message.
    """

    def __init__(self, content: Mapping, origin: str | os.PathLike) -> None:
        super().__init__(content)
        self.origin = origin

    def __missing__(self, key: str) -> None:
        found = ", ".join(map(str, self)) or "nothing"
        raise UserError(f"{self.origin}: expected {key}, found only {found}")


def parse_json(text: str | bytes, origin: str | os.PathLike) -> Any:
    """Return what JSON text holds, its objects as `Record`.

    Raises:
        UserError: the text is not JSON.
    """
    try:
        return json.loads(text, object_hook=lambda content: Record(content, origin))
    except ValueError as error:
        raise UserError(f"{origin}: expected JSON, found {error}; make it again") from None


def json_option(option: str, kind: type = dict) -> Callable[[str], Any]:
    """Return what argparse takes as the `type` of an option that is given as JSON.

    Args:
        option: its name, for messages.
        kind: of the content: dict, list or str (which may be a dict as well).
    """
    kinds = (str, dict) if kind is str else kind

    def parse(text: str) -> Any:
        content = parse_json(text, option)
        if not isinstance(content, kinds):
            raise UserError(f"{option}: expected a JSON {kind.__name__}, found {text[:100]}")
        return content

    return parse
