"""How many images came: half is told, chance is not, and a night that was told as a fault is no history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np

from tasks.night.notify import CAMERA
from tasks.night.watch import CAMERA_ALARMS, _fewer
from tasks.stores.catalog.facts import NightFact, NoticeFact

FIRST = date(2026, 11, 1)
NOW = datetime(2026, 11, 20, tzinfo=UTC)


def nights_of(counts: Sequence[int]) -> list[NightFact]:
    """Make nights in a row with so many images each."""
    return [
        NightFact("part", FIRST + timedelta(days=at), "done", "", NOW, NOW, {"new": count})
        for at, count in enumerate(counts)
    ]


def told(number: int) -> NoticeFact:
    """Make what was told of a night with few images."""
    payload = {"category": "part", "what": "images", "value": 3.0, "limit": 0.5, "over": 1}
    return NoticeFact("part", f"camera images {number}", FIRST + timedelta(days=number), CAMERA, payload)


def is_told(counts: Sequence[int], before: Sequence[NoticeFact] = ()) -> bool:
    """Whether the last of some nights has few images."""
    *past, tonight = counts
    night = FIRST + timedelta(days=len(past))
    found = _fewer(night, {"new": tonight}, nights_of(past), before)
    return "images" in found and found["images"].alarm


def draws(usual: float, n_nights: int, seed: int) -> list[int]:
    """Draw the images of nights whose throughput varies by a tenth."""
    rng = np.random.default_rng(seed)
    return rng.poisson(usual * np.exp(rng.normal(0, 0.1, n_nights))).tolist()


def test_half_of_the_images_is_told() -> None:
    """Of 100 nights that have half of sixty images, after three weeks, seven of ten are told."""
    found = sum(is_told([*draws(60, 20, seed), *draws(30, 1, 1000 + seed)]) for seed in range(100))
    assert found >= 60


def test_chance_is_hardly_ever_told() -> None:
    """Nights that only vary are told about as seldom as the rate says: half of that of the camera."""
    n_nights = 2000
    found = sum(is_told(draws(60, 21, seed)) for seed in range(n_nights))
    rate = CAMERA_ALARMS / 2
    assert found <= n_nights * rate + 3 * np.sqrt(n_nights * rate)


def test_a_night_told_as_a_fault_is_no_history() -> None:
    """One picture in a night, which was told, neither hides the next fault nor makes a usual night one."""
    usual = [22, 20, 25, 21, 23, 19, 24, 22, 20, 23]
    assert is_told([*usual, 1])
    assert is_told([*usual, 1, *usual[:4], 1], [told(10)])
    assert not is_told([*usual, 1, *usual[:4], 20], [told(10)])


def test_a_silent_night_is_told_also_after_faults_alone() -> None:
    """Where every night before was told as a fault, these say what is usual."""
    assert is_told([5, 5, 5, 0], [told(0), told(1), told(2)])


def test_a_first_delivery_of_months_is_no_usual_night() -> None:
    """After a backlog a third of the usual images is told all the same, and a usual night is none."""
    usual = [22, 20, 25, 21, 23, 19, 24]
    assert is_told([2000, *usual, 7])
    assert not is_told([2000, *usual, 20])
