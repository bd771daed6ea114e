"""Patches that count: those of a mask as the network sees the frame; the others change nothing, whatever they hold."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anoclust_core.pairwise.cpu import mutual_nearest_distances
from anoclust_core.records import EmbeddingSpec
from anoclust_core.weighting.auto import pool_level
from anoclust_core.weighting.auto_scoring import fit_scoring
from anoclust_core.weighting.places import usual_scores
from anoclust_core.weighting.regions import (
    Regions,
    filled,
    least_outside,
    nearest_inside,
    patches_inside,
    region_note,
    weights_inside,
)
from anoclust_core.weighting.weights import map_scores, soft_weights

SPEC = EmbeddingSpec("x", "x", "0", (2,), 64, "bilinear", (0.5,) * 3, (0.5,) * 3, 1, (4, 4), 3)
GRID = (3, 4)
SEEDS = st.integers(0, 2**32 - 1)


def drawn(seed: int, n_images: int = 3) -> tuple[np.random.Generator, NDArray[np.float32], NDArray[np.bool_]]:
    """Bags of unit norm, and which patches count: some of every image."""
    rng = np.random.default_rng(seed)
    bags = rng.normal(size=(n_images, 12, 5))
    bags /= np.linalg.norm(bags, axis=2, keepdims=True)
    inside = rng.random((n_images, 12)) < 0.5
    inside[np.arange(n_images), rng.integers(0, 12, n_images)] = True
    return rng, bags.astype(np.float32), inside


@pytest.mark.parametrize(
    ("looked_at", "expected"),
    [
        (np.s_[:, 16:], [0, 1, 1, 1]),
        (np.s_[:, 24:], [0, 1, 1, 1]),  # half of a patch is enough
        (np.s_[:, 25:], [0, 0, 1, 1]),
        (np.s_[:, :], [1, 1, 1, 1]),
        (np.s_[:, 20:27], [0, 0, 0, 0]),
    ],
)
def test_a_patch_counts_where_half_of_it_is_looked_at(looked_at: tuple[slice, slice], expected: list[int]) -> None:
    """On a frame of 64 pixels a side whose patches are 16 pixels."""
    mask = np.zeros((64, 64), np.bool_)
    mask[looked_at] = True
    assert patches_inside(mask, SPEC).reshape(4, 4).tolist() == [list(map(bool, expected))] * 4


@pytest.mark.parametrize("shape", [(64, 64), (1003, 2001)])
def test_a_mask_is_counted_some_rows_at_a_time(shape: tuple[int, int]) -> None:
    """The patches are those of the means over the whole mask; a large one takes two bytes a pixel, and no eight."""
    mask = np.random.default_rng(0).random(shape) < 0.5
    expected = map_scores([mask.astype(np.uint8)], SPEC.grid)[0] >= 0.5 - 1e-9
    large = np.ones((3000, 4000), np.bool_)
    np.testing.assert_array_equal(patches_inside(mask, SPEC), expected)
    tracemalloc.start()
    try:
        assert patches_inside(large, SPEC).all()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * large.size


def test_the_region_is_cut_as_its_frame_is() -> None:
    """Squashed, cropped, padded or in tiles: a place of the frame is the same patch for picture and region."""
    mask = np.zeros((100, 200), np.bool_)
    mask[:, 100:] = True  # the right half
    right = [[False, False, True, True]] * 4
    assert patches_inside(mask, SPEC).reshape(4, 4).tolist() == right
    assert patches_inside(mask, replace(SPEC, resize="crop")).reshape(4, 4).tolist() == right
    padded = patches_inside(mask, replace(SPEC, resize="pad")).reshape(4, 4)
    assert padded.tolist() == [[False] * 4, *right[1:3], [False] * 4]  # what is mirrored in lies outside
    in_tiles = patches_inside(mask, SPEC.in_tiles((1, 2))).reshape(4, 8)
    assert in_tiles.tolist() == [[False] * 4 + [True] * 4] * 4


def test_a_deeper_level_is_never_left_without() -> None:
    """A region that covers half of no large patch has those that it covers most; nothing has none of a black mask."""
    mask = np.zeros((64, 64), np.bool_)
    mask[2:8, 3:9] = True
    deeper = replace(SPEC, grid=(2, 2))
    assert not patches_inside(mask, deeper).any()
    assert patches_inside(mask, deeper, never_none=True).tolist() == [True, False, False, False]
    assert not patches_inside(np.zeros((64, 64), np.bool_), deeper, never_none=True).any()


@settings(deadline=None)  # the first one compiles
@given(SEEDS)
def test_distances_are_to_patches_inside_alone(seed: int) -> None:
    """With bags that are filled, the nearest of all patches is the nearest inside, in both directions."""
    _, bags, inside = drawn(seed)
    full = filled(bags, inside, GRID)
    forward, backward = mutual_nearest_distances(full[:1], full[1:])
    for other in (1, 2):
        ours, theirs = bags[0][inside[0]], bags[other][inside[other]]
        apart = np.linalg.norm(ours[:, None].astype(np.float64) - theirs[None], axis=2)
        np.testing.assert_allclose(forward[0, other - 1][inside[0]], apart.min(axis=1), atol=1e-5)
        np.testing.assert_allclose(backward[other - 1, 0][inside[other]], apart.min(axis=0), atol=1e-5)


def test_the_nearest_patch_stands_for_one_outside() -> None:
    """By its place on the grid: aligned frames are then compared near their own place still."""
    inside = np.zeros((3, 4), np.bool_)
    inside[0, 0] = inside[2, 3] = True
    places = nearest_inside(inside.ravel(), (3, 4)).reshape(3, 4)
    assert places.tolist() == [[0, 0, 0, 11], [0, 0, 11, 11], [0, 11, 11, 11]]


@given(SEEDS)
def test_what_lies_outside_changes_nothing(seed: int) -> None:
    """Temperature, weights, pooled patches, what is learnt for whitening: the same with other patches outside."""
    rng, bags, inside = drawn(seed)
    scores = rng.random((3, 12, 1))
    others, other_scores = bags.copy(), scores.copy()
    others[~inside] = rng.normal(size=bags.shape)[~inside]
    other_scores[~inside] = 100 * rng.random(scores.shape)[~inside]
    found = []
    for bag, score in ((bags, scores), (others, other_scores)):
        score = score - usual_scores(score, inside)
        scoring = fit_scoring(score, tau="0.3sd", inside=inside)
        rarity = least_outside(scoring.summed(score), inside)
        assert (rarity.argmax(axis=1) == np.where(inside, rarity, -np.inf).argmax(axis=1)).all()
        weights = weights_inside(scoring.weights(rarity), inside)
        assert not weights[:, 0][~inside].any()
        level, seen = pool_level(
            bag.__getitem__, weights, weights_grid=GRID, grid=GRID, counts=[1, 2, 1], inside=inside
        )
        assert seen is not None
        found.append((scoring.taus, weights, level.rare, level.whole, seen.whitening().mean, seen.whitening().matrix))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-9)


@given(SEEDS)
def test_weights_are_those_of_the_patches_inside_alone(seed: int) -> None:
    """The softmax of an image that has no other patches."""
    rng, _, inside = drawn(seed)
    rarity = rng.random((3, 12))
    weights = weights_inside(soft_weights(least_outside(rarity, inside), tau=0.01)[:, None], inside)[:, 0]
    for row in range(3):
        alone = soft_weights(rarity[row][inside[row]][None], tau=0.01)[0]
        np.testing.assert_allclose(weights[row][inside[row]], alone, rtol=1e-9)


def test_weight_that_spreads_to_a_coarse_patch_outside_stays_inside() -> None:
    """Weights of a fine grid reach over the region's edge on a coarse one; what lies there is not pooled."""
    weights = np.zeros((1, 1, 16))
    weights[0, 0, 1] = 1  # the second of four columns lies half in the first coarse patch
    bags = np.zeros((1, 4, 2), np.float32)
    bags[0, :, 0] = [1, 1000, 1, 1000]
    inside = np.array([[True, False, True, False]])
    level, _ = pool_level(bags.__getitem__, weights, weights_grid=(4, 4), grid=(2, 2), inside=inside)
    assert level.rare[0, 0].tolist() == [1, 0]
    assert level.whole[0].tolist() == [1, 0]


def test_everything_inside_is_as_without_a_region() -> None:
    """To the digit."""
    rng, bags, _ = drawn(0)
    inside = np.ones((3, 12), np.bool_)
    scores = rng.random((3, 12, 2))
    assert np.array_equal(usual_scores(scores, inside), usual_scores(scores))
    assert filled(bags, inside, GRID) is bags
    assert np.array_equal(least_outside(scores[..., 0], inside), scores[..., 0])


def test_the_note_tells_how_much_is_looked_at() -> None:
    """In patches; nothing where that is all of every image."""
    half = np.array([True, False])
    regions = Regions((1, 2), {"r": half, "all": np.ones(2, np.bool_)}, {"a": "r", "b": "all"})
    assert "1 of 2 patches" in str(region_note(regions, ["a"]))
    assert "1 to 2 of 2 patches" in str(region_note(regions, ["a", "b", "c"]))
    assert region_note(regions, ["b", "c"]) is None
    assert region_note(None, ["a"]) is None
    assert regions.of(["b"]).region_of == {"b": "all"}
    assert regions.inside(["c", "a"]).tolist() == [[True, True], [True, False]]
