"""Growth of clusters: what their history is, and of which night it is told."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

import pytest

from tasks.night.watch import HISTORY_NIGHTS, grown, growth_signals
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


SURGE = {0: 0, 1: 30} | dict.fromkeys(range(2, 61), 2)
"""Two scratches a night, thirty last night, and nothing yet tonight."""


def of_last_night() -> list[NightCount]:
    return [one for one in counted(SURGE) if one.night < TONIGHT]


def test_growth_is_told_of_the_night_before_where_tonight_has_no_image() -> None:
    """A command that runs after the day starts takes up images of a night that is over: its growth is told."""
    found, late = grown(of_last_night(), TONIGHT, {back(1)}, BORN, {"c1"})
    assert found["c2"].alarm
    assert found["c2"].value == 30
    assert not found["c1"].alarm
    assert late == {"c1": back(1), "c2": back(1)}
    as_then = growth_signals(of_last_night(), back(1), BORN, {"c1"})
    assert found == as_then


def test_nights_without_late_images_are_not_judged_again() -> None:
    """Nothing new, nothing told; images of tonight are judged as if no others were there."""
    assert grown(of_last_night(), TONIGHT, set(), BORN, {"c1"}) == ({}, {})
    tonight = [*of_last_night(), NightCount(TONIGHT, "c1", 40), NightCount(TONIGHT, "c2", 3)]
    assert grown(tonight, TONIGHT, {TONIGHT}, BORN, {"c1"}) == (growth_signals(tonight, TONIGHT, BORN, {"c1"}), {})


def test_late_images_are_judged_by_their_night() -> None:
    """Thirty scratches that came a night late are told where tonight has none; what grows tonight is of tonight."""
    usual = [*of_last_night(), NightCount(TONIGHT, "c1", 40)]
    found, late = grown(usual, TONIGHT, {TONIGHT, back(1)}, BORN, {"c1"})
    assert (found["c2"].alarm, late) == (True, {"c2": back(1)})
    more = [*of_last_night(), NightCount(TONIGHT, "c1", 40), NightCount(TONIGHT, "c2", 60)]
    found, late = grown(more, TONIGHT, {TONIGHT, back(1)}, BORN, {"c1"})
    assert (found["c2"].value, late) == (60, {})


def test_a_first_delivery_tells_no_growth_of_its_nights() -> None:
    """All clusters are born tonight, whatever nights their images are of."""
    nights = {back(ago) for ago in range(1, 40)}
    born = {"c1": TONIGHT, "c2": TONIGHT}
    assert grown(of_last_night(), TONIGHT, nights, born, {"c1"}) == ({}, {})
