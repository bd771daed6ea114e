"""What people decide about a whole clustering: a run that nights start from, a cut; within one transaction."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import date

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from anoclust_core.errors import ConfigError
from anoclust_core.matching.identities import id_order, owner_of
from anoclust_core.matching.partitions import PartitionMatch
from tasks.stores.catalog import clusters, images, nights
from tasks.stores.catalog.decisions.of_clusters import decide
from tasks.stores.catalog.facts import AssignmentFact, Author, SnapshotFact
from tasks.stores.catalog.schema import Assignment, Cluster, Decision, Night, Run


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
    nights.record_snapshot(session, snapshot, night, match, assignments, who=by.who)
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


def cut(
    session: Session,
    snapshot: SnapshotFact,
    number: int,
    match: PartitionMatch,
    assignments: Iterable[AssignmentFact],
    *,
    by: Author,
) -> int:
    """Let a cut of the last clustering's tree be the clusters; gives the number of the decision."""
    category = snapshot.category
    before = _states(session, category)
    now = list(assignments)
    night = date.fromisoformat(snapshot.details["night"])
    nights.record_snapshot(session, snapshot, night, match, now, who=by.who)
    after = _states(session, category)
    groups = sorted({fact.cluster for fact in now if fact.cluster is not None}, key=id_order)
    changed = {name: state for name, state in before.items() if after[name] != state}
    told = {
        "number": number,
        "snapshot": snapshot.key,
        "clusters": groups,
        "born": list(match.clusters("born")),
        "gone": sorted(changed, key=id_order),
    }
    return decide(session, clusters.find(session, category, groups[0]), "cut", by, {"states": changed}, told).number


def uncut(session: Session, decision: Decision) -> None:
    """Let the clusters before a cut be there again; what came since to a cluster born by it goes with its images.

    Raises
    ------
    ConfigError
        If everything was clustered again, or cut again, since.
    """
    category, after = decision.category, decision.after
    latest = nights.latest_snapshot(session, category)
    if latest is None or latest.key != after["snapshot"]:
        raise ConfigError(
            f"{category} was clustered again after decision {decision.number}, so that the cut cannot be undone; "
            f"`anoclust clusters cut {category} NUMBER` cuts the new tree"
        )
    run = session.scalars(select(Run).where(Run.category == category, Run.snapshot == after["snapshot"])).one()
    of_cut = select(Assignment.content, Assignment.cluster).where(Assignment.run == run.number)
    put = {content: cluster for content, cluster in session.execute(of_cut)}  # noqa: C416 - rows are no pairs to mypy
    told = select(Decision).where(Decision.run == run.number, Decision.undone_by.is_(None))
    for one in session.scalars(told).all():
        one.undone_by = decision.number
    nights.forget(session, run)
    for name, (state, into) in decision.before["states"].items():
        cluster = clusters.find(session, category, name)
        cluster.state, cluster.merged_into = state, into
    merges = clusters.merges(session, category)
    origins: dict[str, Counter[str]] = defaultdict(Counter)
    for fact in images.current_assignments(session, category, list(put)):
        if fact.cluster is not None:
            origins[put[fact.content] or ""][owner_of(fact.cluster, merges)] += 1
    for name in after["born"]:
        cluster = clusters.find(session, category, name)
        origin = max(origins[name], key=lambda one: (origins[name][one], -len(one), one), default=None)
        cluster.state, cluster.merged_into = ("retired", None) if origin is None else ("merged", origin)
    session.flush()


def _states(session: Session, category: str) -> dict[str, list[str | None]]:
    """State of every cluster, and what it was merged into."""
    found = session.scalars(select(Cluster).where(Cluster.category == category))
    return {one.cluster: [one.state, one.merged_into] for one in found}
