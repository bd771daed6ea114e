"""What people decide about clusters: every decision can be undone; each within one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from anoclust_core.errors import ConfigError
from anoclust_core.matching.identities import fresh_ids, id_order, owner_of
from tasks.stores.catalog import clusters, images
from tasks.stores.catalog.facts import Author, DecisionKind
from tasks.stores.catalog.schema import Cluster, Decision, Placement

MAX_NAME: Final = 100
"""Longest name, in characters: it has to fit into tables and figures."""

BY_PEOPLE: Final = ("rename", "note", "merge", "split", "retire")
"""Decisions of people, which can be taken back."""

LOSSES: Final = ("merged", "retired")
"""What re-clusterings do to clusters that can be taken back."""


def rename(session: Session, category: str, named: str, name: str, *, by: Author) -> None:
    """Give a cluster a name, or none: the empty text."""
    cluster = _living(session, category, named)
    cleaned = " ".join(name.split())
    _check_name(session, cluster, cleaned)
    before = cluster.name
    cluster.name = cleaned or None
    _note(session, cluster, "rename", by, {"name": before}, {"name": cluster.name})


def annotate(session: Session, category: str, named: str, note: str, *, by: Author) -> None:
    """Write a note on a cluster."""
    cluster = clusters.find(session, category, named)
    before = cluster.note
    cluster.note = note.strip()
    _note(session, cluster, "note", by, {"note": before}, {"note": cluster.note})


def merge(session: Session, category: str, named: Sequence[str], into: str, *, by: Author) -> None:
    """Merge clusters into another one, in past nights too."""
    target = _living(session, category, into)
    for name in named:
        cluster = _living(session, category, name)
        if cluster is target:
            raise ConfigError(f"{name} and {into} are the same cluster; name a different one")
        before = {"state": cluster.state, "merged_into": cluster.merged_into}
        cluster.state, cluster.merged_into = "merged", target.cluster
        _note(session, cluster, "merge", by, before, {"state": "merged", "merged_into": target.cluster})


def split(session: Session, category: str, named: str, contents: Sequence[str], *, by: Author) -> str:
    """Make a new cluster of some images of another one, and give its identity."""
    cluster = _living(session, category, named)
    stands_for = images.views(session, category)
    chosen = sorted({stands_for.get(content, content) for content in contents})
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
    _note(session, cluster, "split", by, {"placed": placed}, {"cluster": new, "contents": chosen})
    return new


def retire(session: Session, category: str, named: str, *, by: Author) -> None:
    """Retire a cluster: it gets no more images."""
    cluster = _living(session, category, named)
    before = cluster.state
    cluster.state = "retired"
    _note(session, cluster, "retire", by, {"state": before}, {"state": "retired"})


def undo(session: Session, category: str, number: int | None, *, by: Author) -> int:
    """Undo a decision and return its number: a person's, by default the last one, or the loss of a cluster."""
    undoable = BY_PEOPLE if number is None else (*BY_PEOPLE, *LOSSES)
    query = select(Decision).where(
        Decision.category == category, Decision.kind.in_(undoable), Decision.undone_by.is_(None)
    )
    standing = list(session.scalars(query.order_by(Decision.number.desc())))
    decision = next((one for one in standing if number in {None, one.number}), None)
    if decision is None:
        which = "no decision" if number is None else f"no decision {number}"
        raise ConfigError(f"there is {which} to undo in {category}; `anoclust clusters history` lists them")
    touched = {decision.cluster, decision.after.get("cluster")}
    later = [one.number for one in standing if one.number > decision.number and one.cluster in touched]
    if later:
        raise ConfigError(f"decision {max(later)} came after {decision.number}; undo it first")
    cluster = clusters.find(session, category, decision.cluster)
    if decision.kind == "split":
        _reunite(session, category, decision)
    elif decision.kind in LOSSES:
        _bring_back(session, category, decision)
    elif decision.kind == "rename":
        _check_name(session, cluster, decision.before["name"] or "")
        cluster.name = decision.before["name"]
    else:
        for field, value in decision.before.items():
            setattr(cluster, field, value)
    undoing = _note(session, cluster, "undo", by, decision.after, {"undone": decision.number})
    decision.undone_by = undoing.number
    return decision.number


def members_before(session: Session, category: str, number: int) -> list[str]:
    """Images that a cluster had before the re-clustering that a decision belongs to, by content."""
    decision = session.get(Decision, number)
    if decision is None or decision.run is None:
        return []
    return images.members_before(session, category, decision.cluster, decision.run)


def _bring_back(session: Session, category: str, decision: Decision) -> None:
    """Let a cluster that a re-clustering lost live again, with the images that it had; no later one takes it away."""
    cluster = clusters.find(session, category, decision.cluster)
    contents = members_before(session, category, decision.number)
    if not contents:
        raise ConfigError(
            f"nothing is left that says which images {cluster.cluster} had; split them off by hand with `anoclust "
            "clusters split`"
        )
    cluster.state, cluster.merged_into = "confirmed", None
    images.place(session, category, contents, cluster.cluster)


def _reunite(session: Session, category: str, decision: Decision) -> None:
    """Put split images back; the new cluster goes into the old one, so that what was assigned to it since does too."""
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
    placed: dict[str, list[str]] = {}
    for content, name in decision.before["placed"].items():
        if name is not None:
            placed.setdefault(name, []).append(content)
    for name in sorted(placed, key=id_order):
        images.place(session, category, placed[name], name)


def _living(session: Session, category: str, named: str) -> Cluster:
    cluster = clusters.find(session, category, named)
    if cluster.state == "merged":
        raise ConfigError(
            f"{cluster.cluster} was merged into {cluster.merged_into}; name that cluster, or undo the merge"
        )
    if cluster.state == "retired":
        raise ConfigError(f"{cluster.cluster} is retired; `anoclust clusters list {category}` lists the others")
    return cluster


def _check_name(session: Session, cluster: Cluster, name: str) -> None:
    if len(name) > MAX_NAME or not name.isprintable() or fresh_ids([name], 1) != ["c1"]:
        raise ConfigError(
            f"expected a name of at most {MAX_NAME} characters that is not an identity such as c7, found "
            f"{name[:MAX_NAME]!r}"
        )
    query = select(Cluster).where(Cluster.category == cluster.category, Cluster.name == name)
    others = [one for one in session.scalars(query) if one is not cluster and clusters.is_living(one)]
    if name and others:
        raise ConfigError(f"{others[0].cluster} already has the name {name}; merge the two, or choose another name")


def _note(
    session: Session,
    cluster: Cluster,
    kind: DecisionKind,
    by: Author,
    before: Mapping[str, object],
    after: Mapping[str, object],
) -> Decision:
    return clusters.write_down(session, cluster.category, cluster.cluster, kind, by=by, before=before, after=after)
