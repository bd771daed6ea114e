"""The ``anoclust`` command: flags to settings, settings to one call, results to the terminal; the only echo.

One module a group of commands, imported when one of them is asked for. ``messages`` turns errors into paragraphs and
exit codes, ``asked`` makes flags from settings, ``options`` holds the other flags that commands share.
"""

from __future__ import annotations

import atexit
import gc
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final

import typer

from flows.cli.arguments import hide_secrets
from flows.cli.messages import OneParagraph

__all__ = ["app", "main"]

COMMANDS: Final = MappingProxyType(
    {
        "run": ("run:run", "Cluster the images of DATA by type of anomaly, one run for each category."),
        "check": (
            "check:check",
            "Look at a sample of DATA: say what is in it, what settings a run would take, and how long it would take.",
        ),
        "demo": (
            "run:demo",
            "Make images of three surfaces with four types of defect, cluster them, and print where the reports are.",
        ),
        "benchmark": (
            "benchmark:benchmark",
            "Print the tables of Sohn et al., or of Ardelean & Weyrich, for DATA, beside the published numbers.",
        ),
        "show": (
            "show:show",
            "Print the newest runs of every category: when, how many images and clusters, scores, and where the report "
            "is.",
        ),
        "nightly": (
            "nights:nightly",
            "Process the new images in DATA once, for every category: the command for cron or a schedule.",
        ),
        "backfill": (
            "nights:backfill",
            "Process past nights of DATA, as if `anoclust nightly` had been called on each.",
        ),
        "status": (
            "nights:status",
            "Print the state of every category: last night, images, clusters, unknown images, last re-clustering.",
        ),
        "up": ("up:up", "Process the new images of every category every night, until Ctrl-C."),
        "review": (
            "review:review",
            "Open a page on this machine where you look at clusters, name, merge and split them, until Ctrl-C.",
        ),
        "clusters": (
            "clusters:app",
            "Look at the clusters of a category; name, merge, split, mark and retire them, move images. Your decisions "
            "survive re-clustering.",
        ),
        "deploy": ("up:app", "Register every category's nights on a team's Prefect server."),
        "detector": (
            "detector:app",
            "Train an anomaly detector on the images of DATA, for `--weights detector:FILE`; needs the extra "
            "`detectors`.",
        ),
        "prepare": ("prepare:app", "Make the demo images, or a manifest for a public data set."),
        "export": ("export:app", "Export heat maps and clusters for other programs."),
        "store": (
            "store:app",
            "Maintain a store: show its size, check it, remove what it no longer needs, rebuild a lost catalog.",
        ),
        "config": ("config:app", "Show or write settings: flags > ANOCLUST_* > anoclust.toml > defaults."),
    }
)
"""From a command's name to where it is, and the help of a group or the first paragraph of a command's, which a test
compares with its docstring."""

_LOOK: Final[dict[str, Any]] = {"rich_markup_mode": "markdown", "pretty_exceptions_enable": False}


class _Commands(OneParagraph):
    """The commands: ``anoclust --help`` needs their names and first sentences only, and imports none of them."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Import the command that is asked for."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if command is None else load_command(str(command.name)), rest


def load_command(name: str) -> Any:
    """Import a command, with its options, or a group of commands."""
    place, text = COMMANDS[name]
    module, _, attribute = place.partition(":")
    found = getattr(import_module(f"flows.cli.{module}"), attribute)
    holder = typer.Typer(**_LOOK)
    if isinstance(found, typer.Typer):
        holder.add_typer(found, name=name, help=text)
    else:
        holder.command(name)(found)
    return typer.main.get_group(holder).commands[name]


def _only_named() -> None:
    """Stand for a command until it is asked for."""


app = typer.Typer(
    cls=_Commands,
    help="Clusters production images by type of anomaly.\n\nTry `anoclust demo` first.",
    no_args_is_help=True,
    add_completion=False,
    **_LOOK,
)
for _name, (_, _text) in COMMANDS.items():
    app.command(_name, help=_text)(_only_named)


def main() -> None:
    """Entry point of the installed command."""
    hide_secrets()
    # a last collection over all that torch and Prefect are made of kept the prompt away for three seconds
    atexit.register(gc.freeze)
    app()
