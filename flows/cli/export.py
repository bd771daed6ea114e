"""``anoclust export``: heat maps, lasting clusters and images to label, in files for other programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anoclust_core.errors import ConfigError
from flows.cli.asked import Asked, with_settings
from flows.cli.messages import Messages
from flows.cli.options import whole_number
from flows.cli.run import maps_line

if TYPE_CHECKING:
    import pandas as pd

    from tasks.export.clusters import ExportedClusters
    from tasks.review.reading import Reading

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


Format = Annotated[
    str,
    typer.Option(
        "--format",
        help="`csv` or `parquet`: one row per image. `fiftyone`: a folder that FiftyOne loads as "
        "FiftyOneImageClassificationDataset. `labelstudio`: tasks with predictions, and the labelling configuration "
        "beside them.",
    ),
]
Category = Annotated[str, typer.Argument(help="Name of the product.", show_default=False)]


@app.command("clusters")
@with_settings()
def clusters(
    asked: Asked,
    category: Category,
    kind: Format = "csv",
    out: Annotated[
        Path | None,
        typer.Option(metavar="<path>", help="File or folder to write.", show_default="CATEGORY-clusters.ENDING"),
    ] = None,
) -> None:
    """Write the current cluster of every image of a category, with its name and confidence."""
    with Messages(asked.debug):
        from tasks.export.clusters import cluster_table

        made = _written(
            asked, category, kind, out, "clusters", lambda reading: cluster_table(reading.catalog, category)
        )
        typer.echo(f"{made.path}: {made.n_images:,} images of {category}{_lonely(made)}")


@app.command("to-label")
@with_settings()
def to_label(
    asked: Asked,
    category: Category,
    images: Annotated[int, typer.Option(help="Images at most.", parser=whole_number(1), metavar="<int>")] = 100,
    kind: Format = "csv",
    out: Annotated[
        Path | None,
        typer.Option(metavar="<path>", help="File or folder to write.", show_default="CATEGORY-to-label.ENDING"),
    ] = None,
) -> None:
    """Write a list of images for a labeller: those whose names would teach most, the most telling first.

    Each is the middle of many images that are alike; any first part of the list is spread over all kinds. Images that
    people have placed already, and what is like them, are left out. Bring the names back with `anoclust clusters move`,
    or answer `anoclust clusters ask`, which asks about the same images.
    """
    with Messages(asked.debug):
        from tasks.review.morning.handing_on import images_to_label

        made = _written(
            asked, category, kind, out, "to-label", lambda reading: images_to_label(reading, category, images)
        )
        typer.echo(f"{made.path}: {made.n_images:,} images of {category} to label{_lonely(made)}")


def _written(
    asked: Asked, category: str, kind: str, out: Path | None, what: str, table: Callable[[Reading], pd.DataFrame]
) -> ExportedClusters:
    """Write a table of a category in a format."""
    from flows.nights.status import catalog_of, known_category
    from tasks.export.clusters import FORMATS
    from tasks.review.reading import Reading
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
        known_category(catalog, category)
        made = table(Reading(layout, catalog))
    write, ending = FORMATS[kind]
    return write(made, out or Path(f"{safe_name(category)}-{what}{ending}"))


def _lonely(made: ExportedClusters) -> str:
    return f"; {made.n_without_file:,} left out, because their files are gone" if made.n_without_file else ""
