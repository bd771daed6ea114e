"""How many images came: half is told, chance is not, and a night that was told as a fault is no history."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np

from anoclust_core.matching.drift import DriftSignal
from tasks.night.gather import _of_camera
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


def signal_of(counts: Sequence[int], before: Sequence[NoticeFact] = ()) -> DriftSignal | None:
    """Judge how many images came in the last of some nights."""
    *past, tonight = counts
    night = FIRST + timedelta(days=len(past))
    return _fewer(night, {"new": tonight}, nights_of(past), before).get("images")


def is_told(counts: Sequence[int], before: Sequence[NoticeFact] = ()) -> bool:
    """Whether the last of some nights has few images."""
    signal = signal_of(counts, before)
    return signal is not None and signal.alarm


def words_of(counts: Sequence[int], *, unit: str = "image") -> str:
    """What is told of the last of some nights."""
    signal = signal_of(counts)
    assert signal is not None
    assert signal.alarm
    return _of_camera("images", signal, {"new": counts[-1]}, unit=unit)


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


USUAL = [58, 60, 62, 59, 61] * 4


def test_what_is_told_names_the_nights_that_it_is_of() -> None:
    """Four nights of fewer images, of which tonight's is hardly one: their number and what was usual before them."""
    assert words_of([*USUAL, 75, 47, 47, 47, 58]) == "in the last 4 nights 50 images a night came, 61 were usual before"
    assert words_of([*USUAL, 20]) == "only 20 images came, 60 are usual"
    assert words_of([*USUAL, 0]) == "no image came, 60 are usual"


def test_fewer_came_than_are_usual_in_every_sentence() -> None:
    """Whatever nights came before, and however many nights it is told of."""
    n_told = 0
    for seed in range(300):
        counts = [*draws(60, 20, seed), *draws(45, 8, 1000 + seed)]
        for n_nights in range(21, len(counts) + 1):
            if is_told(counts[:n_nights]):
                *_, came, usual = map(int, re.findall(r"\d+", words_of(counts[:n_nights])))
                assert came < usual
                n_told += 1
    assert n_told > 100


def test_parts_are_called_parts() -> None:
    """With --by part the number is of parts."""
    assert words_of([*USUAL, 20], unit="part") == "only 20 parts came, 60 are usual"
    assert words_of([*USUAL, 1], unit="part") == "only 1 part came, 60 are usual"
    assert words_of([*USUAL, 0], unit="part") == "no part came, 60 are usual"
