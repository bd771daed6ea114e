"""``anoclust check``: a look at images before their first run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Final

import typer

from flows.cli.asked import Asked, with_settings
from flows.cli.messages import Messages, say
from flows.cli.options import Json, whole_number

SAMPLE: Final = 128
"""Images of a category that are looked at, unless another number is asked for."""


@with_settings("check")
def check(
    asked: Asked,
    data: Annotated[
        Path, typer.Argument(help="Images, as `anoclust run` takes them: a folder or a manifest.", show_default=False)
    ],
    category: Annotated[
        list[str] | None, typer.Option(help="Check only this category; repeatable.", show_default="all")
    ] = None,
    sample: Annotated[
        int,
        typer.Option(
            help="Look at this many images of each category, drawn at random.",
            parser=whole_number(1),
            metavar="<int>",
        ),
    ] = SAMPLE,
    as_json: Json = False,
) -> None:
    """Look at a sample of DATA: say what is in it, what settings a run would take, and how long it would take.

    It takes the flags of `anoclust run`: write `check` for `run`. Nothing is stored. If no run could start, the exit
    code is that of the run.

    For each category: images by split and label, unusable files with reasons, sizes, bit depth, colours, light, copies
    and near-duplicates, and whether the camera is fixed. For the run: its settings and why, seconds, and memory.
    """
    with Messages(asked.debug):
        from rich.console import Console

        from flows.check.run import check_data
        from flows.check.values import as_json as json_of
        from flows.terminal.check import category_table, forecast_table, note_lines, total_lines
        from flows.terminal.progress import StageBars
        from flows.terminal.tables import print_table

        settings = asked.settings()
        with StageBars(Console(stderr=True)) as bars:
            found = check_data(
                data, settings.store, settings.config, categories=category or [], sample=sample, listener=bars
            )
        if as_json:
            typer.echo(json.dumps(json_of(found), indent=2, ensure_ascii=False))
        else:
            for one in found.categories:
                print_table(category_table(one, settings.config))
                for line in note_lines(one):
                    typer.echo(line)
                typer.echo("")
            if found.peak_bytes is not None:
                print_table(forecast_table(found))
            for line in total_lines(found.categories):
                typer.echo(line)
        failed = [(one.category, one.error) for one in found.categories if one.error is not None]
        for name, error in failed:
            say(f"{name}: a run could not start: {error}")
        if failed:
            raise typer.Exit(failed[0][1].exit_code)
