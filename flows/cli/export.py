"""``anoclust export``: heat maps of finished runs, and lasting clusters, in files for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anoclust_core.errors import ConfigError
from flows.cli.asked import Asked, with_settings
from flows.cli.messages import Messages
from flows.cli.run import maps_line

app = typer.Typer(no_args_is_help=True)


@app.command("maps")
@with_settings()
def maps(
    asked: Asked,
    out: Annotated[Path, typer.Option(metavar="<folder>", help="Folder to write into.", show_default=False)],
    category: Annotated[str | None, typer.Argument(help="Only this category.", show_default="all")] = None,
    run: Annotated[
        str | None, typer.Option(help="Name of the run.", show_default="the one that latest.json names")
    ] = None,
) -> None:
    """Write the rarity of every clustered image of finished runs, as a NumPy file and as a picture.

    The files are the same as from `anoclust run --export-maps`; neither torch nor Prefect is needed.
    """
    with Messages(asked.debug):
        from rich.console import Console

        from flows.terminal.progress import StageBars
        from tasks.export.maps import export_maps
        from tasks.stores.addresses import on_this_machine
        from tasks.stores.layout import existing_store
        from tasks.stores.upkeep.past_runs import chosen_runs

        out = on_this_machine(out, "--out", ConfigError)
        layout = existing_store(asked.settings().store)
        made = []
        with StageBars(Console(stderr=True)) as bars:
            for name, folder in chosen_runs(layout, category, run):

                def progress(done: int, total: int, name: str = name) -> None:
                    bars(name, "heat", done, total)

                made.append((name, export_maps(layout, folder, out, progress=progress)))
        for name, maps in made:
            typer.echo(maps_line(name, maps))


@app.command("clusters")
@with_settings()
def clusters(
    asked: Asked,
    category: Annotated[str, typer.Argument(help="Name of the product.", show_default=False)],
    kind: Annotated[
        str,
        typer.Option(
            "--format",
            help="`csv` or `parquet`: one row per image. `fiftyone`: a folder that FiftyOne loads as "
            "FiftyOneImageClassificationDataset. `labelstudio`: tasks with predictions, and the labelling "
            "configuration beside them.",
        ),
    ] = "csv",
    out: Annotated[
        Path | None,
        typer.Option(metavar="<path>", help="File or folder to write.", show_default="CATEGORY-clusters.ENDING"),
    ] = None,
) -> None:
    """Write the current cluster of every image of a category, with its name and confidence."""
    with Messages(asked.debug):
        from flows.nights.status import catalog_of, known_category
        from tasks.export.clusters import FORMATS, cluster_table
        from tasks.stores.addresses import on_this_machine
        from tasks.stores.catalog.catalog import Catalog
        from tasks.stores.files import safe_name
        from tasks.stores.layout import existing_store

        if out is not None:
            out = on_this_machine(out, "--out", ConfigError)
        if kind not in FORMATS:
            raise ConfigError(f"--format takes {', '.join(FORMATS)}; found {kind!r}")
        settings = asked.settings()
        layout = existing_store(settings.store)
        where = catalog_of(layout, settings.config)
        with Catalog.open(where, store=layout, create=False) as opened, opened.view() as catalog:
            table = cluster_table(catalog, known_category(catalog, category))
        write, ending = FORMATS[kind]
        made = write(table, out or Path(f"{safe_name(category)}-clusters{ending}"))
        lonely = f"; {made.n_without_file:,} left out, because their files are gone" if made.n_without_file else ""
        typer.echo(f"{made.path}: {made.n_images:,} images of {category}{lonely}")
