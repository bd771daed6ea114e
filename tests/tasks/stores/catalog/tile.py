"""Nights and re-clusterings of a category called tile, as a flow records them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from anoclust_core.matching.partitions import match_partitions
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.facts import AssignmentFact, ImageFact, NightFact, SnapshotFact

FIRST = date(2026, 11, 1)
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
WHO = "kim"


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def image(content: str, night: int = 0, **values: object) -> ImageFact:
    return replace(ImageFact(content, f"{content}.png", NOON + timedelta(days=night), day(night)), **values)


def night_fact(number: int = 0, *, key: str = "k", category: str = "tile") -> NightFact:
    moment = NOON + timedelta(days=number)
    return NightFact(category, day(number), "done", key, moment, moment + timedelta(minutes=1), {"seen": 1})


def put(catalog: Catalog, number: int, into: Mapping[str, str | None], born: Sequence[str] = ()) -> None:
    """Record a night that puts images into clusters."""
    catalog.record_night(
        night_fact(number),
        new=[image(content, number) for content in into],
        assignments=[AssignmentFact(content, cluster, 0.5, 0.9) for content, cluster in into.items()],
        born={cluster: {"images": 3} for cluster in born},
    )


def recluster(catalog: Catalog, key: str, labels: Mapping[str, int], *, number: int = 0) -> Mapping[int, str]:
    """Record a re-clustering the way that a flow does."""
    found = catalog.standing("tile")
    match = match_partitions(
        found.partition, labels, taken=found.identities, merged_into=found.merged_into, lasting=found.lasting
    )
    catalog.record_snapshot(
        SnapshotFact("tile", key, NOON + timedelta(days=number), len(labels), 0.7, {"weights": "w"}),
        night=day(number),
        match=match,
        assignments=[AssignmentFact(content, match.ids[label], 0.1, 1.0) for content, label in labels.items()],
        new=[image(content, number) for content in labels],
        found=found,
    )
    return match.ids
