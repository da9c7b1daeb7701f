"""Errors meant for the user, and the one place that prints them."""

import functools
import sys
import time
from collections.abc import Callable


class UserError(Exception):
    """Something the user can mend: a setting, a file, a folder.

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


def one_line_errors(main: Callable[..., None]) -> Callable[..., None]:
    """Wrap a program's entry point: print a user's error as one line and exit with status 2.

    A file that cannot be read or written (`OSError`) is the user's to mend as well. `OutOfTime`
    is printed the same way and ends the program with status `OUT_OF_TIME`.
    """

    @functools.wraps(main)
    def wrapped(*args, **kwargs) -> None:
        try:
            main(*args, **kwargs)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(2) from None
        except OutOfTime as stop:
            print(stop, file=sys.stderr)
            raise SystemExit(OUT_OF_TIME) from None
        except OSError as error:
            place = error.filename2 or error.filename
            print(f"error: {f'{place}: ' if place else ''}{error.strerror}", file=sys.stderr)
            raise SystemExit(2) from None

    return wrapped
