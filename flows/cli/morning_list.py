"""``anoclust clusters ask``: the morning list in a terminal, or as a table; ``dismiss`` sets a question aside."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from anoclust_core.errors import ConfigError
from flows.cli.asked import Asked, with_settings
from flows.cli.deciding import By, Category, catalog_with, person, told_done
from flows.cli.messages import Messages
from flows.cli.options import Json

if TYPE_CHECKING:
    from pathlib import Path

    from tasks.review.reading import Reading


@with_settings()
def ask(
    asked: Asked,
    category: Category,
    by: By = None,
    as_list: Annotated[bool, typer.Option("--list", help="Print the questions, and answer none.")] = False,
    as_json: Json = False,
) -> None:
    """Go through what asks for a decision, one question after the other, by single keys.

    First come alarms of the last night and new clusters, then what a re-clustering left open, clusters without a name,
    and single images: unknown ones, those between two clusters, and those whose names would teach most.

    - `n`: name the cluster; of an image, a name that exists moves it there, a new one makes a cluster of it

    - `m`: merge with the suggested cluster, or move the image to it; `o`: another cluster

    - `y`: yes, the image is right; `x`: not a defect, or no; `w`: wrong, the image leaves its cluster

    - `r`: bring a lost cluster back; `d`: set the question aside, it is not asked again

    - `j` or →: next, this one stays open; `k` or ←: back; `u`: undo the last answer; `v`: open the picture; `q`: end

    Every answer is a decision like those of the other commands: `anoclust clusters history` shows it, and `anoclust
    clusters undo` takes it back. At the end the command says what your answers did. `anoclust review` has the same
    list with pictures.
    """
    with Messages(asked.debug), _reading(asked, category) as reading:
        from rich.console import Console

        from flows.terminal.morning import Asking, questions_table
        from flows.terminal.tables import print_table
        from tasks.review.morning.answers import offers
        from tasks.review.morning.listed import morning_list

        if as_json or as_list:
            questions, state = morning_list(reading, category), reading.state(category)
            if as_json:
                content = [{**asdict(one), "answers": [o.kind for o in offers(one, state)]} for one in questions]
                typer.echo(json.dumps(content, indent=2, ensure_ascii=False))
            else:
                print_table(questions_table(questions))
                typer.echo(f"{len(questions):,} open")
            return
        if not sys.stdin.isatty():
            raise ConfigError(
                "expected a terminal for single keys, found a file or a pipe; give --list or --json, and decide with "
                "the other commands of `anoclust clusters`"
            )
        Asking(reading, category, person(by), Console(), typer.getchar, _line, _view).go()


@with_settings()
def dismiss(
    asked: Asked,
    category: Category,
    question: Annotated[
        str, typer.Argument(help="Name of the question, or how it begins: `ask --list`.", show_default=False)
    ],
    by: By = None,
) -> None:
    """Set a question of `anoclust clusters ask` aside, so that nobody is asked it again; nothing else changes."""
    with Messages(asked.debug), _reading(asked, category) as reading:
        from tasks.review.morning.listed import morning_list

        found = [one for one in morning_list(reading, category) if one.name.startswith(question)]
        exact = [one for one in found if one.name == question] or found
        if len(exact) != 1 or exact[0].kind == "again":
            raise ConfigError(
                f"expected one open question of {category} that can be dismissed, found {len(exact)} that begin with "
                f"{question!r}; `anoclust clusters ask {quote(category)} --list` prints them"
            )
        (one,) = exact
        reading.catalog.dismiss(category, one.name, one.text, who=person(by), about=one.cluster)
        told_done(f"question {one.name} of {category} is dismissed")


@contextmanager
def _reading(asked: Asked, category: str) -> Iterator[Reading]:
    """Read a store whose catalog has the category."""
    with catalog_with(asked, category) as catalog:
        from tasks.review.reading import Reading
        from tasks.stores.layout import existing_store

        yield Reading(existing_store(asked.settings().store), catalog)


def _line(prompt: str) -> str | None:
    """A line of text; None where it was left with Ctrl-D or Ctrl-C."""
    try:
        return str(typer.prompt(prompt.strip(), default="", show_default=False, prompt_suffix=" "))
    except typer.Abort:
        return None


def _view(picture: Path) -> None:
    typer.launch(str(picture))
