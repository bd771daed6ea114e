"""Rarity and the figures of pictures on nights with few images: chance is not told, and more images count more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest

from anoclust_core.matching.capture import look_of, look_of_night
from anoclust_core.matching.drift import median_and_error
from anoclust_core.records import Cover, EmbeddingSpec
from tasks.night.assign import rarity_scale
from tasks.night.watch import CAMERA_ALARMS, RARITY_ALARMS, _looks, _of_more, _rarity
from tasks.stores.catalog.facts import NightFact
from tasks.stores.nights.folders import RARITY_SCALE
from tasks.stores.nights.snapshots import Yardstick

NOW = datetime(2026, 11, 20, tzinfo=UTC)
N_STREAMS = 400

Draw = Callable[[np.random.Generator, int], dict[str, float]]


def rarity_of(draws: np.random.Generator, n_images: int) -> dict[str, float]:
    level, error = median_and_error(draws.normal(1, 0.2, n_images))
    return {"new": n_images, "rarity": level, "rarity_error": error, "rarity_images": n_images}


def brightness_of(draws: np.random.Generator, n_images: int) -> dict[str, float]:
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
@pytest.mark.parametrize(("draw", "rate"), [(rarity_of, RARITY_ALARMS), (brightness_of, CAMERA_ALARMS / 6)])
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


def flat(grey: int) -> dict[str, float]:
    """Figures of 48 pictures of one grey level each."""
    pictures = [look_of(np.full((16, 16, 3), grey, np.uint8)) for _ in range(48)]
    brightness, sharpness, small = (np.array(values) for values in zip(*pictures, strict=True))
    return {**look_of_night(brightness, sharpness, small), "looked_at": 48, "new": 48}


def test_a_dead_backlight_is_told() -> None:
    """All pictures were white and are black, without any spread: darker, and nothing else; white again is nothing."""
    past = [NightFact("part", date(2026, 11, 1), "done", "", NOW, NOW, flat(255)) for _ in range(20)]
    dark = _looks(flat(0), past)
    assert [what for what, signal in dark.items() if signal.alarm] == ["brightness"]
    assert (dark["brightness"].value, dark["brightness"].expected) == (-255, 255)
    assert not any(signal.alarm for signal in _looks(flat(255), past).values())


SPEC = EmbeddingSpec("b", "b", "w", (1,), 64, "bicubic", (0.5,) * 3, (0.5,) * 3, 3, (8, 8), 3)
YARDSTICK = Yardstick("e", "cluster", ["a", "b"])


@pytest.mark.parametrize(
    ("spec", "yardstick"),
    [
        (replace(SPEC, layers=(2,)), YARDSTICK),
        (SPEC.resized_by("crop"), YARDSTICK),
        (SPEC.in_tiles((2, 2)), YARDSTICK),
        (replace(SPEC, aligned_within=2), YARDSTICK),
        (replace(SPEC, cover=Cover(16, 0)), YARDSTICK),
        (replace(SPEC, region="region-a"), YARDSTICK),
        (SPEC, replace(YARDSTICK, contents=["a", "c"])),
    ],
    ids=["layers", "resize", "tiles", "aligned", "reference patches", "region", "yardstick"],
)
def test_what_rarity_is_measured_by_is_its_scale(spec: EmbeddingSpec, yardstick: Yardstick) -> None:
    """Each setting that moves the level gives another number; the same ones give the same."""
    plain = rarity_scale("board", SPEC, YARDSTICK)
    assert rarity_scale("board", replace(SPEC), replace(YARDSTICK)) == plain
    assert rarity_scale("board", spec, yardstick) != plain
    assert float(plain) == plain


def nights_of(scales: list[int | None], level: float = 1.0) -> list[NightFact]:
    """Past nights of one level, each measured on a scale; None is of an earlier version."""
    found = []
    for at, scale in enumerate(scales):
        counters = rarity_of(np.random.default_rng(at), 60) | ({RARITY_SCALE: scale} if scale else {})
        counters["rarity"] += level - 1
        found.append(NightFact("part", date(2026, 11, 1 + at), "done", "", NOW, NOW, counters))
    return found


def test_nights_on_another_scale_are_no_history() -> None:
    """Another --image-size moves every level: nothing is told of it, and the history begins again."""
    tonight = rarity_of(np.random.default_rng(99), 60) | {"rarity": 1.6, RARITY_SCALE: 2}
    same, other = _rarity(tonight, nights_of([2] * 20)), _rarity(tonight, nights_of([1] * 20))
    assert same is not None
    assert same.alarm
    assert other is not None
    assert (other.alarm, other.n_nights) == (False, 0)


def test_an_upgrade_loses_no_history() -> None:
    """Nights that do not say their scale have that of the first night after them that does."""
    tonight = rarity_of(np.random.default_rng(99), 60) | {"rarity": 1.6, RARITY_SCALE: 2}
    old = _rarity(tonight, nights_of([None] * 20))
    assert old is not None
    assert (old.alarm, old.n_nights) == (True, 20)
    before = _rarity(tonight, nights_of([None] * 15 + [1] * 5))
    assert before is not None
    assert (before.alarm, before.n_nights) == (False, 0)
    both = _rarity(tonight, nights_of([1] * 5 + [None] * 5 + [2] * 5))
    assert both is not None
    assert both.n_nights == 10
