"""What people decide about where images belong, within one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import ColumnElement, delete, insert, select, update
from sqlalchemy.orm import Session

from anoclust_core.errors import ConfigError
from anoclust_core.matching.identities import fresh_ids, id_order, owner_of
from tasks.stores.catalog import clusters, images
from tasks.stores.catalog.decisions.of_clusters import decide, living
from tasks.stores.catalog.facts import Author
from tasks.stores.catalog.schema import Assignment, Cluster, Decision, Exclusion, Placement

PLACING: Final = ("split", "move", "wrong")
"""Decisions about where images are: of two about the same image, the later one is taken back first."""


def split(session: Session, category: str, named: str, contents: Sequence[str], *, by: Author) -> str:
    """Make a new cluster of some images of another one, and give its identity."""
    cluster = living(session, category, named)
    chosen = _deciding(session, category, contents)
    merges = clusters.merges(session, category)
    members = {
        fact.content
        for fact in images.current_assignments(session, category)
        if fact.cluster is not None and owner_of(fact.cluster, merges) == cluster.cluster
    }
    strangers = [content for content in chosen if content not in members]
    if strangers or not chosen or len(chosen) == len(members):
        found = f"{len(strangers)} that are not in it" if strangers else f"{len(chosen)} of {len(members)}"
        raise ConfigError(f"expected some of the images of {cluster.cluster} but not all of them, found {found}")
    new = fresh_ids(clusters.identities(session, category), 1)[0]
    born = min(image.night for image in images.known_images(session, category, chosen).values())
    clusters.add(session, category, new, state="confirmed", born=born, run=None)
    placed = images.place(session, category, chosen, new)
    decide(session, cluster, "split", by, {"placed": placed}, {"cluster": new, "contents": chosen})
    return new


def move(session: Session, category: str, contents: Sequence[str], to: str, *, by: Author) -> int:
    """Put images into a cluster, from wherever they are, and give the number of the decision."""
    return _put(session, living(session, category, to), _where(session, category, contents), by)


def start(session: Session, category: str, contents: Sequence[str], *, by: Author) -> str:
    """Make a new cluster of images, from wherever they are, and give its identity."""
    where = _where(session, category, contents)
    new = fresh_ids(clusters.identities(session, category), 1)[0]
    born = min(image.night for image in images.known_images(session, category, list(where)).values())
    clusters.add(session, category, new, state="confirmed", born=born, run=None)
    _put(session, clusters.find(session, category, new), where, by, started=True)
    return new


def mark_wrong(session: Session, category: str, contents: Sequence[str], *, by: Author) -> tuple[int, ...]:
    """Take images out of the clusters that they are in; gives the number of a decision for each of these clusters."""
    where = _where(session, category, contents)
    unknown = sum(cluster is None for cluster in where.values())
    if unknown:
        raise ConfigError(
            f"{unknown:,} of the {len(where):,} images are in no cluster of {category}, so that they cannot be wrong "
            "there; leave them out"
        )
    owners = sorted({cluster for cluster in where.values() if cluster}, key=id_order)
    merges = clusters.merges(session, category)
    known = clusters.identities(session, category)
    made = []
    for owner in owners:
        mine = [content for content, cluster in where.items() if cluster == owner]
        parts = [name for name in sorted(known, key=id_order) if owner_of(name, merges) == owner]
        made.append(_take_out(session, living(session, category, owner).cluster, parts, mine, category, by))
    return tuple(made)


def unmove(session: Session, decision: Decision) -> None:
    """Put moved images back to where a person had put them before, or else to where runs put them.

    A cluster that was started with them is gone, see `_end`.
    """
    category, before = decision.category, decision.before["placed"]
    if decision.after.get("started"):
        _end(session, clusters.find(session, category, decision.cluster))
    handed_on = _views_since(session, decision)
    for_good = _still_in(session, category, [*before, *handed_on], decision.cluster)
    images.displace(session, category, for_good)
    _place_again(session, category, {content: before.get(content) for content in for_good})


def unmark_wrong(session: Session, decision: Decision) -> None:
    """Let images be in a cluster again that a person took them out of."""
    category = decision.category
    contents = [*decision.after["contents"], *_views_since(session, decision)]
    masked = [(content, cluster) for content, cluster in decision.after["masked"].items()]
    rows = [(content, part) for content in contents for part in decision.after["parts"]] + masked
    by_cluster: dict[str, list[str]] = {}
    for content, cluster in rows:
        by_cluster.setdefault(cluster, []).append(content)
    for cluster, of_cluster in by_cluster.items():
        for some in images.batches(of_cluster):
            session.execute(delete(Exclusion).where(*_excluded(category, cluster, some)))
    again = [
        {"category": category, "content": content, "cluster": cluster, "until_run": run}
        for content, cluster, run in decision.before["excluded"]
    ]
    if again:
        session.execute(insert(Exclusion), again)
    moved_since = images.placements(session, category, contents)
    _place_again(session, category, {at: to for at, to in decision.before["placed"].items() if at not in moved_since})


def _put(
    session: Session, target: Cluster, where: Mapping[str, str | None], by: Author, *, started: bool = False
) -> int:
    """Put images into a cluster from where they are, and give the number of the decision."""
    origins = Counter(cluster for cluster in where.values() if cluster not in {None, target.cluster})
    placed = images.place(session, target.category, list(where), target.cluster)
    after: dict[str, object] = {
        "contents": list(where),
        "from": {name: origins[name] for name in sorted(filter(None, origins), key=id_order)},
    }
    unknown = sum(cluster is None for cluster in where.values())
    if unknown:
        after["unknown"] = unknown
    if started:
        after["started"] = True
    return decide(session, target, "move", by, {"placed": placed}, after).number


def _end(session: Session, cluster: Cluster) -> None:
    """Retire a cluster that a person had started and that has no image any more.

    Raises
    ------
    ConfigError
        If runs have put images into it since: these would have nowhere to go back to.
    """
    if not clusters.is_living(cluster):  # a re-clustering has joined it to another one
        return
    category, merges = cluster.category, clusters.merges(session, cluster.category)
    parts = [name for name in clusters.identities(session, category) if owner_of(name, merges) == cluster.cluster]
    of_runs = select(Assignment.content).where(Assignment.category == category, Assignment.cluster.in_(parts))
    if session.scalars(of_runs.limit(1)).first() is not None:
        raise ConfigError(
            f"nights have put images into {cluster.cluster} since it was started, so that this cannot be undone; move "
            f"them, or retire it: `anoclust clusters retire {category} {cluster.cluster}`"
        )
    cluster.state = "retired"


def _deciding(session: Session, category: str, contents: Sequence[str]) -> list[str]:
    """Images that are clustered: in place of a view of a part, the one that stands for it."""
    stands_for = images.views(session, category)
    return sorted({stands_for.get(content, content) for content in contents})


def _where(session: Session, category: str, contents: Sequence[str]) -> dict[str, str | None]:
    """Cluster of each of some images, merges followed, by content; None where it is unknown.

    Raises
    ------
    ConfigError
        If there is no image, or one that the catalog does not have or that cannot be used.
    """
    chosen = _deciding(session, category, contents)
    merges = clusters.merges(session, category)
    where = {
        fact.content: None if fact.cluster is None else owner_of(fact.cluster, merges)
        for fact in images.current_assignments(session, category, chosen)
    }
    strangers = [content for content in chosen if content not in where]
    if strangers or not chosen:
        found = f"{strangers[0][:12]} is none of them" if strangers else "none was named"
        more = f", and {len(strangers) - 1:,} more are not" if strangers[1:] else ""
        raise ConfigError(
            f"expected images of {category} that were clustered, {found}{more}; `anoclust clusters show {category} "
            "CLUSTER` lists paths"
        )
    return where


def _take_out(
    session: Session, cluster: str, parts: Sequence[str], contents: Sequence[str], category: str, by: Author
) -> int:
    """Take images out of a cluster and its parts, and keep them out."""
    placed = images.displace(session, category, contents)
    # what a run says of an image that a person had put here does not count any more, until a run puts it elsewhere
    by_run = images.by_runs(session, category, list(placed))
    masked = {at: name for at, (name, _) in by_run.items() if name is not None and name not in parts}
    wanted: dict[tuple[str, str], int | None] = {(content, part): None for content in contents for part in parts}
    wanted |= {(content, name): by_run[content][1] for content, name in masked.items()}
    there = _exclusions(session, category, contents)
    new = [
        {"category": category, "content": content, "cluster": name, "until_run": run}
        for (content, name), run in wanted.items()
        if (content, name) not in there
    ]
    if new:
        session.execute(insert(Exclusion), new)
    again = [key for key in wanted if key in there]
    for content, name in again:
        lasts = there[content, name] is None or wanted[content, name] is None
        until = None if lasts else wanted[content, name]
        session.execute(update(Exclusion).where(*_excluded(category, name, [content])).values(until_run=until))
    row = clusters.find(session, category, cluster)
    before = {"placed": placed, "excluded": [[*key, there[key]] for key in again]}
    after = {"contents": list(contents), "parts": list(parts), "masked": masked}
    return decide(session, row, "wrong", by, before, after).number


def _exclusions(session: Session, category: str, contents: Sequence[str]) -> dict[tuple[str, str], int | None]:
    """Clusters that some images were taken out of already, and until which run that counts."""
    found: dict[tuple[str, str], int | None] = {}
    for some in images.batches(contents):
        chosen = select(Exclusion).where(Exclusion.category == category, Exclusion.content.in_(some))
        found |= {(one.content, one.cluster): one.until_run for one in session.scalars(chosen)}
    return found


def _excluded(category: str, cluster: str, contents: Sequence[str]) -> tuple[ColumnElement[bool], ...]:
    return Exclusion.category == category, Exclusion.cluster == cluster, Exclusion.content.in_(contents)


def _views_since(session: Session, decision: Decision) -> list[str]:
    """Views that stand for the parts of a decision's images by now, but for those that a later decision is about."""
    placing = select(Decision.after).where(
        Decision.category == decision.category,
        Decision.kind.in_(PLACING),
        Decision.number > decision.number,
        Decision.undone_by.is_(None),
    )
    later = {content for after in session.scalars(placing) for content in after["contents"]}
    contents = decision.after["contents"]
    return sorted(set(_deciding(session, decision.category, contents)) - set(contents) - later)


def _still_in(session: Session, category: str, contents: Sequence[str], cluster: str) -> list[str]:
    """Those of some images that nobody has put elsewhere since."""
    return [at for at, to in images.placements(session, category, contents).items() if to == cluster]


def _place_again(session: Session, category: str, before: Mapping[str, str | None]) -> None:
    """Put images to where they were before; those without a place stay without."""
    by_cluster: dict[str, list[str]] = {}
    for content, cluster in before.items():
        if cluster is not None:
            by_cluster.setdefault(cluster, []).append(content)
    for cluster in sorted(by_cluster, key=id_order):
        images.place(session, category, by_cluster[cluster], cluster)


def reunite(session: Session, decision: Decision) -> None:
    """Put split images back; the new cluster goes into the old one, so that what was assigned to it since does too."""
    category = decision.category
    part = clusters.find(session, category, decision.after["cluster"])
    merges = clusters.merges(session, category)
    if owner_of(decision.cluster, merges) != owner_of(part.cluster, merges):  # else something united the two since
        part.state, part.merged_into = "merged", decision.cluster
    for contents in images.batches(decision.after["contents"]):
        session.execute(
            delete(Placement).where(
                Placement.category == category, Placement.content.in_(contents), Placement.cluster == part.cluster
            )
        )
    _place_again(session, category, decision.before["placed"])
