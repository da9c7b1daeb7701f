"""Errors meant for the user, and the one place that prints them."""

import functools
import sys
from collections.abc import Callable


class UserError(Exception):
    """Something the user can mend: a setting, a file, a folder.

    The message is one line that names the file or setting, what was expected, what was
    found, and what to do. Command-line programs print it without a traceback.
    """


def one_line_errors(main: Callable[..., None]) -> Callable[..., None]:
    """Wrap a program's entry point: print a user's error as one line and exit with status 2.

    A file that cannot be read or written (`OSError`) is the user's to mend as well.
    """

    @functools.wraps(main)
    def wrapped(*args, **kwargs) -> None:
        try:
            main(*args, **kwargs)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(2) from None
        except OSError as error:
            place = error.filename2 or error.filename
            print(f"error: {f'{place}: ' if place else ''}{error.strerror}", file=sys.stderr)
            raise SystemExit(2) from None

    return wrapped
