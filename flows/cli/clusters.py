"""``anoclust clusters``: look at lasting clusters, name, merge, split and retire them; every decision can be undone."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from anoclust_core.errors import ConfigError
from flows.cli.asked import Asked, with_settings
from flows.cli.messages import Messages
from flows.cli.options import Json, whole_number

if TYPE_CHECKING:
    from tasks.stores.catalog.catalog import Catalog

app = typer.Typer(no_args_is_help=True)

Category = Annotated[str, typer.Argument(help="Name of the product.", show_default=False)]
Named = Annotated[str, typer.Argument(help="Cluster, by identity (c7) or name.", show_default=False)]
Who = Annotated[str | None, typer.Option(help="Who decides, as the history shows it.", show_default="your user name")]


@app.command("list")
@with_settings()
def list_clusters(
    asked: Asked,
    category: Category,
    everything: Annotated[bool, typer.Option("--all", help="Include clusters that were retired or merged.")] = False,
    as_json: Json = False,
) -> None:
    """Print the clusters of a category: identity, name, images, state, and when each was born."""
    with Messages(asked.debug), _catalog(asked, category) as opened, opened.view() as catalog:
        from flows.terminal.nights import clusters_table
        from flows.terminal.tables import print_table

        found = [one for one in catalog.clusters(category) if everything or one.state in {"provisional", "confirmed"}]
        if as_json:
            typer.echo(json.dumps([asdict(one) for one in found], indent=2, default=str, ensure_ascii=False))
        else:
            print_table(clusters_table(found, counted=_counted(catalog, category)))


@app.command("show")
@with_settings()
def show(
    asked: Asked,
    category: Category,
    cluster: Named,
    limit: Annotated[int, typer.Option(help="Images to list.", parser=whole_number(), metavar="<int>")] = 20,
    as_json: Json = False,
) -> None:
    """Print one cluster: its images, the surest first, their number night by night, and what happened to it."""
    with Messages(asked.debug), _catalog(asked, category) as opened, opened.view() as catalog:
        from flows.terminal.nights import clusters_table, history_lines
        from flows.terminal.tables import print_table

        found = catalog.cluster(category, cluster)
        members = [fact for fact in catalog.assignments(category) if fact.cluster == found.cluster]
        members.sort(key=lambda fact: (-fact.confidence, fact.content))
        images = catalog.known_images(category, [fact.content for fact in members])
        rows = [
            {
                "path": images[fact.content].path,
                "sha256": fact.content,
                "night": images[fact.content].night.isoformat(),
                "distance": fact.distance,
                "confidence": fact.confidence,
                **({"part": part} if (part := images[fact.content].part) else {}),
            }
            for fact in members
        ]
        counts = [count for count in catalog.counts(category) if count.cluster == found.cluster]
        if as_json:
            nights = {count.night.isoformat(): count.n_images for count in counts}
            content = {**asdict(found), "nights": nights, "images": rows}
            typer.echo(json.dumps(content, indent=2, default=str, ensure_ascii=False))
            return
        print_table(clusters_table([found], counted=_counted(catalog, category)))
        typer.echo("")
        for row in rows[:limit]:
            typer.echo(f"  {row['night']}  confidence {row['confidence']:.2f}  {row['path']}")
        if len(rows) > limit:
            typer.echo(f"  and {len(rows) - limit:,} more (--limit, --json)")
        typer.echo("")
        for line in history_lines(catalog.history(category, found.cluster)):
            typer.echo(line)


@app.command("history")
@with_settings()
def history(
    asked: Asked,
    category: Category,
    cluster: Annotated[str | None, typer.Argument(help="Only this cluster.", show_default="all")] = None,
    as_json: Json = False,
) -> None:
    """Print the history of clusters, oldest first: births, re-clusterings with their evidence, decisions.

    Births and re-clusterings have the night that they belong to. Decisions of people have the day and time in UTC.
    """
    with Messages(asked.debug), _catalog(asked, category) as opened, opened.view() as catalog:
        from flows.terminal.nights import history_lines

        found = catalog.history(category, cluster)
        if as_json:
            typer.echo(json.dumps([asdict(one) for one in found], indent=2, default=str, ensure_ascii=False))
        for line in history_lines(found) if not as_json else []:
            typer.echo(line)


@app.command("rename")
@with_settings()
def rename(
    asked: Asked,
    category: Category,
    cluster: Named,
    name: Annotated[str, typer.Argument(help='New name; "" removes it.', show_default=False)],
    who: Who = None,
) -> None:
    """Give a cluster a name; it keeps its identity, and you can use either."""
    with Messages(asked.debug), _catalog(asked, category) as catalog:
        catalog.rename(category, cluster, name, who=_who(who))
        _done(
            f"{cluster} of {category} is now named {name}" if name else f"{cluster} of {category} no longer has a name"
        )


@app.command("note")
@with_settings()
def note(
    asked: Asked,
    category: Category,
    cluster: Named,
    text: Annotated[str, typer.Argument(help='Text of the note; "" removes it.', show_default=False)],
    who: Who = None,
) -> None:
    """Write a note on a cluster."""
    with Messages(asked.debug), _catalog(asked, category) as catalog:
        catalog.annotate(category, cluster, text, who=_who(who))
        _done(f"note saved for {cluster} in {category}")


@app.command("merge")
@with_settings()
def merge(
    asked: Asked,
    category: Category,
    clusters: Annotated[list[str], typer.Argument(help="Clusters to merge into another.", show_default=False)],
    into: Annotated[str, typer.Option(help="Cluster to merge them into.", show_default=False)],
    who: Who = None,
) -> None:
    """Merge clusters into one, in past nights too; the merge survives re-clustering."""
    with Messages(asked.debug), _catalog(asked, category) as catalog:
        catalog.merge(category, clusters, into=into, who=_who(who))
        _done(f"{', '.join(clusters)} of {category} are merged into {into}")


@app.command("split")
@with_settings()
def split(
    asked: Asked,
    category: Category,
    cluster: Named,
    images: Annotated[
        list[str],
        typer.Argument(
            help="Images for the new cluster, by path or by the start of their sha256; @FILE reads them from a file, "
            "one per line.",
            show_default=False,
        ),
    ],
    who: Who = None,
) -> None:
    """Move some images of a cluster to a new one; the split survives re-clustering."""
    with Messages(asked.debug), _catalog(asked, category) as catalog:
        new = catalog.split(category, cluster, _contents(catalog, category, images), who=_who(who))
        _done(f"{new} of {category} now holds these images of {cluster}")


@app.command("retire")
@with_settings()
def retire(
    asked: Asked,
    category: Category,
    cluster: Named,
    who: Who = None,
) -> None:
    """Retire a cluster: it gets no more images."""
    with Messages(asked.debug), _catalog(asked, category) as catalog:
        catalog.retire(category, cluster, who=_who(who))
        _done(f"{cluster} of {category} is retired")


@app.command("undo")
@with_settings()
def undo(
    asked: Asked,
    category: Category,
    number: Annotated[
        int | None,
        typer.Argument(
            help="Number of the decision.", parser=whole_number(), metavar="[<int>]", show_default="the last"
        ),
    ] = None,
    who: Who = None,
) -> None:
    """Undo a decision; `anoclust clusters history` shows their numbers."""
    with Messages(asked.debug), _catalog(asked, category) as catalog:
        undone = catalog.undo(category, number, who=_who(who))
        typer.echo(f"decision {undone} of {category} is undone")


@contextmanager
def _catalog(asked: Asked, category: str) -> Iterator[Catalog]:
    """Open the catalog of a store that has the category."""
    from flows.nights.status import catalog_of, known_category
    from tasks.stores.catalog.catalog import Catalog
    from tasks.stores.layout import existing_store

    settings = asked.settings()
    layout = existing_store(settings.store)
    with Catalog.open(catalog_of(layout, settings.config), store=layout, create=False) as catalog:
        known_category(catalog, category)
        yield catalog


def _contents(catalog: Catalog, category: str, named: list[str]) -> list[str]:
    """Content hashes of images that a person names.

    Raises
    ------
    ConfigError
        If there is no such image, or more than one.
    """
    from tasks.images.folders import one_line

    names = [name for given in named for name in (_listed(given[1:]) if given.startswith("@") else [given])]
    images = catalog.images(category)
    by_path = {image.path: image.content for image in images}
    found, wrong = [], []
    for name in names:
        path = name if name in by_path else name.replace("\\", "/")
        matches = [by_path[path]] if path in by_path else [i.content for i in images if i.content.startswith(name)]
        if len(matches) == 1:
            found += matches
        else:
            wrong.append((name, len(matches)))
    if wrong:
        first, count = wrong[0]
        others = (
            f", and {len(wrong) - 1:,} more of the {len(names):,} names match no image or several" if wrong[1:] else ""
        )
        raise ConfigError(
            f"{count} images of {category} are named {one_line(first)}{others}; `anoclust clusters show {category} "
            "CLUSTER` lists paths"
        )
    return list(dict.fromkeys(found))


def _listed(file: str) -> list[str]:
    """Names in a text file, one per line.

    Raises
    ------
    ConfigError
        If it cannot be read.
    """
    from tasks.images.texts import read_given_text
    from tasks.stores.addresses import on_this_machine

    try:
        lines = read_given_text(on_this_machine(file, "@FILE", ConfigError)).lines
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(
            f"@{file} is not a list of images, one per line: {why}; check its path, and save it as UTF-8"
        ) from error
    return [line.strip() for line in lines if line.strip()]


def _counted(catalog: Catalog, category: str) -> str:
    return "parts" if catalog.views(category) else "images"


def _who(given: str | None) -> str:
    try:
        return given or getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "somebody"


def _done(what: str) -> None:
    typer.echo(f"{what}; `anoclust clusters undo` undoes it")
