"""What people decide about whole clusters, within one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from anoclust_core.errors import ConfigError
from anoclust_core.matching.identities import fresh_ids
from tasks.stores.catalog import clusters
from tasks.stores.catalog.facts import UNKNOWN, Author, DecisionKind
from tasks.stores.catalog.schema import Cluster, Decision

MAX_NAME: Final = 100
"""Longest name, in characters: it has to fit into tables and figures."""


def rename(session: Session, category: str, named: str, name: str, *, by: Author) -> int:
    """Give a cluster a name, or none: the empty text; gives the number of the decision, as all of these do."""
    cluster = living(session, category, named)
    cleaned = " ".join(name.split())
    check_name(session, cluster, cleaned)
    before = cluster.name
    cluster.name = cleaned or None
    return decide(session, cluster, "rename", by, {"name": before}, {"name": cluster.name}).number


def annotate(session: Session, category: str, named: str, note: str, *, by: Author) -> int:
    """Write a note on a cluster."""
    cluster = clusters.find(session, category, named)
    before = cluster.note
    cluster.note = note.strip()
    return decide(session, cluster, "note", by, {"note": before}, {"note": cluster.note}).number


def merge(session: Session, category: str, named: Sequence[str], into: str, *, by: Author) -> tuple[int, ...]:
    """Merge clusters into another one, in past nights too; a decision each."""
    target = living(session, category, into)
    made = []
    for name in named:
        cluster = living(session, category, name)
        if cluster is target:
            raise ConfigError(f"{name} and {into} are the same cluster; name a different one")
        before = {"state": cluster.state, "merged_into": cluster.merged_into}
        cluster.state, cluster.merged_into = "merged", target.cluster
        after = {"state": "merged", "merged_into": target.cluster}
        made.append(decide(session, cluster, "merge", by, before, after).number)
    return tuple(made)


def retire(session: Session, category: str, named: str, *, by: Author) -> int:
    """Retire a cluster: it gets no more images."""
    cluster = living(session, category, named)
    before = cluster.state
    cluster.state = "retired"
    return decide(session, cluster, "retire", by, {"state": before}, {"state": "retired"}).number


def mark_ordinary(session: Session, category: str, named: str, is_ordinary: bool, *, by: Author) -> int:
    """Say that a cluster is no defect, or that it is one."""
    cluster = living(session, category, named)
    before = cluster.ordinary
    cluster.ordinary = is_ordinary
    return decide(session, cluster, "ordinary", by, {"ordinary": before}, {"ordinary": is_ordinary}).number


def living(session: Session, category: str, named: str) -> Cluster:
    """Cluster by identity or name that is not gone.

    Raises
    ------
    ConfigError
        If there is none.
    """
    cluster = clusters.find(session, category, named)
    if cluster.state == "merged":
        raise ConfigError(
            f"{cluster.cluster} was merged into {cluster.merged_into}; name that cluster, or undo the merge"
        )
    if cluster.state == "retired":
        raise ConfigError(f"{cluster.cluster} is retired; `anoclust clusters list {category}` lists the others")
    return cluster


def check_name(session: Session, cluster: Cluster, name: str) -> None:
    """See that a cluster may have a name.

    Raises
    ------
    ConfigError
        If it is none, or another living cluster has it.
    """
    is_taken = fresh_ids([name], 1) != ["c1"] or name.casefold() == UNKNOWN
    if len(name) > MAX_NAME or not name.isprintable() or is_taken:
        raise ConfigError(
            f"expected a name of at most {MAX_NAME} characters that is not an identity such as c7 and not "
            f"{UNKNOWN!r}, found {name[:MAX_NAME]!r}"
        )
    query = select(Cluster).where(Cluster.category == cluster.category, Cluster.name == name)
    others = [one for one in session.scalars(query) if one is not cluster and clusters.is_living(one)]
    if name and others:
        raise ConfigError(f"{others[0].cluster} already has the name {name}; merge the two, or choose another name")


def decide(
    session: Session,
    cluster: Cluster,
    kind: DecisionKind,
    by: Author,
    before: Mapping[str, object],
    after: Mapping[str, object],
) -> Decision:
    """Write down what a person decided about a cluster."""
    return clusters.write_down(session, cluster.category, cluster.cluster, kind, by=by, before=before, after=after)
