"""Errors meant for the user, and how programs print them."""

import contextlib
import difflib
import functools
import re
import reprlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from numbers import Integral
from typing import Any


class UserError(Exception):
    """Something the user can correct: a setting, a file, a folder.

    The message is one line that names the file or setting, what was expected, what was
    found, and what to do. Command-line programs print it without a traceback.
    """


class OutOfTime(Exception):
    """Work has reached its deadline; it goes on from where it was when started again."""


OUT_OF_TIME = 75
"""The exit status of a program that stopped at its deadline (EX_TEMPFAIL of sysexits.h)."""


def deadline_after(minutes: float | None) -> float | None:
    """Return the `time.monotonic()` in so many minutes from now; None for none."""
    return None if minutes is None else time.monotonic() + 60 * minutes


def not_allowed(found: str, allowed: Iterable[str]) -> str:
    """Return the end of a message: the allowed names, the one that was found, the nearest."""
    allowed = list(allowed)
    near = difflib.get_close_matches(found, allowed, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"expected one of {', '.join(allowed)}; found '{found}'{hint}"


def check_one_of(setting: str, found: str | Iterable[str], allowed: Iterable[str]) -> None:
    """Check that a name, or each of several, is allowed.

    Raises:
        UserError: one is not; it has the allowed names.
    """
    allowed = list(allowed)
    for name in [found] if isinstance(found, str) else found:
        if name not in allowed:
            raise UserError(f"{setting}: {not_allowed(str(name), allowed)}")


def check_count(name: str, value: object, least: int = 1) -> None:
    """Check that a number is whole, and large enough.

    Raises:
        UserError: it is not.
    """
    if not isinstance(value, Integral) or value < least:
        raise UserError(f"{name}: expected a whole number of at least {least}, found {value!r}")


_MEMORY = re.compile("can't allocate memory|out of memory|size calculation overflowed", re.I)


@contextlib.contextmanager
def reading(origin: object, expected: str, remedy: str = "get it again") -> Iterator[None]:
    """Within the block, raise as a `UserError` whatever a reader of damaged content raises.

    A `UserError` of the block gets the origin in front, unless it has it.

    Args:
        origin: the file, or what else is read.
        expected: its content, for the message.
        remedy: what to do.

    Raises:
        UserError: the reader failed, or the file is missing.
    """
    try:
        yield
    except MemoryError:
        raise
    except UserError as error:
        raise UserError(f"{origin}: {str(error).removeprefix(f'{origin}: ')}") from None
    except FileNotFoundError:
        raise UserError(f"{origin}: no such file") from None
    except Exception as error:
        text = getattr(error, "strerror", None) or " ".join(str(error).split())
        found = text or type(error).__name__
        raise UserError(f"{origin}: expected {expected}; found {found}; {remedy}") from None


def refusal(origin: object, error: Any) -> UserError:
    """Return a pydantic `ValidationError` in one line: setting, expected, found.

    Args:
        origin: the file or the option that the settings came from.
        error: the `ValidationError`; its first problem is named.
    """
    problem = error.errors()[0]
    kind, found = problem["type"], problem["input"]
    if kind == "json_invalid":
        return UserError(f"{origin}: expected JSON, found {found[:100]!r} ({problem['msg']})")
    context = problem.get("ctx", {})
    parts = [origin, *problem["loc"], context.get("name", "")]
    path = ".".join(str(part) for part in parts if part != "")
    if kind in ("value_error", "unknown"):  # of a check of our own, which says what it expected
        return UserError(f"{path}: {context.get('error', problem['msg'])}")
    if kind == "missing":
        return UserError(f"{path}: expected a value, found none; set it")
    expected = re.sub("^(Input|String|List|Dictionary) should (be )?", "", problem["msg"])
    return UserError(f"{path}: expected {expected}; found {reprlib.repr(found)}")


def one_line_errors(main: Callable[..., None]) -> Callable[..., None]:
    """Wrap a program's entry point: print a user's error as one line and exit with status 2.

    So are a file that cannot be read or written (`OSError`), a package that is missing, and memory
    that does not suffice. `OutOfTime` ends the program with status `OUT_OF_TIME`.
    """

    def refuse(message: object) -> SystemExit:
        # a file may hold control characters
        text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(message))
        print(f"error: {text}", file=sys.stderr)
        return SystemExit(2)

    @functools.wraps(main)
    def wrapped(*args, **kwargs) -> None:
        try:
            main(*args, **kwargs)
        except UserError as error:
            raise refuse(error) from None
        except OutOfTime as stop:
            print(stop, file=sys.stderr)
            raise SystemExit(OUT_OF_TIME) from None
        except OSError as error:
            file = error.filename2 or error.filename
            reason = error.strerror or error  # which readers' own errors do not all have
            raise refuse(f"{file}: {reason}" if file else reason) from None
        except ModuleNotFoundError as error:
            if (error.name or "dwp").startswith("dwp"):
                raise
            raise refuse(f"{error}; install it, or all: pip install 'dwp[study]'") from None
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not _MEMORY.search(str(error)):
                raise
            raise refuse(
                "memory: expected enough for what was asked, found too little; ask for less (fewer "
                "samples, filters or examples a batch)"
            ) from None

    return wrapped
