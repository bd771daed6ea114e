"""A catalog in which everything was written that can be."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from anoclust_core.matching.partitions import match_partitions
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.facts import AssignmentFact, ImageFact, NightFact, NoticeFact, SnapshotFact
from tasks.stores.nights.snapshots import Snapshot

FIRST = date(2026, 11, 1)
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def fill(catalog: Catalog, category: str = "tile") -> None:
    """Record two nights, two re-clusterings and one decision of every kind: every way in which rows are written."""
    for number, key in enumerate(("s1", "s2", "s1")):
        night = FIRST + timedelta(days=number)
        new = {f"{key}{number}{at}{category}": at % 2 for at in range(6)}
        catalog.record_night(
            NightFact(category, night, "begun", key, NOON, NOON, {"new": 6.5}),
            new=[
                ImageFact(name, f"{name}.png", NOON, night, {"line": "7 ü"}, None if at else "cut off")
                for name, at in new.items()
            ],
            assignments=[AssignmentFact(name, None, 0.25, 0.125) for name in new],
            tell=[NoticeFact(category, f"{number}", night, "anoclust.drift", {"value": 1.5})],
        )
        found = catalog.standing(category)
        labels = {name: 0 if cluster is None else 1 + int(cluster[1:]) for name, cluster in found.assigned.items()}
        match = match_partitions(found.partition, labels, taken=found.identities, merged_into=found.merged_into)
        catalog.record_snapshot(
            SnapshotFact(
                category,
                key,
                NOON,
                len(labels),
                0.5,
                Snapshot(key, night, "s", "r", {}, "m", None, 0.1, 0.5, len(labels), "sohn").details,
            ),
            night=night,
            match=match,
            assignments=[AssignmentFact(name, match.ids[label], 0.5, 0.75) for name, label in labels.items()],
            found=found,
        )
        catalog.conclude_night(NightFact(category, night, "done", key, NOON, NOON, {"new": 6}))
    catalog.mark_sent(category, ["1"])
    catalog.rename(category, "c1", "edge", who="kim")
    catalog.annotate(category, "c1", "look at line 7", who="kim")
    members = [fact.content for fact in catalog.assignments(category) if fact.cluster == "c1"]
    catalog.split(category, "c1", members[:3], who="kim")
    catalog.merge(category, ["c2"], into="c1", who="kim")
    catalog.retire(category, "c3", who="kim")
    catalog.undo(category, who="kim")
    catalog.mark_ordinary(category, "c3", True, who="kim")
    catalog.mark_wrong(category, members[3:5], who="kim")
    catalog.move(category, members[4:6], to="c3", who="kim")
