"""``anoclust clusters``: look at lasting clusters, name them, correct them; every decision can be undone."""

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
By = Annotated[
    str | None, typer.Option("--by", help="Who decides, as the history shows it.", show_default="your user name")
]
Expected = Annotated[
    list[str] | None,
    typer.Option(
        "--expected",
        metavar="CLUSTER=VERSION",
        help="Refuse if this cluster has changed since you saw it; `clusters show` prints the version. Repeatable.",
    ),
]
Images = Annotated[
    list[str],
    typer.Argument(
        help="Images, by path or by the start of their sha256; @FILE reads them from a file, one per line.",
        show_default=False,
    ),
]


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
            versions = catalog.versions(category)
            content = [{**asdict(one), "version": versions[one.cluster]} for one in found]
            typer.echo(json.dumps(content, indent=2, default=str, ensure_ascii=False))
        else:
            print_table(clusters_table(found))


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
            }
            for fact in members
        ]
        counts = [count for count in catalog.counts(category) if count.cluster == found.cluster]
        version = catalog.versions(category)[found.cluster]
        if as_json:
            nights = {count.night.isoformat(): count.n_images for count in counts}
            content = {**asdict(found), "version": version, "nights": nights, "images": rows}
            typer.echo(json.dumps(content, indent=2, default=str, ensure_ascii=False))
            return
        print_table(clusters_table([found]))
        typer.echo("")
        for row in rows[:limit]:
            typer.echo(f"  {row['night']}  confidence {row['confidence']:.2f}  {row['path']}")
        if len(rows) > limit:
            typer.echo(f"  and {len(rows) - limit:,} more (--limit, --json)")
        typer.echo(f"\nversion {version}")
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
    by: By = None,
    expected: Expected = None,
) -> None:
    """Give a cluster a name; it keeps its identity, and you can use either."""
    with Messages(asked.debug), _catalog(asked, category) as catalog:
        catalog.rename(category, cluster, name, who=_who(by), expected=_versions(expected))
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
    by: By = None,
    expected: Expected = None,
) -> None:
    """Write a note on a cluster."""
    with Messages(asked.debug), _catalog(asked, category) as catalog:
        catalog.annotate(category, cluster, text, who=_who(by), expected=_versions(expected))
        _done(f"note saved for {cluster} in {category}")


@app.command("merge")
@with_settings()
def merge(
    asked: Asked,
    category: Category,
    clusters: Annotated[list[str], typer.Argument(help="Clusters to merge into another.", show_default=False)],
    into: Annotated[str, typer.Option(help="Cluster to merge them into.", show_default=False)],
    by: By = None,
    expected: Expected = None,
) -> None:
    """Merge clusters into one, in past nights too; the merge survives re-clustering."""
    with Messages(asked.debug), _catalog(asked, category) as catalog:
        catalog.merge(category, clusters, into=into, who=_who(by), expected=_versions(expected))
        _done(f"{', '.join(clusters)} of {category} are merged into {into}")


@app.command("split")
@with_settings()
def split(
    asked: Asked,
    category: Category,
    cluster: Named,
    images: Images,
    by: By = None,
    expected: Expected = None,
) -> None:
    """Move some images of a cluster to a new one; the split survives re-clustering."""
    with Messages(asked.debug), _catalog(asked, category) as catalog:
        new = catalog.split(
            category, cluster, _contents(catalog, category, images), who=_who(by), expected=_versions(expected)
        )
        _done(f"{new} of {category} now holds these images of {cluster}")


@app.command("move")
@with_settings()
def move(
    asked: Asked,
    category: Category,
    images: Images,
    to: Annotated[str, typer.Option(help="Cluster to put them into.", show_default=False)],
    by: By = None,
    expected: Expected = None,
) -> None:
    """Move images to a cluster, from whatever clusters they are in, or from none.

    They stay there for good: no night and no re-clustering moves them. Images that come later and look like them go to
    that cluster too. `anoclust clusters split` puts images into a cluster of their own.
    """
    with Messages(asked.debug), _catalog(asked, category) as catalog:
        contents = _contents(catalog, category, images)
        catalog.move(category, contents, to=to, who=_who(by), expected=_versions(expected))
        _done(f"{_counted(contents)} of {category} moved to {to}")


@app.command("wrong")
@with_settings()
def wrong(
    asked: Asked,
    category: Category,
    images: Images,
    by: By = None,
    expected: Expected = None,
) -> None:
    """Say that images are wrong where they are: they leave their clusters, and never go back by themselves.

    They are unknown until a re-clustering finds another cluster for them, or until you move them. If you know where
    they belong, use `anoclust clusters move`.
    """
    with Messages(asked.debug), _catalog(asked, category) as catalog:
        contents = _contents(catalog, category, images)
        made = catalog.mark_wrong(category, contents, who=_who(by), expected=_versions(expected))
        several = f" (one of {len(made)} decisions, a cluster each)" if len(made) > 1 else ""
        _done(f"{_counted(contents)} of {category} left their cluster and are unknown", several)


@app.command("ordinary")
@with_settings()
def ordinary(
    asked: Asked,
    category: Category,
    cluster: Named,
    by: By = None,
    expected: Expected = None,
) -> None:
    """Mark a cluster as no defect: ordinary parts, or something harmless such as dust.

    Reports put it last, and its growth is told later and in other words. Without your word, ordinary clusters are told
    by their name (good, ok, normal) or by how little their images stand out; your word counts more than either.
    `anoclust clusters defect` says the opposite, `anoclust clusters undo` takes it back.
    """
    _mark(asked, category, cluster, True, by, expected)


@app.command("defect")
@with_settings()
def defect(
    asked: Asked,
    category: Category,
    cluster: Named,
    by: By = None,
    expected: Expected = None,
) -> None:
    """Mark a cluster as a defect, however ordinary its images look: the opposite of `anoclust clusters ordinary`."""
    _mark(asked, category, cluster, False, by, expected)


@app.command("cut")
@with_settings()
def cut(
    asked: Asked,
    category: Category,
    number: Annotated[
        int, typer.Argument(help="Number of groups.", parser=whole_number(1), metavar="<int>", show_default=False)
    ],
    by: By = None,
    expected: Expected = None,
) -> None:
    """Cut the tree of the last clustering into NUMBER groups: these are the clusters from now on.

    Groups that are old clusters keep their number and name; others are new. Nothing is computed but the cut. Later
    re-clusterings keep the groups as known clusters, as long as they lie apart: `clusters history` shows it.
    """
    with Messages(asked.debug), _catalog(asked, category) as catalog:
        from tasks.night.cutting import cut_clusters
        from tasks.stores.layout import existing_store

        settings = asked.settings()
        done = cut_clusters(
            existing_store(settings.store),
            catalog,
            category,
            number,
            who=_who(by),
            expected=_versions(expected),
            wait_seconds=settings.config.wait_seconds,
        )
        new = f"; new: {', '.join(done.born)}" if done.born else ""
        gone = f"; gone: {', '.join(done.gone)}" if done.gone else ""
        _done(f"{category} now has the clusters {', '.join(done.clusters)}{new}{gone}")


@app.command("adopt")
@with_settings("nightly")
def adopt(
    asked: Asked,
    category: Category,
    run: Annotated[
        str, typer.Option(help="Name of the run, or how it begins; `latest` for the last one.", show_default=False)
    ],
    by: By = None,
) -> None:
    """Start the nights of a category from a run that `anoclust run` made: its clusters become c1, c2, and so on.

    The next `anoclust nightly` only looks at images that came since, and goes on from these clusters. Give the settings
    that `nightly` will have; all but the number of clusters must be those of the run. A category that has nights
    already is refused. `anoclust show` lists runs.
    """
    with Messages(asked.debug):
        from flows.nights.adopting import adopt_run
        from tasks.stores.layout import existing_store

        settings = asked.settings()
        done = adopt_run(existing_store(settings.store), category, run, settings.config, who=_who(by))
        for note in done.notes:
            typer.echo(note)
        n_clusters = "1 cluster" if len(done.clusters) == 1 else f"{len(done.clusters)} clusters"
        _done(f"nights of {category} start from {n_clusters} of run {done.run} ({done.n_images:,} images)")


@app.command("retire")
@with_settings()
def retire(
    asked: Asked,
    category: Category,
    cluster: Named,
    by: By = None,
    expected: Expected = None,
) -> None:
    """Retire a cluster: it gets no more images."""
    with Messages(asked.debug), _catalog(asked, category) as catalog:
        catalog.retire(category, cluster, who=_who(by), expected=_versions(expected))
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
    by: By = None,
    expected: Expected = None,
) -> None:
    """Undo a decision; `anoclust clusters history` shows their numbers."""
    with Messages(asked.debug), _catalog(asked, category) as catalog:
        undone = catalog.undo(category, number, who=_who(by), expected=_versions(expected))
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


def _who(given: str | None) -> str:
    try:
        return given or getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "somebody"


def _mark(
    asked: Asked, category: str, cluster: str, is_ordinary: bool, by: str | None, expected: list[str] | None
) -> None:
    with Messages(asked.debug), _catalog(asked, category) as catalog:
        catalog.mark_ordinary(category, cluster, is_ordinary, who=_who(by), expected=_versions(expected))
        _done(f"{cluster} of {category} is marked as {'no defect' if is_ordinary else 'a defect'}")


def _versions(given: list[str] | None) -> dict[str, int]:
    """Versions of clusters as a person saw them.

    Raises
    ------
    ConfigError
        If one is not written as c7=41.
    """
    found = {}
    for one in given or ():
        cluster, _, version = one.rpartition("=")
        if not cluster or not version.isdecimal():
            raise ConfigError(
                f"--expected takes a cluster and its version, such as c7=41; found {one!r}; `anoclust clusters show` "
                "prints the version"
            )
        found[cluster] = int(version)
    return found


def _counted(contents: list[str]) -> str:
    return "1 image" if len(contents) == 1 else f"{len(contents):,} images"


def _done(what: str, more: str = "") -> None:
    typer.echo(f"{what}; `anoclust clusters undo` undoes it{more}")
