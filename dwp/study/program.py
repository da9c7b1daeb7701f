"""Turns an annotated function into a command-line program."""

import argparse
import dataclasses
import functools
import inspect
import operator
import re
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from dwp.errors import UserError, one_line_errors, refusal

_NAMES = {str: "text", int: "a whole number", float: "a number", Path: "a path"}


def program(main: Callable[..., None]) -> Callable[..., None]:
    """Return a program, `run(argv=None)`, that calls a function with the options of its signature.

    Each parameter is an option `--name`, required unless it has a default; those before a `/` are
    positional. How an option is written follows from the parameter's type, `X | None` as `X`:

    - `str`, `int`, `float`, `Path`, `Literal`: one value; a list of one of them: several values;
    - `bool`: a flag, `--name` or `--no-name`, off unless the default says otherwise;
    - a dataclass: an option for each of its fields;
    - anything else, such as a pydantic model, a `dict` or a list of either: JSON text.

    The docstring is the description, its section `Args` the help. Errors for the user are printed
    in one line (`dwp.errors.one_line_errors`). The workflow's scripts are such programs: their
    options take lists and settings as JSON, which the libraries for command lines for people
    (`dwp.cli`) do not.
    """

    @one_line_errors
    @functools.wraps(main)
    def run(argv: Sequence[str] | None = None) -> None:
        parser = argparse.ArgumentParser(allow_abbrev=False)
        _add_options(parser, main)
        _call(main, vars(parser.parse_args(argv)))

    return run


def _call(function: Callable, options: dict[str, Any]) -> Any:
    """Call a function, or make a dataclass, with those of the options that it takes."""
    signature = inspect.signature(function, eval_str=True)
    own = {
        name: _call(parameter.annotation, options)
        if dataclasses.is_dataclass(parameter.annotation)
        else options[name]
        for name, parameter in signature.parameters.items()
    }
    bound = inspect.BoundArguments(signature, own)  # type: ignore[arg-type]
    return function(*bound.args, **bound.kwargs)


def _add_options(parser: argparse.ArgumentParser, function: Callable) -> None:
    """Give a parser the description and the options of a function or a dataclass."""
    text = inspect.getdoc(function) or inspect.getdoc(inspect.getmodule(function)) or ""
    description, _, arguments = text.partition("\nArgs:\n")
    described = re.findall(r"^ {4}(\w+): (.+(?:\n {5,}.+)*)", arguments, re.M)
    helps = {name: " ".join(words.split()).replace("%", "%%") for name, words in described}
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        if dataclasses.is_dataclass(parameter.annotation):
            _add_options(parser, parameter.annotation)
            continue
        name, flags = parameter.name, {}
        if parameter.kind is not parameter.POSITIONAL_ONLY:
            name = f"--{name.replace('_', '-')}"
            flags = {"required": parameter.default is parameter.empty}
        options = _options(name, parameter) | {"help": helps.get(parameter.name)}
        parser.add_argument(name, **flags | options)
    parser.description = description


def _options(name: str, parameter: inspect.Parameter) -> dict[str, Any]:
    """Return the keywords of `add_argument` for a parameter and the name of its option."""
    hint, optional = parameter.annotation, parameter.default is not parameter.empty
    given = {"default": parameter.default} if optional else {}
    if get_origin(hint) in (Union, types.UnionType):
        hint = functools.reduce(operator.or_, set(get_args(hint)) - {type(None)})
    if hint is bool:
        action = argparse.BooleanOptionalAction
        return {"action": action, "default": False, "required": False, **given}
    part = get_args(hint)[0] if get_origin(hint) is list else hint
    if part in _NAMES or get_origin(part) is Literal:
        several = {"nargs": "*" if optional else "+"} if part is not hint else {}
        return {"type": functools.partial(_scalar, name, part), **several, **given}
    return {"type": functools.partial(_parsed, name, hint), "metavar": "JSON", **given}


def _scalar(option: str, hint: Any, text: str) -> Any:
    """Return the text of an option as a `str`, `int`, `float`, `Path` or one of a `Literal`."""
    allowed = get_args(hint)
    try:
        return {str(value): value for value in allowed}[text] if allowed else hint(text)
    except (KeyError, ValueError):
        expected = " or ".join(map(str, allowed)) or _NAMES[hint]
        raise UserError(f"{option}: expected {expected}, found '{text}'") from None


def _parsed(option: str, hint: Any, text: str) -> Any:
    """Return the JSON text of an option as a value of the type `hint`."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(hint).validate_json(text)
    except ValidationError as error:
        raise refusal(option, error) from None
