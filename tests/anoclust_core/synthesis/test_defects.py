"""Ten kinds of defects, more or less plainly drawn."""

from __future__ import annotations

import numpy as np
import pytest

from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.synthesis.defects import KINDS, draw_kind
from anoclust_core.synthesis.surfaces import DEFECT_TYPES


def surface(seed: int = 7, side: int = 112) -> np.ndarray:
    """Make a grey plane with fine grain."""
    return np.clip(np.random.default_rng(seed).normal(125, 12, size=(side, side)), 0, 255).astype(np.uint8)


def drawn(kind: str, seed: int, strength: float = 1.0) -> np.ndarray:
    return draw_kind(surface(), np.random.default_rng(seed), kind=kind, strength=strength)


def change(image: np.ndarray) -> np.ndarray:
    return np.abs(image.astype(int) - surface()[..., None].astype(int)).max(axis=2)


def test_the_four_of_the_demo_are_among_them() -> None:
    """What `draw_defect` draws can be drawn with a strength too."""
    assert set(DEFECT_TYPES) < set(KINDS)
    assert len(KINDS) == 10


@pytest.mark.parametrize("kind", KINDS)
def test_a_defect_is_seen_and_covers_only_a_part(kind: str) -> None:
    """Whatever the draw, some pixels change plainly and most of the picture hardly does."""
    for seed in range(20):
        image = drawn(kind, seed)
        assert image.shape == (112, 112, 3)
        assert image.dtype == np.uint8
        assert (change(image) > 30).mean() > 0.001
        assert (change(image) > 30).mean() < 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_half_the_strength_is_half_the_change(kind: str) -> None:
    """Strength is the weight of the defect: 0 leaves the surface, 0.5 changes it half as much as 1."""
    assert not change(drawn(kind, 1, strength=0)).any()
    half, whole = change(drawn(kind, 1, strength=0.5)), change(drawn(kind, 1))
    assert np.abs(2 * half - whole).max() <= 2


@pytest.mark.parametrize("kind", KINDS)
def test_same_generator_same_picture(kind: str) -> None:
    """The same draws give the same picture, other draws another one."""
    assert np.array_equal(drawn(kind, 1), drawn(kind, 1))
    assert not np.array_equal(drawn(kind, 1), drawn(kind, 2))


def test_what_cannot_be_drawn_is_refused() -> None:
    """A misspelt kind, a strength out of range and a colour image are refused in words."""
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigError, match=r"chatter, crack, .* got 'crak'"):
        draw_kind(surface(), rng, kind="crak")
    with pytest.raises(ConfigError, match=r"strength from 0 to 1, got 1\.5"):
        draw_kind(surface(), rng, kind="dent", strength=1.5)
    with pytest.raises(ArrayContractError, match=r"to be an array|grey uint8 image"):
        draw_kind(np.zeros((112, 112, 3), np.uint8), rng, kind="dent")
