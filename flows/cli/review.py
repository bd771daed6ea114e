"""``anoclust review``: a local page where people look at clusters, name and correct them."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from flows.cli.asked import Asked, with_settings
from flows.cli.messages import Messages
from flows.cli.options import LAST_PORT, whole_number

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8765


@with_settings()
def review(
    asked: Asked,
    host: Annotated[
        str,
        typer.Option(
            help="Name or address to listen on. Any but this machine's own lets others reach the page, and needs a "
            "password in ANOCLUST_REVIEW__PASSWORD."
        ),
    ] = DEFAULT_HOST,
    port: Annotated[
        int,
        typer.Option(
            help="Port to listen on; 0 takes one that is free.",
            parser=whole_number(0, LAST_PORT, takes=f"the number of a port, 0 to {LAST_PORT}"),
            metavar="<int>",
        ),
    ] = DEFAULT_PORT,
) -> None:
    """Open a page on this machine where you look at clusters, name, merge and split them, until Ctrl-C.

    Prints the address to open. Only a browser that opens this address gets in. Other machines cannot reach the page,
    unless you give --host and a password. Everything that you decide there is also a command of `anoclust clusters`,
    stands in the history, and can be undone.
    """
    with Messages(asked.debug):
        from flows.nights.status import catalog_of
        from flows.review.serve import serve
        from tasks.review.reading import Reading
        from tasks.stores.catalog.catalog import Catalog
        from tasks.stores.layout import existing_store

        settings = asked.settings()
        layout = existing_store(settings.store)
        where = catalog_of(layout, settings.config)
        has_only_runs = where == layout.catalog and not layout.catalog.exists() and (layout.root / "runs").is_dir()
        with Catalog.open(where, store=layout, create=has_only_runs) as catalog:
            catalog.check()
            serve(Reading(layout, catalog), settings.config, host=host, port=port, tell=typer.echo)
