"""``anoclust up`` and ``anoclust deploy``: nights by themselves, on one machine or on a team's server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anoclust_core.errors import ConfigError
from flows.cli.asked import Asked, with_settings
from flows.cli.messages import Messages
from flows.cli.options import LAST_PORT, Debug, whole_number

if TYPE_CHECKING:
    from flows.deploy.deployments import Nights
    from flows.settings import Settings

DEFAULT_AT = "04:15"
"""Not between two and three, which some days have twice and others not at all."""

DEFAULT_PORT = 4200


@dataclass(frozen=True)
class NightFlags:
    """Flags of both commands that register nights."""

    data: Annotated[Path, typer.Option(metavar="<folder>", help="Images, as for `anoclust run`.", show_default=False)]
    at: Annotated[str, typer.Option(help="Time of day at which every category's night is processed.")] = DEFAULT_AT
    notify: Annotated[
        str | None,
        typer.Option(
            metavar="<url|kind/name>",
            help="Where to send new clusters, growth, drift and failures: a web address that takes JSON, or a "
            "notification block of Prefect such as `slack-webhook/quality`.",
            show_default="nowhere",
        ),
    ] = None
    files: Annotated[
        Path | None,
        typer.Option(
            metavar="<folder>",
            help="Folder with limits.yaml and automations.yaml.",
            show_default="deployments/ of the repository",
        ),
    ] = None


app = typer.Typer(no_args_is_help=True)


@with_settings("up")
def up(
    asked: Asked,
    nights: NightFlags,
    port: Annotated[
        int,
        typer.Option(
            help="Port of the server, if one is started.",
            parser=whole_number(1, LAST_PORT, takes=f"the number of a port, 1 to {LAST_PORT}"),
            metavar="<int>",
        ),
    ] = DEFAULT_PORT,
) -> None:
    """Process the new images of every category every night, until Ctrl-C.

    Starts a Prefect server with its UI on this machine, unless `PREFECT_API_URL` names one; registers a deployment for
    each category and one that finds dead runs; starts a worker that runs them. New categories are registered within a
    minute. Nights missed while nothing ran are caught up by one run.

    Ctrl-C ends all of it. Every finished part of a running night is kept; the next night resumes from there.
    """
    with Messages(asked.debug):
        from flows.prefect_server.around import prepare_prefect
        from tasks.stores.catalog.identity import is_begun
        from tasks.stores.layout import StoreLayout

        settings = asked.settings()
        layout = StoreLayout(settings.store.absolute())
        is_begun(layout, settings.config.night.catalog or layout.catalog)  # a lost one is told now, not every night
        prepare_prefect(asked.debug)
        from flows.deploy.serve import serve

        serve(_nights(nights, settings), port=port, tell=typer.echo)


@app.command("apply")
@with_settings("deploy apply")
def apply(asked: Asked, nights: NightFlags) -> None:
    """Set up the server that `PREFECT_API_URL` names as the files and these flags say.

    Work pools, queues and limits of `limits.yaml`, automations of `automations.yaml`, a deployment for every category
    and one that finds dead runs. What was switched off or changed in the UI stays as it is. Prints what it changed.
    Running it again changes nothing.
    """
    with Messages(asked.debug):
        from flows.prefect_server.around import prepare_prefect

        settings = asked.settings()
        prepare_prefect(asked.debug)
        from flows.deploy.deployments import connected

        registered = _nights(nights, settings)
        with connected() as client:
            changed = registered.apply(client)
        for line in changed or ["nothing to change"]:
            typer.echo(line)
        for name in registered.variables:
            typer.echo(f"the server does not keep the catalog's password: start every worker with {name} set")


@app.command("catch-up")
def catch_up(debug: Debug = False) -> None:
    """Cancel late runs, all but the newest of every category; run it after an outage, before a worker starts."""
    with Messages(debug):
        from flows.deploy.deployments import cancel_late, connected
        from flows.prefect_server.around import prepare_prefect

        prepare_prefect(debug)
        with connected() as client:
            typer.echo(f"late runs cancelled: {len(cancel_late(client))}")


def _nights(given: NightFlags, settings: Settings) -> Nights:
    """Collect what the commands register."""
    from flows.deploy.deployments import Nights, daily, given_settings, worker_variables
    from flows.deploy.files import FOLDER
    from flows.nights.status import known_categories
    from tasks.stores.addresses import on_this_machine
    from tasks.stores.layout import StoreLayout

    layout = StoreLayout(settings.store.absolute())
    return Nights(
        data=on_this_machine(given.data, "--data"),
        store=settings.store,
        settings=given_settings(settings),
        cron=daily(given.at),
        timezone=settings.config.night.timezone,
        files=on_this_machine(given.files, "--files", ConfigError) if given.files else FOLDER,
        notify=given.notify or None,
        variables=worker_variables(settings),
        known=known_categories(layout, settings.config.night.catalog or layout.catalog),
    )
