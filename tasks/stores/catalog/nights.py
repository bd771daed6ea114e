"""Nights and re-clusterings: recorded whole, and again without effect, within one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from math import isfinite
from typing import Final

from sqlalchemy import delete, func, insert, or_, select, update
from sqlalchemy.orm import Session

from anoclust_core.matching.partitions import ChangeKind, PartitionMatch
from tasks.stores.catalog import clusters
from tasks.stores.catalog.facts import (
    AssignmentFact,
    Author,
    DecisionKind,
    NightFact,
    SnapshotFact,
    columns_of,
    fact_of,
)
from tasks.stores.catalog.schema import Assignment, Cluster, Decision, Exclusion, Night, Placement, Run, Snapshot

_TOLD: Final[Mapping[ChangeKind, DecisionKind]] = {
    "kept": "kept",
    "born": "born",
    "retired": "retired",
    "split": "was_split",
}


def record_night(
    session: Session, fact: NightFact, assignments: Iterable[AssignmentFact], born: Mapping[str, Mapping[str, object]]
) -> None:
    """Put a night in the place of what was recorded for it before; ``born`` has the evidence of new clusters."""
    category = fact.category
    run = session.scalars(select(Run).where(Run.category == category, Run.night == fact.night)).one_or_none()
    if run is None:
        run = Run(category=category, night=fact.night, snapshot=None)
        session.add(run)
        session.flush()
    else:
        _clear(session, run, keep=born)
    for cluster, evidence in born.items():
        clusters.add(session, category, cluster, state="provisional", born=fact.night, run=run.number)
        clusters.write_down(
            session,
            category,
            cluster,
            "born",
            by=Author(clusters.MACHINE, fact.ended),
            after={"night": fact.night.isoformat(), **evidence},
            run=run.number,
        )
    put_assignments(session, run, assignments)
    put_night(session, fact)


def put_night(session: Session, fact: NightFact) -> None:
    """Say what is known of a night itself."""
    session.merge(Night(**columns_of(fact)))
    session.flush()


def record_snapshot(
    session: Session,
    fact: SnapshotFact,
    night: date,
    match: PartitionMatch,
    assignments: Iterable[AssignmentFact],
    *,
    who: str = clusters.MACHINE,
) -> bool:
    """Record a re-clustering and what it did to clusters; False if it is the latest one, and puts images as it did."""
    category, assigned = fact.category, list(assignments)
    runs = session.scalars(select(Run).where(Run.category == category, Run.snapshot.is_not(None)))
    before = {run.snapshot: run for run in runs}
    again = before.get(fact.key)
    if again is not None:
        is_latest = again.number == max(run.number for run in before.values())
        if is_latest and _clusters_of(session, again) == {one.content: one.cluster for one in assigned}:
            return False
        forget(session, again)  # back to earlier settings, or other clusters since people decided: it counts as new
    session.merge(Snapshot(**columns_of(fact)))
    session.flush()
    run = Run(category=category, night=None, snapshot=fact.key)
    session.add(run)
    session.flush()
    for cluster in match.clusters("born"):
        clusters.add(session, category, cluster, state="confirmed", born=night, run=run.number)
    _settle(session, category, match)
    for change in match.changes:
        gone = change.others if change.kind == "merged" else (change.cluster,)
        for name in gone:
            after: dict[str, object] = {
                "night": night.isoformat(),
                "snapshot": fact.key,
                "overlaps": dict(change.overlaps),
            }
            if change.kind == "merged":
                after["merged_into"] = change.cluster
            if change.kind == "split":
                after["parts"] = list(change.others)
            if change.height is not None:
                after["height"] = change.height
            if change.separation is not None:  # JSON has no infinity: null stands for it
                after["separation"] = change.separation if isfinite(change.separation) else None
            if change.learnt is not None:
                after["learnt"] = dict(change.learnt)
            kind = _TOLD.get(change.kind, "merged")
            by = Author(who, fact.made_at)
            clusters.write_down(session, category, name, kind, by=by, after=after, run=run.number)
    put_assignments(session, run, assigned)
    return True


def _clusters_of(session: Session, run: Run) -> dict[str, str | None]:
    """Cluster that a run put each image into, by content."""
    put = select(Assignment.content, Assignment.cluster).where(Assignment.run == run.number)
    return {content: cluster for content, cluster in session.execute(put)}  # noqa: C416 - rows are no pairs to mypy


def forget(session: Session, run: Run) -> None:
    """Take a re-clustering out, with where it put images; its history stays."""
    session.execute(update(Decision).where(Decision.run == run.number).values(run=None))
    session.execute(update(Cluster).where(Cluster.born_in == run.number).values(born_in=None))
    session.delete(run)
    session.flush()


def latest_snapshot(session: Session, category: str) -> SnapshotFact | None:
    """Snapshot that the last re-clustering made."""
    newest = select(func.max(Run.number)).where(Run.category == category, Run.snapshot.is_not(None))
    query = select(Snapshot).join(Run, (Run.category == Snapshot.category) & (Run.snapshot == Snapshot.key))
    found = session.scalars(query.where(Run.number == newest.scalar_subquery())).one_or_none()
    return fact_of(SnapshotFact, found) if found else None


def snapshot(session: Session, category: str, key: str) -> SnapshotFact | None:
    """Snapshot by its key."""
    found = session.get(Snapshot, (category, key))
    return fact_of(SnapshotFact, found) if found else None


def nights(session: Session, category: str | None, since: date | None, until: date | None) -> list[NightFact]:
    """Nights by date, then by category."""
    query = select(Night).order_by(Night.night, Night.category)
    if category is not None:
        query = query.where(Night.category == category)
    if since is not None:
        query = query.where(Night.night >= since)
    if until is not None:
        query = query.where(Night.night <= until)
    return [fact_of(NightFact, night) for night in session.scalars(query)]


def night_record(
    session: Session, category: str, night: date
) -> tuple[list[AssignmentFact], dict[str, dict[str, object]]]:
    """Assignments, by content, and births with their evidence, by identity, that a night was recorded with."""
    run = session.scalars(select(Run).where(Run.category == category, Run.night == night)).one_or_none()
    if run is None:
        return [], {}
    assigned = session.scalars(select(Assignment).where(Assignment.run == run.number).order_by(Assignment.content))
    told = session.scalars(select(Decision).where(Decision.run == run.number, Decision.kind == "born"))
    return (
        [fact_of(AssignmentFact, one) for one in assigned],
        {decision.cluster: dict(decision.after) for decision in told},
    )


def put_assignments(session: Session, run: Run, assignments: Iterable[AssignmentFact]) -> None:
    """Say where a run puts images."""
    rows = [
        {
            "run": run.number,
            "category": run.category,
            "content": fact.content,
            "cluster": fact.cluster,
            "distance": float(fact.distance),
            "confidence": float(fact.confidence),
        }
        for fact in assignments
    ]
    if rows:
        session.execute(insert(Assignment), rows)


def _clear(session: Session, run: Run, *, keep: Iterable[str]) -> None:
    """Take out what a run recorded; of clusters born in it only those that nothing else refers to."""
    session.execute(delete(Assignment).where(Assignment.run == run.number))
    session.execute(delete(Decision).where(Decision.run == run.number))
    for name in sorted(_only_of(session, run) - set(keep)):
        session.execute(delete(Cluster).where(Cluster.category == run.category, Cluster.cluster == name))
    session.flush()


def _only_of(session: Session, run: Run) -> set[str]:
    """Clusters born in a run that no other run and no person has anything to do with."""
    born = select(Cluster).where(Cluster.category == run.category, Cluster.born_in == run.number)
    return {cluster.cluster for cluster in session.scalars(born) if not _used(session, run, cluster)}


def _used(session: Session, run: Run, cluster: Cluster) -> bool:
    name, category = cluster.cluster, cluster.category
    questions = (
        select(Assignment.run).where(
            Assignment.category == category, Assignment.cluster == name, Assignment.run != run.number
        ),
        select(Decision.number).where(
            Decision.category == category,
            Decision.cluster == name,
            or_(Decision.run.is_(None), Decision.run != run.number),
        ),
        select(Placement.content).where(Placement.category == category, Placement.cluster == name),
        select(Exclusion.content).where(Exclusion.category == category, Exclusion.cluster == name),
        select(Cluster.cluster).where(Cluster.category == category, Cluster.merged_into == name),
    )
    return cluster.state != "provisional" or any(session.execute(asked.limit(1)).first() for asked in questions)


def _settle(session: Session, category: str, match: PartitionMatch) -> None:
    """Let clusters be what the re-clustering found; parts of a merged one stay parts."""
    rows = {
        cluster.cluster: cluster for cluster in session.scalars(select(Cluster).where(Cluster.category == category))
    }
    for name in match.clusters("kept"):
        if rows[name].state != "merged":
            rows[name].state = "confirmed"
    for name in match.clusters("retired"):
        rows[name].state = "retired"
    for name, into in match.merged_into.items():
        rows[name].state, rows[name].merged_into = "merged", into
    session.flush()
