"""Flags that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import typer

LAST_PORT: Final = 65535


def whole_number(least: int = 0, most: int | None = None, *, takes: str = "") -> Callable[[object], int]:
    """Reader of a flag's value that says what it takes and what was found: Typer's own tells only one of the two."""
    takes = takes or f"a whole number from {least}"

    def read(text: object) -> int:
        found = int(str(text)) if str(text).isdecimal() else -1
        if found < least or (most is not None and found > most):
            raise typer.BadParameter(f"takes {takes}; found {text!r}")
        return found

    return read


ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="File with settings.", show_default="anoclust.toml, if it exists"),
]
DemoSeed = Annotated[int, typer.Option(help="Seed of the images.", parser=whole_number(), metavar="<int>")]
Debug = Annotated[bool, typer.Option("--debug", help="Show Prefect's log, and a traceback if something fails.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of a table.")]
