"""``anoclust export``: results of a finished run in files for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.messages import Messages
from flows.cli.options import ConfigFile, Debug, Store
from flows.cli.run import maps_line

app = typer.Typer(help="Write results of finished runs for other programs.", no_args_is_help=True)


@app.command("maps")
def maps(
    out: Annotated[Path, typer.Option(metavar="<folder>", help="Folder to write into.", show_default=False)],
    category: Annotated[str | None, typer.Argument(help="Only this category.", show_default="all")] = None,
    run: Annotated[
        str | None, typer.Option(help="Name of the run.", show_default="the one that latest.json names")
    ] = None,
    store: Store = None,
    config: ConfigFile = None,
    debug: Debug = False,
) -> None:
    """Write the rarity of every clustered image, as NumPy file and as picture, from runs that are finished.

    The files are those of `anoclust run --export-maps`; neither torch nor Prefect is needed.
    """
    with Messages(debug):
        from rich.console import Console

        from flows.console import StageBars
        from flows.settings import resolve
        from tasks.export import export_maps
        from tasks.stores.history import chosen_runs
        from tasks.stores.layout import existing_store

        layout = existing_store(resolve({"store": store}, file=config).store)
        made = []
        with StageBars(Console(stderr=True)) as bars:
            for name, folder in chosen_runs(layout, category, run):

                def progress(done: int, total: int, name: str = name) -> None:
                    bars(name, "heat", done, total)

                made.append((name, export_maps(layout, folder, out, progress=progress)))
        for name, maps in made:
            typer.echo(maps_line(name, maps))
