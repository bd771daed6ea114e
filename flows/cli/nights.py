"""``anoclust nightly``, ``backfill`` and ``status``: what is new, night after night."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anoclust_core.errors import DatasetError
from flows.cli.asked import Asked, with_settings
from flows.cli.messages import Messages, say
from flows.cli.options import Json, whole_number

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flows.nights.outcome import NightOutcome
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
NewCatalog = Annotated[
    bool,
    typer.Option(
        "--new-catalog",
        help="Start over if the store's catalog is lost: clusters are numbered from c1 again, and the old nights are "
        "kept in STORE/aside.",
    ),
]


@with_settings("nightly")
def nightly(
    asked: Asked,
    data: Data,
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
    new_catalog: NewCatalog = False,
    as_json: Json = False,
) -> None:
    """Process the new images in DATA once, for every category: the command for cron or a schedule.

    Only images with new content are embedded, and compared with the reference of the last clustering. Each goes to a
    lasting cluster, which keeps its name and number, or is unknown; three similar unknown images start a new cluster.
    Everything is re-clustered from time to time; the clusters keep their identities.

    If nothing is new, it ends in seconds. The report is `STORE/nights/CATEGORY/NIGHT/report.html`; several categories
    are on one page, `STORE/summary.html`. `anoclust clusters` shows, names and merges clusters; `anoclust status`
    shows the state of every category.

    Exit codes for scripts: 0, all went well; 9, all went well, but no image came to a category: its folder is empty or
    gone, or all its images are of later nights; 10, no image says when it was taken in the way that --captured asks
    for; others are failures.
    """
    with Messages(asked.debug):
        settings = asked.settings()
        if new_catalog:
            _start_over(settings)
        _run(data, settings, category or [], as_of=as_of, recluster=recluster, as_json=as_json, debug=asked.debug)


@with_settings("backfill")
def backfill(
    asked: Asked,
    data: Data,
    first: Annotated[
        date, typer.Option("--from", help="First night.", parser=a_night, metavar="<date>", show_default=False)
    ],
    last: Annotated[
        date, typer.Option("--to", help="Last night.", parser=a_night, metavar="<date>", show_default=False)
    ],
    category: Annotated[
        list[str] | None, typer.Option(help="Only this category; repeatable.", show_default="all")
    ] = None,
    max_parallel: Annotated[
        int,
        typer.Option(help="Number of categories to process side by side.", parser=whole_number(1), metavar="<int>"),
    ] = 1,
    new_catalog: NewCatalog = False,
    as_json: Json = False,
) -> None:
    """Process past nights of DATA, as if `anoclust nightly` had been called on each.

    In date order within a category; several categories may run side by side. If interrupted, run the same command to
    resume; once finished, it does nothing. The time an image was taken decides its night: see --captured.
    Settings that have no flag here come from `anoclust.toml` and `ANOCLUST_*` variables.

    Exit codes for scripts are those of `anoclust nightly`; 9 if no image came to a category in any of the nights.
    """
    with Messages(asked.debug):
        from rich.console import Console

        from flows.nights.backfill import nights_between, run_backfill
        from flows.terminal.progress import StageBars
        from tasks.images.choosing import list_categories

        settings = asked.settings()
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
                debug=asked.debug,
            )
            outcomes = _collected(found, asked.debug)
        _print(outcomes, as_json, settings.store)


@with_settings("status")
def status(
    asked: Asked,
    category: Annotated[list[str] | None, typer.Argument(help="Only these categories.", show_default="all")] = None,
    as_json: Json = False,
) -> None:
    """Print the state of every category: last night, images, clusters, unknown images, last re-clustering."""
    with Messages(asked.debug):
        from flows.nights.status import catalog_of, status_of
        from flows.terminal.nights import status_table
        from flows.terminal.tables import print_table
        from tasks.stores.layout import existing_store

        settings = asked.settings()
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
    _print(outcomes, as_json, settings.store)


def _collected(found: Iterable[NightOutcome], debug: bool) -> list[NightOutcome]:
    """Outcomes as they come; with ``--debug`` the first error goes through."""
    outcomes = []
    for outcome in found:
        outcomes.append(outcome)
        if outcome.error is not None and debug:
            raise outcome.error
    return outcomes


def _print(outcomes: list[NightOutcome], as_json: bool, store: Path) -> None:
    """Print what was done, and end with an exit code of its own if a category failed or no image came."""
    from flows.nights.outcome import exit_code_of
    from flows.overview import write_nights_overview
    from flows.terminal.nights import night_lines, nights_table
    from flows.terminal.tables import print_table, short_path

    page = write_nights_overview(store, outcomes)
    if as_json:
        typer.echo(json.dumps([outcome.as_json() for outcome in outcomes], indent=2, ensure_ascii=False))
    elif outcomes:
        print_table(nights_table(outcomes))
    for outcome in outcomes:
        if outcome.error is not None or outcome.nothing_came:
            say(night_lines(outcome))
        elif not as_json:
            typer.echo(night_lines(outcome))
    if page is not None and not as_json:
        typer.echo(f"all categories on one page:\n  {short_path(page)}")
    if code := exit_code_of(outcomes):
        raise typer.Exit(code)
