"""The ``anoclust`` command: flags to settings, settings to one call, results to the terminal; the only echo.

One module a group of commands; ``messages`` turns errors into paragraphs and exit codes, ``options`` holds the flags
that commands share.
"""

from __future__ import annotations

import atexit
import gc

import typer

from flows.cli import benchmark, clusters, config, export, nights, prepare, run, show, store, up
from flows.cli.arguments import hide_secrets
from flows.cli.messages import OneParagraph

__all__ = ["app", "main"]

app = typer.Typer(
    cls=OneParagraph,
    help="Clusters production images by type of anomaly.\n\nTry `anoclust demo` first.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(run.run)
app.command()(run.demo)
app.command()(benchmark.benchmark)
app.command()(show.show)
app.command()(nights.nightly)
app.command()(nights.backfill)
app.command()(nights.status)
app.add_typer(clusters.app, name="clusters")
app.command()(up.up)
app.add_typer(up.app, name="deploy")
app.add_typer(prepare.app, name="prepare")
app.add_typer(export.app, name="export")
app.add_typer(store.app, name="store")
app.add_typer(config.app, name="config")


def main() -> None:
    """Entry point of the installed command."""
    hide_secrets()
    # a last collection over all that torch and Prefect are made of kept the prompt away for three seconds
    atexit.register(gc.freeze)
    app()
