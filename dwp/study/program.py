"""Turns an annotated function into a command-line program."""

import argparse
import functools
import inspect
import operator
import re
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from dwp.errors import UserError, one_line_errors, refusal

_TEXTS = (str, int, float, Path)


def program(main: Callable[..., None]) -> Callable[..., None]:
    """Return a program, `main(argv=None)`, that calls `main` with the options of its signature.

    Each parameter is an option `--name`, required unless it has a default; those before a `/` are
    positional. How an option is written follows from the parameter's type, `X | None` as `X`:

    - `str`, `int`, `float`, `Path`, `Literal`: one value; a list of one of them: several values;
    - `bool`: a flag, `--name` or `--no-name`, off unless the default says otherwise;
    - `dict[str, Path]`: `NAME=FILE` several times;
    - anything else, such as a pydantic model, a `dict` or a list of either: JSON text.

    The docstring is the description, its section `Args` the help. Errors for the user are printed
    in one line (`dwp.errors.one_line_errors`).
    """

    @one_line_errors
    @functools.wraps(main)
    def run(argv: Sequence[str] | None = None) -> None:
        description, helps = _documentation(main)
        parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
        positional = []
        for parameter in inspect.signature(main, eval_str=True).parameters.values():
            options = _options(parameter) | {"help": helps.get(parameter.name)}
            if parameter.kind is parameter.POSITIONAL_ONLY:
                parser.add_argument(parameter.name, **options)
                positional.append(parameter.name)
                continue
            required = parameter.default is parameter.empty and "action" not in options
            option = f"--{parameter.name.replace('_', '-')}"
            parser.add_argument(option, required=required, **options)
        values = vars(parser.parse_args(argv))
        main(*[values.pop(name) for name in positional], **values)

    return run


def _options(parameter: inspect.Parameter) -> dict[str, Any]:
    """Return the keywords of `add_argument` for a parameter."""
    hint, default = parameter.annotation, parameter.default
    default = None if default is parameter.empty else default
    if get_origin(hint) in (Union, types.UnionType):
        hint = functools.reduce(operator.or_, set(get_args(hint)) - {type(None)})
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction, "default": bool(default)}
    place = f"--{parameter.name.replace('_', '-')}"
    if hint == dict[str, Path]:
        return {"nargs": "*", "action": _Pairs, "default": default, "metavar": "NAME=FILE"}
    part = get_args(hint)[0] if get_origin(hint) is list else hint
    if part in _TEXTS or get_origin(part) is Literal:
        several = {"nargs": "*" if default is not None else "+"} if part is not hint else {}
        return {"type": _reader(place, part, json=False), "default": default, **several}
    return {"type": _reader(place, hint, json=True), "default": default, "metavar": "JSON"}


def _reader(place: str, hint: Any, *, json: bool) -> Callable[[str], Any]:
    """Return what turns an option's text into a value of the type `hint`."""
    from pydantic import TypeAdapter, ValidationError

    adapter = TypeAdapter(hint)

    def read(text: str) -> Any:
        try:
            return adapter.validate_json(text) if json else adapter.validate_python(text)
        except ValidationError as error:
            raise refusal(place, error) from None

    return read


class _Pairs(argparse.Action):
    """Collects NAME=FILE in a dictionary."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        pairs = {}
        for text in values:
            name, _, path = text.partition("=")
            if not (name and path):
                raise UserError(f"{option_string}: expected NAME=FILE, found '{text}'")
            pairs[name] = Path(path)
        setattr(namespace, self.dest, pairs)


def _documentation(main: Callable[..., None]) -> tuple[str, dict[str, str]]:
    """Return the text of a function's docstring, else its module's, and of each of its `Args`."""
    text = inspect.getdoc(main) or inspect.getdoc(inspect.getmodule(main)) or ""
    description, _, arguments = text.partition("\nArgs:\n")
    described = re.findall(r"^ {4}(\w+): (.+(?:\n {5,}.+)*)", arguments, re.M)
    helps = {name: " ".join(words.split()).replace("%", "%%") for name, words in described}
    return description.strip(), helps
