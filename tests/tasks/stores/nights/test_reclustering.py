"""When everything is re-clustered, as a catalog alone decides it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from helpers.builders import manifest_of

from anoclust_core.config import RunConfig
from anoclust_core.matching.partitions import match_partitions
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.facts import AssignmentFact, ImageFact, NightFact, SnapshotFact
from tasks.stores.layout import StoreLayout
from tasks.stores.nights import reclustering
from tasks.stores.nights.snapshots import Snapshot

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
Due = Callable[..., str | None]


def day(number: int) -> date:
    return (NOON + timedelta(days=number)).date()


def image(content: str, number: int) -> ImageFact:
    return ImageFact(content, f"{content}.png", NOON + timedelta(days=number), day(number))


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    """Give a catalog with two clusters of ten images each, from a re-clustering of the first night."""
    with Catalog.open(tmp_path / "catalog.sqlite") as opened:
        come(opened, {f"{at:02d}": None for at in range(20)}, 0)
        recluster(opened, "s1", {f"{at:02d}": at // 10 for at in range(20)}, 0)
        yield opened


@pytest.fixture
def due(catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Due:
    """Give why everything is re-clustered on a night, by number; the store has what the snapshot is made of."""
    monkeypatch.setattr(reclustering, "is_whole", lambda *_: True)
    monkeypatch.setattr(reclustering, "members", lambda *_: manifest_of([f"{at:02d}" for at in range(20)]))
    layout = StoreLayout(tmp_path)

    def reason(number: int, *, every: int | None = None) -> str | None:
        config = RunConfig.model_validate({"night": {"recluster_every": every}})
        return reclustering.due(layout, catalog, "tile", day(number), config, settings_key="s")

    return reason


def recluster(
    catalog: Catalog, key: str, labels: Mapping[str, int], number: int, *, n_usable: int | None = None
) -> None:
    """Record a re-clustering of some images, which says that it had as many."""
    found = catalog.standing("tile")
    match = match_partitions(found.partition, labels, taken=found.identities, merged_into=found.merged_into)
    of = Snapshot(key, day(number), "s", "r", {}, "m", None, 0.1, 0.5, n_usable or len(labels), "auto")
    catalog.record_snapshot(
        SnapshotFact("tile", key, NOON + timedelta(days=number), len(labels), 0.5, of.details),
        night=day(number),
        match=match,
        assignments=[
            AssignmentFact(one, None if one in found.wrong else match.ids[label], 0.1, 1.0)
            for one, label in labels.items()
        ],
        found=found,
    )


def come(
    catalog: Catalog,
    into: Mapping[str, str | None],
    number: int,
    *,
    taken: int | None = None,
    born: str | None = None,
) -> None:
    """Record a night whose images go into clusters, one of them new; they may be taken on another night."""
    moment = NOON + timedelta(days=number)
    catalog.record_night(
        NightFact("tile", day(number), "done", "k", moment, moment, {}),
        new=[image(content, number if taken is None else taken) for content in into],
        assignments=[AssignmentFact(content, cluster, 0.5, 0.9) for content, cluster in into.items()],
        born={} if born is None else {born: {}},
    )


def test_unknown_images_since_the_last_clustering_are_a_reason(catalog: Catalog, due: Due) -> None:
    """Five of ten are; four of ten are too few to say anything."""
    come(catalog, dict.fromkeys("abcd") | dict.fromkeys("uvwxyz", "c1"), 1)
    assert due(1) is None
    come(catalog, dict.fromkeys("e"), 2)
    assert due(2) == "5 of 11 images since the last clustering are unknown"


def test_images_that_are_marked_as_wrong_are_no_reason(catalog: Catalog, due: Due) -> None:
    """Neither those of the last clustering, which leaves them without a cluster, nor those that came since."""
    old = [f"{at:02d}" for at in range(5)]
    catalog.mark_wrong("tile", old, who="kim")
    recluster(catalog, "s2", {f"{at:02d}": at // 10 for at in range(20)}, 1)
    assert catalog.n_unknown("tile") == 5
    come(catalog, dict.fromkeys("abcdefgh", "c1"), 2)
    assert due(2) is None
    catalog.mark_wrong("tile", list("abcdef"), who="kim")
    assert (catalog.n_unknown("tile"), due(2)) == (11, None)


def test_a_snapshot_without_a_cluster_is_a_reason(catalog: Catalog, due: Due) -> None:
    """New images can be given to no cluster where a person retired all; a cluster born since is not one of them."""
    catalog.retire("tile", "c1", who="kim")
    come(catalog, {"a": "c2"}, 1)
    assert due(1) is None
    catalog.retire("tile", "c2", who="kim")
    assert due(1) == "no cluster of the last clustering is left"
    come(catalog, {"b": "c3", "c": "c3", "d": "c3"}, 2, born="c3")
    assert due(2) == "no cluster of the last clustering is left"


def test_images_of_later_nights_do_not_stop_reclusterings(catalog: Catalog, due: Due) -> None:
    """A snapshot of an earlier version counted them: images that came since were fewer than none."""
    come(catalog, dict.fromkeys("vwxyz", "c1"), 1, taken=400)
    recluster(catalog, "s2", {f"{at:02d}": at // 10 for at in range(20)}, 1, n_usable=25)
    come(catalog, dict.fromkeys("abc", "c1"), 9)
    assert due(9, every=7) == "the last clustering is 8 nights old"


def test_unknown_images_of_later_nights_are_no_reason(catalog: Catalog, due: Due) -> None:
    """They count in their own night."""
    come(catalog, dict.fromkeys("abcdef"), 1, taken=5)
    come(catalog, dict.fromkeys("xyz", "c1"), 2)
    assert due(2) is None
    assert due(5) == "6 of 9 images since the last clustering are unknown"
