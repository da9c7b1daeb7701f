"""The command line, `python -m dwp` and the script `dwp`; `dwp.cli` has the commands."""

from collections.abc import Sequence

from dwp.errors import UserError, one_line_errors


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Run a command; print an error of the user's in one line and exit with status 2.

    Args:
        argv: the command and its arguments; None: those of the process.
    """
    import click  # here: without it the error is one line, too

    from dwp.cli import commands

    try:
        commands(argv, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        raise SystemExit(2) from None
    except click.Abort:
        raise SystemExit(130) from None  # interrupted
    except click.UsageError as error:
        message = " ".join(error.format_message().split()).rstrip(".")
        command = error.ctx.command_path if error.ctx else "dwp"
        raise UserError(f"{message}; see {command} --help") from None


if __name__ == "__main__":
    main()
