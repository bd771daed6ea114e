"""Decisions taken back, within one transaction."""

from __future__ import annotations

from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from anoclust_core.errors import ConfigError
from tasks.stores.catalog import clusters, images
from tasks.stores.catalog.decisions import of_clusterings, of_images
from tasks.stores.catalog.decisions.of_clusters import check_name, decide
from tasks.stores.catalog.decisions.of_images import PLACING
from tasks.stores.catalog.decisions.words import touched
from tasks.stores.catalog.facts import Author
from tasks.stores.catalog.schema import Cluster, Decision

BY_PEOPLE: Final = (
    "rename",
    "note",
    "merge",
    "split",
    "retire",
    "move",
    "wrong",
    "ordinary",
    "adopt",
    "cut",
    "answer",
    "dismiss",
)
"""Decisions of people, which can be taken back."""

LOSSES: Final = ("merged", "retired")
"""What re-clusterings do to clusters that can be taken back."""

_BY_THEMSELVES: Final = ("move", "wrong", "ordinary", "answer")
"""Decisions that those of other kinds about the same cluster do not build on."""


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
    later = [one.number for one in standing if one.number > decision.number and _builds_on(one, decision)]
    if later:
        raise ConfigError(f"decision {max(later)} came after {decision.number}; undo it first")
    cluster = clusters.find(session, category, decision.cluster)
    match decision.kind:
        case "split":
            of_images.reunite(session, decision)
        case "move":
            of_images.unmove(session, decision)
        case "wrong":
            of_images.unmark_wrong(session, decision)
        case "adopt":
            of_clusterings.unadopt(session, decision)
        case "cut":
            of_clusterings.uncut(session, decision)
        case "merged" | "retired":
            _bring_back(session, cluster, decision)
        case "rename":
            check_name(session, cluster, decision.before["name"] or "")
            cluster.name = decision.before["name"]
        case _:
            for field, value in decision.before.items():
                setattr(cluster, field, value)
    _check_names(session, category)
    undoing = decide(session, cluster, "undo", by, decision.after, {"undone": decision.number})
    decision.undone_by = undoing.number
    return decision.number


def members_before(session: Session, category: str, number: int) -> list[str]:
    """Images that a cluster had before the re-clustering that a decision belongs to, by content."""
    decision = session.get(Decision, number)
    if decision is None or decision.run is None:
        return []
    return images.members_before(session, category, decision.cluster, decision.run)


def _builds_on(later: Decision, decision: Decision) -> bool:
    """Whether a later decision would be left hanging without an earlier one."""
    if "dismiss" in {later.kind, decision.kind}:
        return False
    if decision.kind == "adopt":
        return later.kind in BY_PEOPLE
    if decision.kind == "cut":
        changed = {*decision.after["born"], *decision.after["gone"]}
        return bool(changed & touched(later.cluster, later.before, later.after))
    if later.kind in {"adopt", "cut"}:
        return False
    if decision.kind == "move" and decision.after.get("started"):
        return decision.cluster in touched(later.cluster, later.before, later.after)
    if {later.kind, decision.kind} <= set(PLACING) and set(later.after["contents"]) & set(decision.after["contents"]):
        return True
    if {later.kind, decision.kind} & set(_BY_THEMSELVES):
        return (later.kind, later.kind, later.cluster) == (decision.kind, "ordinary", decision.cluster)
    return later.cluster in {decision.cluster, decision.after.get("cluster")}


def _check_names(session: Session, category: str) -> None:
    """See that no two living clusters have one name: somebody may have given it again to another one since.

    Raises
    ------
    ConfigError
        If two have.
    """
    session.flush()
    query = select(Cluster).where(Cluster.category == category, Cluster.name.is_not(None))
    names: dict[str, str] = {}
    for cluster in session.scalars(query):
        if cluster.name and clusters.is_living(cluster):
            other = names.setdefault(cluster.name, cluster.cluster)
            if other != cluster.cluster:
                raise ConfigError(
                    f"then {other} and {cluster.cluster} would both be named {cluster.name}; rename one of them first"
                )


def _bring_back(session: Session, cluster: Cluster, decision: Decision) -> None:
    """Let a cluster that a re-clustering lost live again, with the images that it had; no later one takes it away."""
    contents = members_before(session, cluster.category, decision.number)
    if not contents:
        raise ConfigError(
            f"nothing is left that says which images {cluster.cluster} had; split them off by hand with `anoclust "
            "clusters split`"
        )
    cluster.state, cluster.merged_into = "confirmed", None
    images.place(session, cluster.category, contents, cluster.cluster)
