"""More unknown images than usual, by recipes that measure rarity every night and by those that do not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime

import pytest

from tasks.night.watch import _unknown
from tasks.stores.catalog.facts import NightFact

NOW = datetime(2026, 11, 20, tzinfo=UTC)

Counted = Callable[[int], dict[str, float]]


def by_blind(unknown: int) -> dict[str, float]:
    """Counters of a night by recipe blind: maps of two trainings have no common unit, so it has no rarity."""
    return {"new": 20, "assigned": 20 - unknown, "unknown": unknown, "one_by_one": 20}


def by_an_earlier_version(unknown: int) -> dict[str, float]:
    """Counters of a night that does not say how many images were given to clusters one by one."""
    return {"new": 20, "assigned": 20 - unknown, "unknown": unknown, "rarity": 0.5, "rarity_error": 0.1}


def waiting(unknown: int) -> dict[str, float]:
    """Counters of a night whose images wait for a re-clustering."""
    return {"new": unknown, "assigned": 0, "unknown": unknown, "one_by_one": 0}


def nights_of(counted: Counted, unknown: int) -> list[NightFact]:
    return [NightFact("part", date(2026, 11, 1 + at), "done", "", NOW, NOW, counted(unknown)) for at in range(10)]


@pytest.mark.parametrize("counted", [by_blind, by_an_earlier_version])
def test_many_unknown_images_are_told(counted: Counted) -> None:
    """After ten nights without any, eighteen of twenty are a surge, and none is not."""
    surge, usual = _unknown(counted(18), nights_of(counted, 0)), _unknown(counted(0), nights_of(counted, 0))
    assert surge is not None
    assert (surge.alarm, surge.n_nights) == (True, 10)
    assert usual is not None
    assert not usual.alarm


def test_images_that_wait_for_a_re_clustering_are_no_surge() -> None:
    """Nobody asked yet which cluster they belong to; such nights say nothing about what is usual either."""
    assert _unknown(waiting(20), nights_of(by_blind, 0)) is None
    tonight = _unknown(by_blind(18), nights_of(waiting, 20))
    assert tonight is not None
    assert tonight.n_nights == 0
