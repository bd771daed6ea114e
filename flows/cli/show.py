"""``anoclust show``: the newest runs of a store."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from flows.cli.asked import Asked, with_settings
from flows.cli.messages import Messages
from flows.cli.options import Json, whole_number


@with_settings()
def show(
    asked: Asked,
    category: Annotated[str | None, typer.Argument(help="Only this category.", show_default="all")] = None,
    limit: Annotated[int, typer.Option(help="Runs of each category.", parser=whole_number(), metavar="<int>")] = 10,
    as_json: Json = False,
) -> None:
    """Print the newest runs of every category: when, how many images and clusters, scores, and where the report is.

    If the summary of a run is damaged, it is named, the others are shown, and the exit code is 4.
    """
    with Messages(asked.debug):
        from anoclust_core.errors import StoreError
        from flows.terminal.runs import run_lines
        from tasks.stores.layout import existing_store
        from tasks.stores.upkeep.past_runs import newest_runs

        layout = existing_store(asked.settings().store)
        found = newest_runs(layout, category, limit)
        if as_json:
            rows = [
                {
                    "category": run.category,
                    "run": str(run.folder),
                    "is_latest": run.is_latest,
                    "error": run.error,
                    "summary": run.summary,
                }
                for run in found
            ]
            typer.echo(json.dumps(rows, indent=2))
        else:
            shown = ""
            for run in found:
                if run.category != shown:
                    typer.echo(run.category)
                    shown = run.category
                typer.echo(run_lines(run))
        damage = list(dict.fromkeys(run.error for run in found if run.error is not None))
        if damage:
            raise StoreError(f"{len(damage):,} of the files that describe these runs cannot be read: {damage[0]}")
