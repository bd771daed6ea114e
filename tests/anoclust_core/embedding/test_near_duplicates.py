"""Near-duplicates, told from other pictures of the same part under the same camera."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from anoclust_core.embedding.alignment import align, laid_together
from anoclust_core.embedding.near_duplicates import FEWEST, near_duplicates
from anoclust_core.errors import ArrayContractError

SIDE, SMALL = 256, 64


def part() -> NDArray[np.float64]:
    rough = gaussian_filter(np.random.default_rng(0).normal(size=(SIDE + 16, SIDE + 16)), 4)
    return np.asarray(128 + 40 * rough / rough.std())


def shots(n: int, *, shift: int = 0, lamp: float = 0.0) -> list[NDArray[np.uint8]]:
    """Pictures of one part, each with noise of its own, under a camera and a lamp that may change."""
    surface, found = part(), []
    for seed in range(n):
        random = np.random.default_rng(seed)
        row, column = random.integers(0, shift + 1, 2)
        seen = surface[row : row + SIDE, column : column + SIDE] * (1 + lamp * seed)
        found.append((seen + random.normal(0, 8, seen.shape)).clip(0, 255).astype(np.uint8))
    return found


def jpeg(picture: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Picture after it was compressed."""
    into = io.BytesIO()
    Image.fromarray(picture).save(into, "JPEG", quality=quality)
    return np.asarray(Image.open(into))


def small(pictures: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
    sides = (SMALL, SMALL)
    return np.stack(
        [np.asarray(Image.fromarray(one).resize(sides, Image.Resampling.BOX), dtype=np.float64) for one in pictures]
    )


@pytest.mark.parametrize("quality", [70, 90])
def test_a_recompressed_picture_is_a_near_duplicate(quality: int) -> None:
    """A picture that was saved once more as JPEG, alone among pictures of the same part."""
    pictures = shots(12)
    assert near_duplicates(small([*pictures, jpeg(pictures[3], quality)])) == [(3, 12)]


def test_a_resized_picture_is_a_near_duplicate() -> None:
    """A picture that was saved at another size."""
    pictures = shots(12)
    half = np.asarray(Image.fromarray(pictures[5]).resize((SIDE // 2, SIDE // 2)))
    assert near_duplicates(small([*pictures, half])) == [(5, 12)]


def test_a_series_of_copies_is_one_group() -> None:
    """Three copies of one picture are one group, and so are those that are identical."""
    pictures = shots(12)
    copies = [jpeg(pictures[2], 90), jpeg(pictures[2], 80), pictures[7]]
    assert near_duplicates(small([*pictures, *copies])) == [(2, 12, 13), (7, 14)]


@pytest.mark.parametrize("lamp", [0.0, 0.03])
def test_pictures_of_the_same_part_are_none(lamp: float) -> None:
    """Under a fixed camera all pictures look alike, also where the lamp changes; they are no copies."""
    assert near_duplicates(small(shots(14, lamp=lamp))) == []


def test_two_kinds_of_parts_are_none() -> None:
    """Each kind looks alike, and differs from the other far more: still no copies."""
    dark = [(255 - one).astype(np.uint8) for one in shots(16)[8:]]
    assert near_duplicates(small([*shots(8), *dark])) == []


def test_a_camera_that_moves_makes_none_once_pictures_are_laid_on_each_other() -> None:
    """Two pictures with the same shift are no copies; a real copy is still found."""
    pictures = shots(12, shift=12)
    copied = np.stack([one.astype(np.float64) for one in [*pictures, jpeg(pictures[3], 90)]])
    halves = copied.reshape(13, 128, 2, 128, 2).mean(axis=(2, 4))
    assert near_duplicates(laid_together(halves, align(halves))) == [(3, 12)]


def test_too_few_pictures_have_none() -> None:
    """What copies look like is only known beside other pictures."""
    assert near_duplicates(small([*shots(1), *shots(1)])) == []
    pictures = shots(FEWEST - 1)
    assert near_duplicates(small([*pictures, pictures[0]])) == [(0, FEWEST - 1)]


def test_what_is_not_finite_is_refused() -> None:
    """Values that are no numbers are refused, with their number."""
    with pytest.raises(ArrayContractError, match="finite pictures, found 64"):
        near_duplicates(np.full((1, 8, 8), np.nan))
