"""Flags that several commands share; the meaning of a setting comes from one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from anoclust_core.setting_texts import SETTING_TEXTS


def whole_number(text: object) -> int:
    """Read a flag's value, or say what it takes and what was found."""
    if not str(text).isdecimal():
        raise typer.BadParameter(f"takes a whole number from 0; found {text!r}")
    return int(str(text))


def how_many(text: object) -> int:
    """Read a whole number of at least 1."""
    if not str(text).isdecimal() or int(str(text)) < 1:
        raise typer.BadParameter(f"takes a whole number from 1; found {text!r}")
    return int(str(text))


Store = Annotated[
    str | None,
    typer.Option(
        metavar="<folder>",
        help="Folder for everything that Anoclust keeps: embeddings, distances, runs.",
        show_default="anoclust-store",
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="File with settings.", show_default="anoclust.toml, if it exists"),
]
DemoSeed = Annotated[int, typer.Option(help="Seed of the images.", parser=whole_number, metavar="<int>")]
Debug = Annotated[bool, typer.Option("--debug", help="Show Prefect's log, and a traceback if something fails.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of a table.")]


_PANELS: Final = {
    "": "Run",
    "data": "Images",
    "embed": "Features",
    "pair": "Pairs of images",
    "weigh": "Weights of patches",
    "blind": "Recipe blind",
    "group": "Clusters",
    "night": "Nights",
}
"""From a section of the settings to its heading in a command's help."""


def setting(name: str, default: str) -> typer.models.OptionInfo:
    """Flag of a setting; if it is not given, the environment, the file or the default decides."""
    option: typer.models.OptionInfo = typer.Option(
        help=SETTING_TEXTS[name],
        show_default=default.replace("[", "").replace("]", ""),
        rich_help_panel=_PANELS[name.rpartition(".")[0]],
    )
    return option
