"""Errors as one paragraph and an exit code; tracebacks only with ``--debug``."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import typer
from typer.core import TyperGroup

from anoclust_core.errors import AnoclustError, StoreError
from anoclust_core.safe_text.masking import masked_text

_UsageError: Final[Any] = typer.BadParameter.__mro__[1]
"""A wrong command line, as Typer finds it."""

INTERRUPTED: Final = 130
"""Exit code after Ctrl-C, as shells have it."""

UNEXPECTED: Final = 1
"""Exit code where the program itself is at fault."""


class OneParagraph(TyperGroup):
    """The commands; a wrong command line is told in one paragraph like every other error."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command and end with its exit code."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        try:
            code = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        except _UsageError as error:
            _say_usage(error)
            sys.exit(error.exit_code)
        except typer.Abort:
            code = INTERRUPTED
        sys.exit(code if isinstance(code, int) else 0)


class Messages:
    """Turn an error in the block into one paragraph and an exit code.

    Parameters
    ----------
    debug
        Let tracebacks through.
    """

    def __init__(self, debug: bool) -> None:
        self._debug = debug

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, KeyboardInterrupt):
            say("stopped; finished work is kept; run the same command to resume")
            raise typer.Exit(INTERRUPTED)
        if self._debug or isinstance(error, (typer.Exit, typer.Abort, _UsageError)):
            return
        if isinstance(error, AnoclustError):
            fail(error)
        if isinstance(error, OSError):
            if error.errno != errno.EPIPE:  # the reader of a pipe may leave whenever it likes
                what = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
                fail(
                    StoreError(
                        f"{what}; check that the path is right, that you may write to it, and that its disk is not full"
                    )
                )
        elif isinstance(error, Exception):
            say(
                f"internal error; this is a bug in Anoclust: {type(error).__name__}: {error}; please report it, with "
                "what --debug shows"
            )
            raise typer.Exit(UNEXPECTED)


def fail(error: AnoclustError) -> NoReturn:
    """Say what is wrong and end with the error's exit code."""
    say(str(error))
    raise typer.Exit(error.exit_code)


def _say_usage(error: Any) -> None:
    """Say what is wrong with a command line, in the words of all other messages."""
    message = " ".join(error.format_message().split())
    if not message:  # a group of commands without one of them: its help is printed already
        return
    message = re.sub(r"^Invalid value for '(.+?)': ", r"\1 ", message)
    message = re.sub(r"\. Did you mean '?(.*?)'?\?$", r" (did you mean \1?)", message)
    message = re.sub(r"\(Possible options: (.*)\)", r"(did you mean \1?)", message)
    command = error.ctx.command_path if error.ctx else "anoclust"
    say(f"{message[:1].lower()}{message[1:].rstrip('.')}; see `{command} --help`")


def say(message: str) -> None:
    """Print one paragraph on standard error, without the line breaks and passwords of its cause."""
    text = masked_text(re.sub(r"\s*\n\s*", " ", message.strip()))
    typer.secho(f"anoclust: {text}", err=True, fg="red" if sys.stderr.isatty() else None)
