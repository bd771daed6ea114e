"""``anoclust up`` and ``anoclust deploy``: nights by themselves, on one machine or on a team's server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anoclust_core.errors import ConfigError
from flows.cli.messages import Messages
from flows.cli.options import ConfigFile, Debug, Store, setting

if TYPE_CHECKING:
    from flows.deploy.deployments import Nights
    from flows.settings import Settings

Data = Annotated[Path, typer.Option(metavar="<folder>", help="Images, as for `anoclust run`.", show_default=False)]
At = Annotated[str, typer.Option(help="Time of day at which every category's night is processed.")]
Notify = Annotated[
    str | None,
    typer.Option(
        metavar="<url|kind/name>",
        help="Where to send new clusters, growth, drift and failures: a web address that takes JSON, or a notification "
        "block of Prefect such as `slack-webhook/quality`.",
        show_default="nowhere",
    ),
]
Files = Annotated[
    Path | None,
    typer.Option(
        metavar="<folder>",
        help="Folder with limits.yaml and automations.yaml.",
        show_default="deployments/ of the repository",
    ),
]

DEFAULT_AT = "04:15"
"""Not between two and three, which some days have twice and others not at all."""

DEFAULT_PORT = 4200
LAST_PORT = 65535


def a_port(text: object) -> int:
    """Read a flag's value, or say what it takes and what was found."""
    if not str(text).isdecimal() or not 1 <= int(str(text)) <= LAST_PORT:
        raise typer.BadParameter(f"takes the number of a port, 1 to {LAST_PORT}; found {text!r}")
    return int(str(text))


app = typer.Typer(help="Register every category's nights on a team's Prefect server.", no_args_is_help=True)


def up(
    data: Data,
    store: Store = None,
    at: At = DEFAULT_AT,
    timezone: Annotated[str | None, setting("night.timezone", "UTC")] = None,
    port: Annotated[
        int, typer.Option(help="Port of the server, if one is started.", parser=a_port, metavar="<int>")
    ] = DEFAULT_PORT,
    notify: Notify = None,
    files: Files = None,
    config: ConfigFile = None,
    debug: Debug = False,
) -> None:
    """Process the new images of every category every night, until Ctrl-C.

    Starts a Prefect server with its UI on this machine, unless `PREFECT_API_URL` names one; registers a deployment for
    each category and one that finds dead runs; starts a worker that runs them. New categories are registered within a
    minute. Nights missed while nothing ran are caught up by one run.

    Ctrl-C ends all of it. Every finished part of a running night is kept; the next night resumes from there.
    """
    with Messages(debug):
        from flows.prefect_server.around import prepare_prefect
        from flows.settings import resolve
        from tasks.stores.catalog.identity import is_begun
        from tasks.stores.layout import StoreLayout

        settings = resolve({"store": store, "night.timezone": timezone}, file=config)
        layout = StoreLayout(settings.store.absolute())
        is_begun(layout, settings.config.night.catalog or layout.catalog)  # a lost one is told now, not every night
        prepare_prefect(debug)
        from flows.deploy.serve import serve

        serve(_nights(data, settings, at, notify, files), port=port, tell=typer.echo)


@app.command("apply")
def apply(
    data: Data,
    store: Store = None,
    at: At = DEFAULT_AT,
    timezone: Annotated[str | None, setting("night.timezone", "UTC")] = None,
    notify: Notify = None,
    files: Files = None,
    config: ConfigFile = None,
    debug: Debug = False,
) -> None:
    """Set up the server that `PREFECT_API_URL` names as the files and these flags say.

    Work pools, queues and limits of `limits.yaml`, automations of `automations.yaml`, a deployment for every category
    and one that finds dead runs. What was switched off or changed in the UI stays as it is. Prints what it changed.
    Running it again changes nothing.
    """
    with Messages(debug):
        from flows.prefect_server.around import prepare_prefect
        from flows.settings import resolve

        settings = resolve({"store": store, "night.timezone": timezone}, file=config)
        prepare_prefect(debug)
        from flows.deploy.deployments import connected

        nights = _nights(data, settings, at, notify, files)
        with connected() as client:
            changed = nights.apply(client)
        for line in changed or ["nothing to change"]:
            typer.echo(line)
        for name in nights.variables:
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


def _nights(data: Path, settings: Settings, at: str, notify: str | None, files: Path | None) -> Nights:
    """Collect what the commands register."""
    from flows.deploy.deployments import Nights, daily, given_settings, worker_variables
    from flows.deploy.files import FOLDER
    from tasks.stores.addresses import on_this_machine

    return Nights(
        data=on_this_machine(data, "--data"),
        store=settings.store,
        settings=given_settings(settings),
        cron=daily(at),
        timezone=settings.config.night.timezone,
        files=on_this_machine(files, "--files", ConfigError) if files else FOLDER,
        notify=notify or None,
        variables=worker_variables(settings),
    )
