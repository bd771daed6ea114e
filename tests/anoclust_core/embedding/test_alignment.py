"""Whether a camera is fixed, told from made pictures whose shifts are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, rotate

from anoclust_core.embedding.alignment import FEWEST, Alignment, align, laid_together
from anoclust_core.errors import ArrayContractError

SIDE = 96
SHIFTS = np.array([(0, 0), (6, -6), (-3, 2), (1, 5), (-6, 0), (2, -1), (0, 3), (4, 4)])


def part(seed: int) -> NDArray[np.float64]:
    """Surface with structure, larger than a picture of it."""
    rough = gaussian_filter(np.random.default_rng(seed).normal(size=(SIDE + 32, SIDE + 32)), 1.5)
    return np.asarray(128 + 40 * rough / rough.std())


def shot(surface: NDArray[np.float64], row: int, column: int, *, seed: int, noise: float = 6.0) -> NDArray[np.float64]:
    """Picture of a surface, which lies so far below and to the right of its place, with noise of its own."""
    top, left = 16 - row, 16 - column
    seen = surface[top : top + SIDE, left : left + SIDE]
    return seen + np.random.default_rng(seed).normal(0, noise, seen.shape)


def aligned(*shifts: tuple[int, int]) -> Alignment:
    surface = part(0)
    return align(np.stack([shot(surface, *by, seed=seed) for seed, by in enumerate(shifts)]))


def test_a_fixed_camera_is_told() -> None:
    """Pictures of one surface that differ by noise alone agree as they lie."""
    found = aligned(*[(0, 0)] * 8)
    assert found.verdict == "aligned"
    assert found.as_they_lie > 0.9
    assert found.largest == 0
    assert found.agrees.all()


def test_shifts_are_measured() -> None:
    """Shifts of up to 6 pixels are found to half a pixel, but for one that all have in common."""
    found = aligned(*[(int(row), int(column)) for row, column in SHIFTS])
    assert found.verdict == "shifted"
    assert found.shifted > 0.9 > 0.5 > found.as_they_lie
    expected = SHIFTS - np.median(SHIFTS, axis=0)
    assert np.abs(found.shifts - expected).max() < 0.5
    assert 5 <= found.largest <= 7


@pytest.mark.parametrize("kind", ["unrelated", "rotated", "light alone", "flat"])
def test_pictures_that_agree_nowhere_are_not_aligned(kind: str) -> None:
    """Other surfaces, one surface turned at random, plain ones under the same light, and pictures of nothing."""
    random = np.random.default_rng(0)
    light = np.linspace(60, 200, SIDE)[None] + np.zeros((SIDE, 1))
    makers: dict[str, Any] = {
        "unrelated": lambda seed: shot(part(seed), 0, 0, seed=seed),
        "rotated": lambda seed: rotate(shot(part(0), 0, 0, seed=seed), random.uniform(20, 340), reshape=False),
        "light alone": lambda _: light + random.normal(0, 6, light.shape),
        "flat": lambda _: np.full((SIDE, SIDE), 90.0),
    }
    found = align(np.stack([makers[kind](seed) for seed in range(8)]))
    assert found.verdict == "not aligned"
    assert found.shifted < 0.4


def test_one_stranger_does_not_change_the_verdict() -> None:
    """A picture of something else among those of a fixed camera does not agree, and the others still do."""
    surface = part(0)
    found = align(np.stack([*(shot(surface, 0, 0, seed=seed) for seed in range(7)), shot(part(1), 0, 0, seed=8)]))
    assert found.verdict == "aligned"
    assert found.agrees.tolist() == [True] * 7 + [False]


def test_shifted_pictures_are_laid_on_each_other() -> None:
    """What is shifted by known amounts lies on each other afterwards, without the edges."""
    surface = part(0)
    pictures = np.stack([shot(surface, int(r), int(c), seed=0, noise=0) for r, c in SHIFTS])
    found = align(pictures)
    laid = laid_together(pictures, found)
    assert SIDE - 2 * 8 <= laid.shape[1] == laid.shape[2] <= SIDE - 2 * 6
    assert laid.std(axis=0).mean() < 0.2 * pictures.std(axis=0).mean()


def test_what_is_too_little_is_refused() -> None:
    """Too few pictures and values that are no numbers are refused; so is another number of pictures than shifts."""
    pictures = np.stack([shot(part(0), 0, 0, seed=seed) for seed in range(FEWEST)])
    with pytest.raises(ArrayContractError, match="found"):
        align(pictures[:-1])
    with pytest.raises(ArrayContractError, match="finite pictures, found 1"):
        align(np.where(np.arange(pictures.size).reshape(pictures.shape) == 5, np.nan, pictures))
    with pytest.raises(ArrayContractError, match=f"each of {FEWEST} shifts, found 2"):
        laid_together(pictures[:2], align(pictures))
