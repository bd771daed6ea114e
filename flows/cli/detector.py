"""``anoclust detector``: train a detector whose maps weights follow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anoclust_core.errors import AnoclustError, ConfigError
from anoclust_core.wording import counted
from flows.cli.asked import Asked, with_settings
from flows.cli.messages import Messages, say
from flows.cli.options import whole_number

if TYPE_CHECKING:
    from anoclust_core.records import SetAside

app = typer.Typer(no_args_is_help=True)


@app.callback()
def detector() -> None:
    """Train an anomaly detector on the images of DATA, for `--weights detector:FILE`; needs the extra `detectors`."""


@app.command("train")
@with_settings("detector train")
def train(
    asked: Asked,
    data: Annotated[
        Path, typer.Argument(help="Images: a folder or a manifest, as for `anoclust run`.", show_default=False)
    ],
    method: Annotated[
        str,
        typer.Option(
            help="`patchcore` and `padim` remember features of a backbone and take minutes; `cfa` adapts them; `draem` "
            "has no backbone and is trained from scratch, days without a GPU.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder that gets CATEGORY.xml and CATEGORY.bin, one model a category.")],
    category: Annotated[
        list[str] | None, typer.Option(help="Only this category. Repeatable.", show_default="all")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Optimiser steps of `cfa` and `draem`.",
            parser=whole_number(1),
            metavar="<int>",
            show_default="2000 and 20000",
        ),
    ] = None,
    textures: Annotated[
        str | None,
        typer.Option(help="Folder of pictures that `draem` pastes as defects.", show_default="those of scikit-image"),
    ] = None,
) -> None:
    """Train a detector by anomalib for every category of DATA, on its known normals, or on everything without any.

    The models are OpenVINO's: `anoclust run DATA --weights detector:OUT` weighs by their maps. Nothing is downloaded
    but a backbone's weights that timm has and that are not installed.
    """
    with Messages(asked.debug):
        from rich.console import Console

        from flows.detectors import train_detectors
        from flows.terminal.progress import StageBars
        from tasks.stores.addresses import on_this_machine

        out = on_this_machine(out, "--out", ConfigError)
        failed: list[AnoclustError] = []
        with StageBars(Console(stderr=True)) as bars:
            for one in train_detectors(
                data,
                asked.settings().config,
                method,
                out,
                steps=steps,
                textures=textures,
                categories=category or (),
                listener=bars,
            ):
                if one.error is not None:
                    failed.append(one.error)
                    say(f"{one.category}: failed: {one.error}")
                else:
                    typer.echo(f"{one.category}: {one.file}, trained on {one.trained_on} ({one.n_images:,} images)")
                    for line in _left_out_lines(one.left_out):
                        typer.echo(line)
        if failed:
            raise typer.Exit(failed[0].exit_code)


def _left_out_lines(files: Sequence[SetAside]) -> list[str]:
    """How many files could not be used, and why; nothing where all could."""
    from flows.terminal.runs import aside_lines

    if not files:
        return []
    return [f"  {counted(len(files), 'file')} left out", *aside_lines([(one.path, one.told) for one in files], ())]
