"""Mappings that come from outside, as JSON: what is wrong with them is told in one line."""

import json
import math
import os
from collections.abc import Callable, Mapping
from typing import Any

from dwp.errors import UserError

_EXPECTED = {
    dict: ("a JSON object", dict),
    list: ("a JSON list of objects", list),
    str: ("a JSON text or object", (str, dict)),
}


class Record(dict):
    """A mapping that knows where it was read: a missing key is the user's error.

    Args:
        content: the mapping, or pairs.
        place: the file or the option, for the message.
    """

    def __init__(self, content: Mapping | list[tuple[str, Any]], place: str | os.PathLike) -> None:
        super().__init__(content)
        self.place = place

    def __missing__(self, key: str) -> None:
        found = ", ".join(map(str, self)) or "nothing"
        raise UserError(f"{self.place}: expected {key}, found only {found}")


def parse_json(text: str | bytes, place: str | os.PathLike) -> Any:
    """Return what JSON text holds, its objects as `Record`.

    Raises:
        UserError: not JSON, a key twice in one object, or a number that is not finite.
    """

    def record(pairs: list[tuple[str, Any]]) -> Record:
        content = Record(pairs, place)
        if len(content) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise UserError(f"{place}: expected every name once, found {twice} again; remove one")
        return content

    def number(digits: str) -> float:
        if not math.isfinite(value := float(digits)):
            raise UserError(f"{place}: expected finite numbers, found {digits}")
        return value

    try:
        return json.loads(text, object_pairs_hook=record, parse_float=number, parse_constant=number)
    except RecursionError:
        raise UserError(f"{place}: expected JSON, found it nested too deeply") from None
    except ValueError as error:
        raise UserError(f"{place}: expected JSON, found {error}; make it again") from None


def json_option(option: str, kind: type = dict) -> Callable[[str], Any]:
    """Return what argparse takes as the `type` of an option that is given as JSON.

    Args:
        option: its name, for messages.
        kind: dict for an object, list for a list of objects, str for a text or an object.
    """
    expected, kinds = _EXPECTED[kind]

    def parse(text: str) -> Any:
        content = parse_json(text, option)
        parts = content if kind is list else []
        if not isinstance(content, kinds) or not all(isinstance(part, dict) for part in parts):
            raise UserError(f"{option}: expected {expected}, found {text[:100]}")
        return content

    return parse
