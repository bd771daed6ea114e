"""Whether patches are compared near their own place only: what decides it, what it changes in keys, what is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.builders import config_of
from scipy.ndimage import gaussian_filter, shift

from anoclust_core.config.setting import MAX_TILES
from anoclust_core.embedding.alignment import Alignment, align
from anoclust_core.embedding.fixed_camera import Steadiness, aligned_note, aligned_spec, check_number
from anoclust_core.embedding.resizing import Resize
from anoclust_core.embedding.tiles import check_tiles
from anoclust_core.errors import ConfigError
from anoclust_core.records import EmbeddingSpec, Window
from tasks.stores.stage_keys import settings_key

SPEC = EmbeddingSpec("b", "b", "w", (1,), 256, "bicubic", (0.5,) * 3, (0.5,) * 3, 3, (16, 16), 24)
TILED = SPEC.in_tiles((4, 4))
STEADY = Steadiness("shifted", 1.0, (0.02, 0.01))
LOOSE = replace(STEADY, spread=(0.01, 0.1))
MOVING = Steadiness("not aligned", 0.2, (0.0, 0.0))


def pictures(shifts: list[tuple[float, float]]) -> np.ndarray:
    """Draw small pictures of one part, each moved by rows and columns, with noise of its own."""
    rng = np.random.default_rng(0)
    part = 40 * gaussian_filter(rng.normal(size=(128, 128)), 1.5)
    return np.stack([shift(part, by, order=3, mode="nearest") + 0.5 * rng.normal(size=part.shape) for by in shifts])


def test_spread_is_how_far_two_frames_lie_apart() -> None:
    """Frames two pixels above and one below their place lie three apart, of 128."""
    found = Steadiness.of(align(pictures([(0, 0), (-2, 1), (1, 0), (0, 0), (0, -1), (0, 0)])), (128, 128))
    assert found.verdict == "shifted"
    assert found.agreeing == 1
    np.testing.assert_allclose(found.spread, (3 / 128, 2 / 128), atol=0.3 / 128)
    assert found.cells((128, 64)) == pytest.approx(3, abs=0.3)


@pytest.mark.parametrize(
    ("resize", "tiles", "cells"),
    [("squash", (2, 2), 2.4), ("crop", (2, 2), 9.6), ("crop", (1, 2), 4.8), ("pad", (2, 2), 2.4)],
)
def test_cells_are_those_of_what_is_seen(resize: Resize, tiles: tuple[int, int], cells: float) -> None:
    """Frames of 4,000 x 1,000 pixels that lie 300 pixels apart: a cropped one has fewer pixels in a cell."""
    spec = SPEC.in_tiles(tiles).resized_by(resize)
    found = Steadiness("shifted", 1.0, (0.0, 300 / 4000)).seen_by(spec, (1000, 4000))
    assert found.cells(spec.grid) == pytest.approx(cells)
    assert found.seen_by(spec, None) == found


def test_a_padded_frame_is_a_part_of_what_is_seen() -> None:
    """A quarter of the square's height: what moves by a tenth of the frame moves by a fortieth of the grid."""
    spec = SPEC.in_tiles((2, 2)).resized_by("pad")
    tall = Steadiness("shifted", 1.0, (0.1, 0.0)).seen_by(spec, (4000, 1000))
    flat = Steadiness("shifted", 1.0, (0.1, 0.0)).seen_by(spec, (1000, 4000))
    assert (tall.cells(spec.grid), flat.cells(spec.grid)) == (pytest.approx(3.2), pytest.approx(0.8))


def test_frames_that_disagree_do_not_count() -> None:
    """The spread is that of pictures that agree; where none does it is 0, and nothing fits."""
    none = Alignment(0.1, 0.1, np.array([[5.0, 5.0], [-5.0, 0.0]]), np.array([False, False]))
    found = Steadiness.of(none, (128, 128))
    assert (found.spread, found.agreeing) == ((0.0, 0.0), 0.0)
    assert not found.fits(Window((64, 64), 8))
    assert not replace(STEADY, agreeing=0.8).fits(Window((64, 64), 8))


@pytest.mark.parametrize(
    ("spec", "asked", "found", "within"),
    [
        (TILED, {}, STEADY, 2),
        (TILED, {"window": 1}, STEADY, 1),
        (TILED, {"window": 0}, STEADY, None),
        (TILED, {}, LOOSE, None),
        (TILED, {"window": 6}, LOOSE, 6),
        (TILED, {}, MOVING, None),
        (TILED, {}, None, None),
        (TILED, {"aligned": False}, STEADY, None),
        (TILED, {"aligned": True}, MOVING, 2),
        (SPEC, {}, STEADY, None),
        (SPEC, {"aligned": True}, None, 2),
    ],
)
def test_who_decides(
    spec: EmbeddingSpec, asked: dict[str, object], found: Steadiness | None, within: int | None
) -> None:
    """What is asked for; else tiles of a camera that moves no farther than the window reaches, and one cell."""
    assert aligned_spec(spec, config_of(**asked).pair, found).aligned_within == within


def test_the_window_is_in_keys_of_distances_only() -> None:
    """Embeddings are the same; keys of distances and nights differ by the window, and are as ever without."""
    config = config_of()
    near, nearer = (aligned_spec(TILED, config_of(aligned=True, window=cells).pair, None) for cells in (2, 1))
    assert near.identity == TILED.identity
    assert near.network_identity == TILED.network_identity
    assert len({settings_key(config, spec) for spec in (TILED, near, nearer)}) == 3
    away = aligned_spec(near, config_of(aligned=False).pair, STEADY)
    assert away == TILED


@pytest.mark.parametrize(
    ("asked", "found", "words"),
    [
        ({}, STEADY, "because the camera is fixed: frames lie at most 1.3 cells apart"),
        ({}, LOOSE, "lie up to 6.4 cells apart, more than --window 2 covers"),
        ({}, MOVING, "not fixed: 20% of the frames"),
        ({}, None, "Too few frames"),
        ({"aligned": True}, None, "at most 2 cells from their own place in other frames, as --aligned true asks"),
    ],
)
def test_a_run_says_which_and_why(asked: dict[str, object], found: Steadiness | None, words: str) -> None:
    """One sentence with the numbers that it was decided by."""
    config = config_of(**asked).pair
    note = aligned_note(aligned_spec(TILED, config, found), config, found)
    assert note is not None
    assert words in note


def test_nothing_is_said_where_nobody_asks() -> None:
    """Not without tiles, and not where false is asked for."""
    assert aligned_note(SPEC, config_of().pair, None) is None
    assert aligned_note(TILED, config_of(aligned=False).pair, STEADY) is None


def test_many_tiles_need_a_fixed_camera() -> None:
    """192 tiles are taken where patches are compared near their own place, and refused with the reason elsewhere."""
    spec = SPEC.in_tiles((12, 16))
    assert spec.n_tiles == 192 > MAX_TILES
    check_number(aligned_spec(spec, config_of().pair, replace(STEADY, spread=(0.01, 0.01))), config_of().pair, STEADY)
    check_number(SPEC.in_tiles((8, 16)), config_of().pair, MOVING)
    for asked, found, words in (
        ({}, MOVING, "The camera is not fixed"),
        ({}, None, "Too few frames"),
        ({"aligned": False}, STEADY, "--aligned false asks"),
    ):
        config = config_of(**asked)
        with pytest.raises(ConfigError, match=rf"192 tiles .* the limit is 128.*{words}.*--aligned true"):
            check_number(aligned_spec(spec, config.pair, found), config.pair, found)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (
            {"tiles": "12x16", "aligned": False, "reference_patches": "all"},
            "192 tiles; with --aligned false and --reference-patches all the limit is 128",
        ),
        ({"recipe": "blind", "aligned": True}, "recipe blind compares no images"),
    ],
)
def test_what_cannot_be_is_refused_at_once(asked: dict[str, object], words: str) -> None:
    """Before any image is read."""
    with pytest.raises(ConfigError, match=words):
        check_tiles(config_of(**asked))
    check_tiles(config_of(tiles="12x16"))
