"""``anoclust nightly``, ``backfill`` and ``status``: what is new, night after night."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anoclust_core.errors import DatasetError
from flows.cli.messages import Messages, say
from flows.cli.options import ConfigFile, Debug, Json, Store, how_many, setting

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flows.nights.run import NightOutcome
    from flows.settings import Settings


def a_night(text: object) -> date:
    """Read a flag's value, or say what it takes and what was found."""
    try:
        return date.fromisoformat(str(text))
    except ValueError as error:
        raise typer.BadParameter(f"takes a date as 2026-11-20; found {text!r}") from error


Data = Annotated[
    Path,
    typer.Argument(
        help="Images, as for `anoclust run`. You may move images away once they have been seen.", show_default=False
    ),
]
Recipe = Annotated[str | None, setting("recipe", "auto")]
Normals = Annotated[str | None, setting("data.normals", "auto")]
Splits = Annotated[str | None, setting("data.splits", "test")]
SettleSeconds = Annotated[str | None, setting("data.settle_seconds", "2")]
MaxBadShare = Annotated[str | None, setting("data.max_bad_share", "0.3")]
TrustTimes = Annotated[str | None, setting("data.trust_times", "true")]
NClusters = Annotated[str | None, setting("group.n_clusters", "auto")]
Tau = Annotated[str | None, setting("weigh.tau", "0.3sd")]
Reference = Annotated[str | None, setting("pair.reference", "auto")]
Backbone = Annotated[str | None, setting("embed.backbone", "efficientnet_lite2")]
Checkpoint = Annotated[str | None, setting("embed.checkpoint", "none")]
ImageSize = Annotated[str | None, setting("embed.image_size", "auto")]
Device = Annotated[str | None, setting("embed.device", "auto")]
Precision = Annotated[str | None, setting("embed.precision", "float32")]
Engine = Annotated[str | None, setting("embed.engine", "auto")]
Dask = Annotated[str | None, setting("pair.dask", "none")]
Memory = Annotated[str | None, setting("memory", "auto")]
WaitSeconds = Annotated[str | None, setting("wait_seconds", "0")]
Timezone = Annotated[str | None, setting("night.timezone", "UTC")]
DayStarts = Annotated[str | None, setting("night.day_starts", "06:00")]
Captured = Annotated[str | None, setting("night.captured", "file")]
ReclusterEvery = Annotated[str | None, setting("night.recluster_every", "7")]
ReclusterUnknown = Annotated[str | None, setting("night.recluster_unknown", "0.2")]
CatalogUrl = Annotated[str | None, setting("night.catalog", "auto")]
NewCatalog = Annotated[
    bool,
    typer.Option(
        "--new-catalog",
        help="Start over if the store's catalog is lost: clusters are numbered from c1 again, and the old nights are "
        "kept in STORE/aside.",
    ),
]


def nightly(
    data: Data,
    store: Store = None,
    category: Annotated[
        list[str] | None, typer.Option(help="Only this category; repeatable.", show_default="all")
    ] = None,
    as_of: Annotated[
        date | None,
        typer.Option(
            help="Work as if it were this night: images taken later are ignored.",
            parser=a_night,
            metavar="<date>",
            show_default="tonight, with all images",
        ),
    ] = None,
    recluster: Annotated[
        bool, typer.Option("--recluster", help="Re-cluster everything now, whether or not it is due.")
    ] = False,
    recipe: Recipe = None,
    normals: Normals = None,
    splits: Splits = None,
    settle_seconds: SettleSeconds = None,
    max_bad_share: MaxBadShare = None,
    trust_times: TrustTimes = None,
    n_clusters: NClusters = None,
    tau: Tau = None,
    reference: Reference = None,
    backbone: Backbone = None,
    checkpoint: Checkpoint = None,
    image_size: ImageSize = None,
    device: Device = None,
    precision: Precision = None,
    engine: Engine = None,
    dask: Dask = None,
    memory: Memory = None,
    wait_seconds: WaitSeconds = None,
    timezone: Timezone = None,
    day_starts: DayStarts = None,
    captured: Captured = None,
    recluster_every: ReclusterEvery = None,
    recluster_unknown: ReclusterUnknown = None,
    catalog: CatalogUrl = None,
    new_catalog: NewCatalog = False,
    config: ConfigFile = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Process the new images in DATA once, for every category: the command for cron or a schedule.

    Only images with new content are embedded, and compared with the reference of the last clustering. Each goes to a
    lasting cluster, which keeps its name and number, or is unknown; three similar unknown images start a new cluster.
    Everything is re-clustered from time to time; the clusters keep their identities.

    If nothing is new, it ends in seconds. The report is `STORE/nights/CATEGORY/NIGHT/report.html`; `anoclust clusters`
    shows, names and merges clusters; `anoclust status` shows the state of every category.
    """
    flags: dict[str, object] = {
        "store": store, "recipe": recipe, "data.normals": normals, "data.splits": splits,
        "data.settle_seconds": settle_seconds, "data.max_bad_share": max_bad_share, "data.trust_times": trust_times,
        "group.n_clusters": n_clusters, "weigh.tau": tau, "pair.reference": reference, "embed.backbone": backbone,
        "embed.checkpoint": checkpoint, "embed.image_size": image_size, "embed.device": device,
        "embed.precision": precision, "embed.engine": engine,
        "pair.dask": dask, "memory": memory,
        "wait_seconds": wait_seconds, "night.timezone": timezone, "night.day_starts": day_starts,
        "night.captured": captured, "night.recluster_every": recluster_every,
        "night.recluster_unknown": recluster_unknown, "night.catalog": catalog,
    }  # fmt: skip
    with Messages(debug):
        from flows.settings import resolve

        settings = resolve(flags, file=config)
        if new_catalog:
            _start_over(settings)
        _run(data, settings, category or [], as_of=as_of, recluster=recluster, as_json=as_json, debug=debug)


def backfill(
    data: Data,
    first: Annotated[
        date, typer.Option("--from", help="First night.", parser=a_night, metavar="<date>", show_default=False)
    ],
    last: Annotated[
        date, typer.Option("--to", help="Last night.", parser=a_night, metavar="<date>", show_default=False)
    ],
    store: Store = None,
    category: Annotated[
        list[str] | None, typer.Option(help="Only this category; repeatable.", show_default="all")
    ] = None,
    max_parallel: Annotated[
        int,
        typer.Option(help="Number of categories to process side by side.", parser=how_many, metavar="<int>"),
    ] = 1,
    device: Device = None,
    memory: Memory = None,
    wait_seconds: WaitSeconds = None,
    captured: Captured = None,
    catalog: CatalogUrl = None,
    new_catalog: NewCatalog = False,
    config: ConfigFile = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Process past nights of DATA, as if `anoclust nightly` had been called on each.

    In date order within a category; several categories may run side by side. If interrupted, run the same command to
    resume; once finished, it does nothing. The time an image was taken decides its night: see --captured. All other
    settings come from `anoclust.toml` and `ANOCLUST_*` variables.
    """
    flags = {
        "store": store, "embed.device": device, "memory": memory, "wait_seconds": wait_seconds,
        "night.captured": captured, "night.catalog": catalog,
    }  # fmt: skip
    with Messages(debug):
        from rich.console import Console

        from flows.nights.backfill import nights_between, run_backfill
        from flows.settings import resolve
        from flows.terminal.progress import StageBars
        from tasks.images.listing import list_categories

        settings = resolve(flags, file=config)
        nights = nights_between(first, last)
        names = category or list_categories(data, exclude=settings.store)
        if not names:
            raise DatasetError(
                f"no image in {data}; if the images were moved away, name the categories with --category"
            )
        if new_catalog:
            _start_over(settings)
        with StageBars(Console(stderr=True)) as bars:
            found = run_backfill(
                data,
                settings.store,
                settings.config,
                categories=names,
                nights=nights,
                max_parallel=max_parallel,
                listener=bars,
                debug=debug,
            )
            outcomes = _collected(found, debug)
        _print(outcomes, as_json)


def status(
    category: Annotated[list[str] | None, typer.Argument(help="Only these categories.", show_default="all")] = None,
    store: Store = None,
    catalog: CatalogUrl = None,
    config: ConfigFile = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Print the state of every category: last night, images, clusters, unknown images, last re-clustering."""
    with Messages(debug):
        from flows.nights.status import catalog_of, status_of
        from flows.settings import resolve
        from flows.terminal.nights import status_table
        from flows.terminal.tables import print_table
        from tasks.stores.layout import existing_store

        settings = resolve({"store": store, "night.catalog": catalog}, file=config)
        layout = existing_store(settings.store)
        found = status_of(layout, catalog_of(layout, settings.config), category or [])
        if as_json:
            typer.echo(json.dumps([asdict(one) for one in found], indent=2, default=str, ensure_ascii=False))
        else:
            print_table(status_table(found))


def _start_over(settings: Settings) -> None:
    """Make room for a new catalog, and say where the old nights are."""
    from tasks.stores.catalog.rebuild import start_over
    from tasks.stores.layout import StoreLayout

    layout = StoreLayout(settings.store.absolute())
    aside = start_over(layout, settings.config.night.catalog or layout.catalog)
    if aside is not None:
        say(f"starting over with a new catalog; the earlier nights are kept in {aside}")


def _run(
    data: Path,
    settings: Settings,
    categories: list[str],
    *,
    as_of: date | None,
    recluster: bool,
    as_json: bool,
    debug: bool,
) -> None:
    """Run the night, show progress, and fail at the end if a category failed."""
    from rich.console import Console

    from flows.nights.run import run_nights
    from flows.terminal.progress import StageBars

    with StageBars(Console(stderr=True)) as bars:
        found = run_nights(
            data,
            settings.store,
            settings.config,
            categories=categories,
            as_of=as_of,
            recluster=recluster,
            listener=bars,
            debug=debug,
        )
        outcomes = _collected(found, debug)
    _print(outcomes, as_json)


def _collected(found: Iterable[NightOutcome], debug: bool) -> list[NightOutcome]:
    """Outcomes as they come; with ``--debug`` the first error goes through."""
    outcomes = []
    for outcome in found:
        outcomes.append(outcome)
        if outcome.error is not None and debug:
            raise outcome.error
    return outcomes


def _print(outcomes: list[NightOutcome], as_json: bool) -> None:
    """Print what was done, and fail at the end if a category failed."""
    from flows.terminal.nights import night_lines, nights_table
    from flows.terminal.tables import print_table

    if as_json:
        typer.echo(json.dumps([outcome.as_json() for outcome in outcomes], indent=2, ensure_ascii=False))
    elif outcomes:
        print_table(nights_table(outcomes))
    for outcome in outcomes:
        if outcome.error is not None:
            say(night_lines(outcome))
        elif not as_json:
            typer.echo(night_lines(outcome))
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    if errors:
        raise typer.Exit(errors[0].exit_code)
