"""Errors as one paragraph and an exit code; tracebacks only with ``--debug``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import typer
from typer.core import TyperGroup

from anoclust_core.errors import AnoclustError

_UsageError: Final[Any] = typer.BadParameter.__mro__[1]
"""A wrong command line, as Typer finds it."""


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
            message = " ".join(error.format_message().split())
            command = error.ctx.command_path if error.ctx else "anoclust"
            _say(f"{message.rstrip('.')}; `{command} --help` lists what there is")
            sys.exit(error.exit_code)
        except typer.Abort:
            _say("stopped; what was finished is kept, and the same command goes on from there")
            sys.exit(130)
        sys.exit(code if isinstance(code, int) else 0)


class Messages:
    """Turn errors that the user can act on into one paragraph and an exit code.

    Parameters
    ----------
    debug
        Let the traceback through.
    """

    def __init__(self, debug: bool) -> None:
        self._debug = debug

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, AnoclustError) and not self._debug:
            fail(error)


def fail(error: AnoclustError) -> NoReturn:
    """Say what is wrong and end with the error's exit code."""
    _say(str(error))
    raise typer.Exit(error.exit_code)


def _say(message: str) -> None:
    typer.secho(f"anoclust: {message}", err=True, fg="red" if sys.stderr.isatty() else None)
