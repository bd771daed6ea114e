"""Growth of clusters: what their history is, and of which night it is told."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

import pytest

from tasks.night.watch import HISTORY_NIGHTS, growth_signals
from tasks.stores.catalog.facts import NightCount

TONIGHT = date(2026, 11, 20)
LONG_AGO = date(2026, 1, 1)
BORN = {"c1": LONG_AGO, "c2": LONG_AGO}


def back(nights: int) -> date:
    return TONIGHT - timedelta(days=nights)


def counted(of_c2: Mapping[int, int], *, n_nights: int = 60, good: int = 40) -> list[NightCount]:
    """Make nights with as many good parts each, and images of c2 on some, by how many nights ago."""
    return [
        NightCount(back(ago), cluster, count)
        for ago in range(n_nights, -1, -1)
        for cluster, count in (("c1", good), ("c2", of_c2.get(ago, 0)))
        if count
    ]


@pytest.mark.parametrize("gap", [1, 10, HISTORY_NIGHTS, HISTORY_NIGHTS + 1, 50])
def test_a_known_defect_that_comes_back_is_told(gap: int) -> None:
    """However long ago its last image was: nights without one are its history."""
    signal = growth_signals(counted({0: 20} | dict.fromkeys(range(gap, 61), 2)), TONIGHT, BORN, {"c1"})["c2"]
    assert signal.alarm
    assert signal.n_nights == HISTORY_NIGHTS
    assert signal.expected < 3


def test_the_history_of_a_young_cluster_begins_with_its_first_image() -> None:
    """Nights before that say nothing about it."""
    counts = counted({0: 3} | dict.fromkeys(range(1, 6), 3))
    signal = growth_signals(counts, TONIGHT, BORN | {"c2": back(5)}, {"c1"})["c2"]
    assert (signal.n_nights, signal.alarm) == (5, False)
