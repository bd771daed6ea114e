"""``anoclust clusters``: look at lasting clusters, name them, correct them; every decision can be undone."""

from __future__ import annotations

import json
from dataclasses import asdict
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli import morning_list
from flows.cli.asked import Asked, with_settings
from flows.cli.deciding import (
    By,
    Category,
    Expected,
    Images,
    Named,
    catalog_with,
    contents_of,
    decided_about,
    person,
    told_done,
    versions_of,
)
from flows.cli.messages import Messages
from flows.cli.options import Json, whole_number

if TYPE_CHECKING:
    from tasks.stores.catalog.catalog import Catalog

app = typer.Typer(no_args_is_help=True)
app.command("ask")(morning_list.ask)
app.command("dismiss")(morning_list.dismiss)


@app.command("list")
@with_settings()
def list_clusters(
    asked: Asked,
    category: Category,
    everything: Annotated[bool, typer.Option("--all", help="Include clusters that were retired or merged.")] = False,
    as_json: Json = False,
) -> None:
    """Print the clusters of a category: identity, name, images, state, and when each was born."""
    with Messages(asked.debug), catalog_with(asked, category) as opened, opened.view() as catalog:
        from flows.terminal.nights import clusters_table, question_lines
        from flows.terminal.tables import print_table

        found = [one for one in catalog.clusters(category) if everything or one.state in {"provisional", "confirmed"}]
        if as_json:
            versions = catalog.versions(category)
            asks = _questions(catalog, category)
            content = [
                {**asdict(one), "version": versions[one.cluster], "questions": asks.get(one.cluster, [])}
                for one in found
            ]
            typer.echo(json.dumps(content, indent=2, default=str, ensure_ascii=False))
        else:
            print_table(clusters_table(found, counted=_units(catalog, category)))
            for line in question_lines(catalog.questions(category), category):
                typer.echo(line)


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
    with Messages(asked.debug), catalog_with(asked, category) as opened, opened.view() as catalog:
        from flows.terminal.nights import clusters_table, history_lines, question_lines
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
        version = catalog.versions(category)[found.cluster]
        if as_json:
            nights = {count.night.isoformat(): count.n_images for count in counts}
            asks = _questions(catalog, category).get(found.cluster, [])
            content = {**asdict(found), "version": version, "questions": asks, "nights": nights, "images": rows}
            typer.echo(json.dumps(content, indent=2, default=str, ensure_ascii=False))
            return
        print_table(clusters_table([found], counted=_units(catalog, category)))
        typer.echo("")
        for row in rows[:limit]:
            typer.echo(f"  {row['night']}  confidence {row['confidence']:.2f}  {row['path']}")
        if len(rows) > limit:
            typer.echo(f"  and {len(rows) - limit:,} more (--limit, --json)")
        for line in question_lines(catalog.questions(category), category, of=found.cluster):
            typer.echo(line)
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
    with Messages(asked.debug), catalog_with(asked, category) as opened, opened.view() as catalog:
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
    with Messages(asked.debug), catalog_with(asked, category) as catalog:
        catalog.rename(category, cluster, name, who=person(by), expected=versions_of(expected))
        told_done(
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
    with Messages(asked.debug), catalog_with(asked, category) as catalog:
        catalog.annotate(category, cluster, text, who=person(by), expected=versions_of(expected))
        told_done(f"note saved for {cluster} in {category}")


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
    with Messages(asked.debug), catalog_with(asked, category) as catalog:
        catalog.merge(category, clusters, into=into, who=person(by), expected=versions_of(expected))
        told_done(f"{', '.join(clusters)} of {category} are merged into {into}")


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
    with Messages(asked.debug), catalog_with(asked, category) as catalog:
        new = catalog.split(
            category, cluster, contents_of(catalog, category, images), who=person(by), expected=versions_of(expected)
        )
        told_done(f"{new} of {category} now holds these images of {cluster}")


@app.command("start")
@with_settings()
def start(
    asked: Asked,
    category: Category,
    images: Images,
    by: By = None,
    expected: Expected = None,
) -> None:
    """Start a new cluster with images, from whatever clusters they are in, or from none: a new kind of defect, say.

    They stay there for good. Images of coming nights that look like them go to that cluster too.
    """
    with Messages(asked.debug), catalog_with(asked, category) as catalog:
        contents = contents_of(catalog, category, images)
        new = catalog.start(category, contents, who=person(by), expected=versions_of(expected))
        name = f"; `anoclust clusters rename {quote(category)} {new} NAME` names it"
        told_done(f"{new} of {category} started with {decided_about(catalog, category, contents)}", name)


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
    that cluster too. `anoclust clusters split` and `anoclust clusters start` put images into a cluster of their own.
    """
    with Messages(asked.debug), catalog_with(asked, category) as catalog:
        contents = contents_of(catalog, category, images)
        catalog.move(category, contents, to=to, who=person(by), expected=versions_of(expected))
        told_done(f"{decided_about(catalog, category, contents)} of {category} moved to {to}")


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
    with Messages(asked.debug), catalog_with(asked, category) as catalog:
        contents = contents_of(catalog, category, images)
        made = catalog.mark_wrong(category, contents, who=person(by), expected=versions_of(expected))
        several = f" (one of {len(made)} decisions, a cluster each)" if len(made) > 1 else ""
        told_done(
            f"{decided_about(catalog, category, contents)} of {category} taken out of the cluster, unknown now",
            several,
        )


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
        int, typer.Argument(help="Number of groups.", parser=whole_number(1), metavar="number", show_default=False)
    ],
    by: By = None,
    expected: Expected = None,
) -> None:
    """Cut the tree of the last clustering into NUMBER groups: these are the clusters from now on.

    Groups that are old clusters keep their number and name; others are new. Nothing is computed but the cut. Later
    re-clusterings keep the groups as known clusters, as long as they lie apart: `clusters history` shows it.
    """
    with Messages(asked.debug), catalog_with(asked, category) as catalog:
        from tasks.night.cutting import cut_clusters
        from tasks.stores.layout import existing_store

        settings = asked.settings()
        done = cut_clusters(
            existing_store(settings.store),
            catalog,
            category,
            number,
            who=person(by),
            expected=versions_of(expected),
            wait_seconds=settings.config.wait_seconds,
        )
        new = f"; new: {', '.join(done.born)}" if done.born else ""
        gone = f"; gone: {', '.join(done.gone)}" if done.gone else ""
        told_done(f"{category} now has the clusters {', '.join(done.clusters)}{new}{gone}")


@app.command("adopt")
@with_settings()
def adopt(
    asked: Asked,
    category: Category,
    run: Annotated[
        str, typer.Option(help="Name of the run, or how it begins; `latest` for the last one.", show_default=False)
    ],
    by: By = None,
) -> None:
    """Start the nights of a category from a run that `anoclust run` made: its clusters become c1, c2, and so on.

    The next `anoclust nightly` only looks at images that came since, and goes on from these clusters. Settings come
    from `anoclust.toml` and `ANOCLUST_*` variables; all but the number of clusters must be those of the run. A
    category that has nights already is refused. `anoclust show` lists runs.
    """
    with Messages(asked.debug):
        from flows.nights.adopting import adopt_run
        from tasks.stores.layout import existing_store

        settings = asked.settings()
        done = adopt_run(existing_store(settings.store), category, run, settings.config, who=person(by))
        for note in done.notes:
            typer.echo(note)
        n_clusters = "1 cluster" if len(done.clusters) == 1 else f"{len(done.clusters)} clusters"
        told_done(f"nights of {category} start from {n_clusters} of run {done.run} ({done.n_images:,} images)")


@app.command("answer")
@with_settings()
def answer(
    asked: Asked,
    category: Category,
    question: Annotated[str, typer.Argument(help="Name of the question.", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes/--no", help="Do what is asked, or leave it.", show_default=False)],
    by: By = None,
    expected: Expected = None,
) -> None:
    """Answer an open question about a cluster that a re-clustering has split or joined.

    Most of what you decided still holds after that without being asked. What is not clear, such as whether a piece of a
    cluster that you marked is no defect either, is asked by `anoclust clusters list` and `show`, with this command.
    """
    with Messages(asked.debug), catalog_with(asked, category) as catalog:
        catalog.answer(category, question, yes, who=person(by), expected=versions_of(expected))
        told_done(f"question {question} of {category} is answered")


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
    with Messages(asked.debug), catalog_with(asked, category) as catalog:
        catalog.retire(category, cluster, who=person(by), expected=versions_of(expected))
        told_done(f"{cluster} of {category} is retired")


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
    with Messages(asked.debug), catalog_with(asked, category) as catalog:
        undone = catalog.undo(category, number, who=person(by), expected=versions_of(expected))
        typer.echo(f"decision {undone} of {category} is undone")


def _mark(
    asked: Asked, category: str, cluster: str, is_ordinary: bool, by: str | None, expected: list[str] | None
) -> None:
    with Messages(asked.debug), catalog_with(asked, category) as catalog:
        catalog.mark_ordinary(category, cluster, is_ordinary, who=person(by), expected=versions_of(expected))
        told_done(f"{cluster} of {category} is marked as {'no defect' if is_ordinary else 'a defect'}")


def _questions(catalog: Catalog, category: str) -> dict[str, list[dict[str, object]]]:
    """Open questions by the cluster that they are about."""
    found: dict[str, list[dict[str, object]]] = {}
    for one in catalog.questions(category):
        found.setdefault(one.cluster, []).append(asdict(one))
    return found


def _units(catalog: Catalog, category: str) -> str:
    return "parts" if catalog.views(category) else "images"
