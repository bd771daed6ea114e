"""What people decide about a whole clustering: a run that nights start from; within one transaction."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from anoclust_core.errors import ConfigError
from anoclust_core.matching.identities import id_order
from anoclust_core.matching.partitions import PartitionMatch
from tasks.stores.catalog import clusters, nights
from tasks.stores.catalog.decisions.of_clusters import decide
from tasks.stores.catalog.facts import AssignmentFact, Author, SnapshotFact
from tasks.stores.catalog.schema import Cluster, Decision, Night, Run


def adopt(
    session: Session,
    snapshot: SnapshotFact,
    match: PartitionMatch,
    assignments: Iterable[AssignmentFact],
    *,
    by: Author,
) -> int:
    """Let a run be the start of a category's nights; gives the number of the decision.

    Raises
    ------
    ConfigError
        If the category has nights already.
    """
    category = snapshot.category
    last = session.scalar(select(func.max(Night.night)).where(Night.category == category))
    if last is not None or nights.latest_snapshot(session, category) is not None:
        raise ConfigError(
            f"{category} has nights already{f', the last on {last}' if last else ''}, and its clusters come from them; "
            "only a category without nights can start from a run; `anoclust nightly --recluster` clusters everything "
            "again"
        )
    night = date.fromisoformat(snapshot.details["night"])
    nights.record_snapshot(session, snapshot, night, match, assignments)
    made = sorted(match.clusters("born"), key=id_order)
    first = clusters.find(session, category, made[0])
    after = {"run": snapshot.details["run"], "snapshot": snapshot.key, "clusters": made}
    return decide(session, first, "adopt", by, {}, after).number


def unadopt(session: Session, decision: Decision) -> None:
    """Forget that nights start from a run: its clusters are gone, and everything is clustered again for the first time.

    Raises
    ------
    ConfigError
        If nights have gone on from it.
    """
    category = decision.category
    last = session.scalar(select(func.max(Night.night)).where(Night.category == category))
    if last is not None:
        raise ConfigError(
            f"nights of {category} have gone on from run {decision.after['run']}, the last on {last}: it cannot be "
            "undone any more; `anoclust nightly --recluster` clusters everything again"
        )
    query = select(Run).where(Run.category == category, Run.snapshot == decision.after["snapshot"])
    nights.forget(session, session.scalars(query).one())
    for cluster in session.scalars(select(Cluster).where(Cluster.category == category)):
        if clusters.is_living(cluster):
            cluster.state = "retired"
    session.flush()
