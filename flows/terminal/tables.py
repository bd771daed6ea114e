"""What tables in the terminal share: their look, their width, sizes and paths as people read them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

_WIDEST: Final = 10_000


def new_table(*columns: str, numbers: Collection[str] = ()) -> Table:
    """Table with a name first, which is never broken; texts are, where they must. ``numbers`` stand at the right."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=number == 0, justify="right" if column in numbers else "left")
    return table


def print_table(table: Table) -> None:
    """Print a table, as wide as it needs where the output is no terminal: a script should not meet folded words."""
    console = Console()
    if not console.is_terminal:
        needed = Measurement.get(console, console.options.update(width=_WIDEST), table).maximum
        console = Console(width=max(console.width, needed))
    console.print(table)


def short_path(path: Path) -> Path:
    """Path from the current folder where it lies below, else the whole of it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
