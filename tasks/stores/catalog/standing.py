"""How clusters stand, read at one moment; and whether they still do when what follows from it is written."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from anoclust_core.errors import BusyError
from anoclust_core.matching.identities import owner_of
from tasks.stores.catalog import clusters, images
from tasks.stores.catalog.facts import EventName, Standing
from tasks.stores.catalog.schema import Cluster, Decision, Exclusion, Night, Notice, Placement, Run

NEW: Final[EventName] = "anoclust.cluster.new"
"""Event that tells of a new cluster."""

TEACHING: Final = ("rename", "merge", "split", "move", "wrong", "ordinary", "cut", "answer")
"""Decisions of people that say which images belong together."""


class OvertakenError(BusyError):
    """Somebody decided about clusters of a category between reading them and writing what follows."""


def standing(session: Session, category: str) -> Standing:
    """Read how the clusters of a category stand, within one transaction."""
    found = session.scalars(select(Cluster).where(Cluster.category == category)).all()
    told = select(Notice.payload).where(Notice.category == category, Notice.event == NEW)
    by_person = select(Decision.cluster).where(
        Decision.category == category, Decision.kind == "retire", Decision.undone_by.is_(None)
    )
    wrong: dict[str, set[str]] = defaultdict(set)
    for content, cluster in session.execute(
        select(Exclusion.content, Exclusion.cluster).where(
            Exclusion.category == category, Exclusion.until_run.is_(None)
        )
    ):
        wrong[content].add(cluster)
    merged_by_person = select(Decision.cluster).where(
        Decision.category == category, Decision.kind == "merge", Decision.undone_by.is_(None)
    )
    by_hand = select(Placement.content, Placement.cluster).where(Placement.category == category)
    placed = {content: cluster for content, cluster in session.execute(by_hand)}  # noqa: C416 - rows are no pairs to mypy
    into = clusters.merges(session, category)
    of_runs = {name: to for name, to in into.items() if name not in set(session.scalars(merged_by_person))}
    owners = {cluster: owner_of(cluster, into) for cluster in clusters.identities(session, category)}
    gone = {one.cluster for one in found if one.state == "retired"}
    cuts = select(Decision.after).where(
        Decision.category == category, Decision.kind == "cut", Decision.undone_by.is_(None)
    )
    last_cut = session.scalars(cuts.order_by(Decision.number.desc()).limit(1)).first()
    known = set(last_cut["clusters"]) if last_cut else set()
    known |= {payload["cluster"] for payload in session.scalars(told)}
    known |= {one.cluster for one in found if one.name or one.ordinary is not None}
    dismissed = gone & set(session.scalars(by_person))
    living = frozenset(one.cluster for one in found if clusters.is_living(one))
    people = _by_people(session, category)
    by_merge = {owners.get(one.cluster, one.cluster) for one in people if one.kind == "merge"}
    decided = {one.cluster for one in found if one.name or one.ordinary is not None} | set(placed.values()) | by_merge
    splits = {one.after["cluster"]: one.cluster for one in people if one.kind == "split"}
    started = [one for one in people if one.after.get("started") and one.after["from"]]
    splits |= {one.cluster: max(one.after["from"], key=one.after["from"].__getitem__) for one in started}
    return Standing(
        assigned={fact.content: fact.cluster for fact in images.current_assignments(session, category)},
        merged_into=into,
        retired=frozenset(cluster for cluster, owner in owners.items() if owner in gone),
        dismissed=frozenset(cluster for cluster, owner in owners.items() if owner in dismissed),
        placed=placed,
        known=living & (known | set(placed.values())),
        provisional=frozenset(one.cluster for one in found if one.state == "provisional"),
        wrong={content: frozenset(of | {owner_of(one, of_runs) for one in of}) for content, of in wrong.items()},
        identities=frozenset(owners),
        revision=revision(session, category),
        decided=living & (decided | (set(last_cut["clusters"]) if last_cut else set())),
        split_off={new: of for new, of in splits.items() if {new, of} <= living},
        n_decisions=len(people),
    )


def _by_people(session: Session, category: str) -> list[Decision]:
    """Decisions that stand and say which images belong together."""
    query = select(Decision).where(
        Decision.category == category, Decision.kind.in_(TEACHING), Decision.undone_by.is_(None)
    )
    return list(session.scalars(query))


def check_unchanged(session: Session, category: str, found: Standing) -> None:
    """See that nobody changed how clusters stand since it was read; the category is held by the transaction.

    Raises
    ------
    OvertakenError
        If somebody did.
    """
    if revision(session, category) != found.revision:
        raise OvertakenError(f"somebody else changed clusters of {category} at the same time; try again in a moment")


def revision(session: Session, category: str) -> tuple[Any, ...]:
    """Tell one state of a category from every later one.

    Every decision and every new night or re-clustering has a number that is never given again, and a night that is
    recorded again has another end.
    """
    asked = (
        select(func.max(Run.number)).where(Run.category == category).scalar_subquery(),
        select(func.max(Decision.number)).where(Decision.category == category).scalar_subquery(),
        select(func.max(Night.ended)).where(Night.category == category).scalar_subquery(),
    )
    return tuple(session.execute(select(*asked)).one())
