"""Clusters: found, listed, added, and what happens to them written down, within one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date
from difflib import get_close_matches
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from anoclust_core.errors import ConfigError
from anoclust_core.matching.identities import id_order, owner_of
from tasks.stores.catalog.decisions.words import touched
from tasks.stores.catalog.facts import Author, ClusterFact, ClusterState, DecisionFact, DecisionKind, fact_of
from tasks.stores.catalog.images import cluster_sizes
from tasks.stores.catalog.schema import Cluster, Decision, Run, Snapshot

MACHINE: Final = "anoclust"
"""Who decides what no person did."""


def find(session: Session, category: str, named: str) -> Cluster:
    """Cluster by its identity, or by its name among those that are not gone.

    Raises
    ------
    ConfigError
        If there is none.
    """
    clusters = _all(session, category)
    for cluster in clusters:
        if cluster.cluster == named:
            return cluster
    living = {cluster.name: cluster for cluster in clusters if cluster.name and is_living(cluster)}
    if named in living:
        return living[named]
    close = get_close_matches(named, [*living, *(cluster.cluster for cluster in clusters)], n=1)
    hint = f"did you mean {close[0]}?" if close else f"`anoclust clusters list {category}` lists them"
    raise ConfigError(f"there is no cluster {named} of {category}; {hint}")


def is_living(cluster: Cluster) -> bool:
    """Whether a cluster is one of its own."""
    return cluster.state not in {"retired", "merged"}


def merges(session: Session, category: str) -> dict[str, str]:
    """Clusters that were merged into another one, and that one."""
    return {cluster.cluster: cluster.merged_into for cluster in _all(session, category) if cluster.merged_into}


def identities(session: Session, category: str) -> set[str]:
    """Identity of every cluster that there ever was."""
    return set(session.scalars(select(Cluster.cluster).where(Cluster.category == category)))


def facts(session: Session, category: str) -> list[ClusterFact]:
    """All clusters in the order of their identities."""
    into = merges(session, category)
    sizes: Counter[str] = Counter()
    for cluster, n_images in cluster_sizes(session, category).items():
        if cluster is not None:
            sizes[owner_of(cluster, into)] += n_images
    return [
        fact_of(ClusterFact, cluster, n_images=sizes[cluster.cluster])
        for cluster in sorted(_all(session, category), key=lambda cluster: id_order(cluster.cluster))
    ]


def add(session: Session, category: str, cluster: str, *, state: ClusterState, born: date, run: int | None) -> None:
    """Add a cluster; one that a run is recorded with again stays as it is."""
    if session.get(Cluster, (category, cluster)) is None:
        session.add(
            Cluster(
                category=category,
                cluster=cluster,
                state=state,
                born=born,
                born_in=run,
                name=None,
                note="",
                merged_into=None,
                ordinary=None,
            )
        )
        session.flush()


def write_down(
    session: Session,
    category: str,
    cluster: str,
    kind: DecisionKind,
    *,
    by: Author,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    run: int | None = None,
) -> Decision:
    """Keep what happened to a cluster."""
    decision = Decision(
        category=category,
        cluster=cluster,
        kind=kind,
        who=by.who,
        at=by.when,
        before=dict(before or {}),
        after=dict(after or {}),
        run=run,
        undone_by=None,
    )
    session.add(decision)
    session.flush()
    return decision


def history(session: Session, category: str, named: str | None) -> list[DecisionFact]:
    """What happened to one cluster or to all, oldest first; what others did to it counts."""
    wanted = None if named is None else find(session, category, named).cluster
    query = (
        select(Decision, Run.night, Snapshot.details)
        .outerjoin(Run, Run.number == Decision.run)
        .outerjoin(Snapshot, (Snapshot.category == Run.category) & (Snapshot.key == Run.snapshot))
        .where(Decision.category == category)
        .order_by(Decision.number)
    )
    return [
        fact_of(
            DecisionFact,
            decision,
            when=decision.at,
            undone=decision.undone_by is not None,
            night=night or _night_of(decision, details),
        )
        for decision, night, details in session.execute(query)
        if wanted is None or wanted in touched(decision.cluster, decision.before, decision.after)
    ]


def _night_of(decision: Decision, details: Mapping[str, Any] | None) -> date | None:
    """Night that a re-clustering belongs to, as it was written down with it; of a version before, with its snapshot."""
    if decision.who != MACHINE:
        return None
    night = decision.after.get("night") or (details or {}).get("night")
    return date.fromisoformat(night) if night else None


def _all(session: Session, category: str) -> list[Cluster]:
    return list(session.scalars(select(Cluster).where(Cluster.category == category)))
