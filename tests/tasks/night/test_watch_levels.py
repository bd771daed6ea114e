"""Rarity and the figures of pictures on nights with few images: chance is not told, and more images count more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime

import numpy as np
import pytest

from anoclust_core.matching.drift import median_and_error
from tasks.night.watch import CAMERA_ALARMS, RARITY_ALARMS, _looks, _of_more, _rarity
from tasks.stores.catalog.facts import NightFact

NOW = datetime(2026, 11, 20, tzinfo=UTC)
N_STREAMS = 400

Draw = Callable[[np.random.Generator, int], dict[str, float]]


def rarity_of(draws: np.random.Generator, n_images: int) -> dict[str, float]:
    level, error = median_and_error(draws.normal(1, 0.2, n_images))
    return {"new": n_images, "rarity": level, "rarity_error": error, "rarity_images": n_images}


def look_of(draws: np.random.Generator, n_images: int) -> dict[str, float]:
    """Figures of a night of an earlier version, which does not say how many pictures they are of."""
    level, error = median_and_error(draws.normal(100, 10, min(n_images, 48)))
    return {"new": n_images, "brightness": level, "brightness_error": error}


def is_told(draw: Draw, n_images: int, seed: int) -> bool:
    """Whether a night like the twenty before it, of sixty images each, is told."""
    draws = np.random.default_rng(seed)
    past = [NightFact("part", date(2026, 11, 1), "done", "", NOW, NOW, draw(draws, 60)) for _ in range(20)]
    tonight = draw(draws, n_images)
    signal = _rarity(tonight, past) if "rarity" in tonight else _looks(tonight, past)["brightness"]
    return signal is not None and signal.alarm


@pytest.mark.parametrize("n_images", [1, 2, 3, 5, 8])
@pytest.mark.parametrize(("draw", "rate"), [(rarity_of, RARITY_ALARMS), (look_of, CAMERA_ALARMS / 6)])
def test_chance_is_hardly_ever_told_of_few_images(draw: Draw, rate: float, n_images: int) -> None:
    """As seldom as the rate says, although so few images hardly tell how sure they are."""
    found = sum(is_told(draw, n_images, seed) for seed in range(N_STREAMS))
    assert found <= N_STREAMS * rate + 3 * np.sqrt(N_STREAMS * rate)


def test_a_single_defect_is_no_shift_of_rarity() -> None:
    """Of one or two images nothing is said: a part that is far rarer than all others is found by its cluster."""
    past = [
        NightFact("part", date(2026, 11, 1), "done", "", NOW, NOW, rarity_of(np.random.default_rng(seed), 60))
        for seed in range(20)
    ]
    assert _rarity({"new": 2, "rarity": 9.0, "rarity_error": 0.0, "rarity_images": 2}, past) is None


def test_a_late_handful_does_not_replace_the_figures_of_the_night() -> None:
    """A second call of a night measures its own pictures; those of more count."""
    first = {"looked_at": 48, "brightness": 100.0, "brightness_error": 1.0, "seen": 60}
    late = {"looked_at": 3, "brightness": 140.0, "brightness_error": 9.0, "seen": 63}
    assert _of_more(first, late) == {"seen": 63}
    assert _of_more(late, first) == first
    assert _of_more(first, {"seen": 63}) == {"seen": 63}
