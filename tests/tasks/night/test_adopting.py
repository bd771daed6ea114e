"""A re-clustering becomes the snapshot of the next nights."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from three_kinds import NAMES, NOW, partition

from tasks.night.adopt import Adopted
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.facts import ImageFact
from tasks.stores.layout import StoreLayout
from tasks.stores.nights.snapshots import read_snapshot

Adopting = Callable[..., Adopted]


def test_images_of_later_nights_are_none_that_the_snapshot_had(layout: StoreLayout, adopting: Adopting) -> None:
    """They have no part in the re-clustering; counted, they would keep the next ones from coming."""
    later = [ImageFact(f"later {at}", f"{at}.png", NOW, date(2099, 1, 1)) for at in range(10)]
    with Catalog.open(layout.catalog) as catalog:
        catalog.record_images("board", later)
    adopting()
    with Catalog.open(layout.catalog) as catalog:
        latest = catalog.latest_snapshot("board")
    assert latest is not None
    assert read_snapshot(latest).n_usable == len(NAMES)


def test_a_retired_cluster_comes_back_as_another_one(layout: StoreLayout, adopting: Adopting) -> None:
    """Re-clustered on demand, with the same images: what was retired is found again, with a new identity, and told."""
    adopting()
    first, second = sorted(set(map(str, partition(layout))))
    with Catalog.open(layout.catalog) as catalog:
        catalog.retire("board", second, who="kim")
    adopted = adopting()
    (new,) = adopted.changes["born"]
    assert new not in {first, second}
    assert (adopted.changes["kept"], set(partition(layout))) == ([first], {first, new})
    with Catalog.open(layout.catalog) as catalog:
        assert {one.cluster: one.state for one in catalog.clusters("board")} == {
            first: "confirmed",
            second: "retired",
            new: "confirmed",
        }


def test_the_same_reclustering_again_tells_no_changes(layout: StoreLayout, adopting: Adopting) -> None:
    """Nothing was recorded, so nothing is said to have changed."""
    assert adopting().changes["born"]
    with Catalog.open(layout.catalog) as catalog:
        before = catalog.history("board")
    assert adopting() == Adopted()
    with Catalog.open(layout.catalog) as catalog:
        assert catalog.history("board") == before
