"""A re-clustering becomes the snapshot of the next nights."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from three_kinds import NAMES, NOW

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
