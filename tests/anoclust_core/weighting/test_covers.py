"""Covers of images: how near the other patches are, what distances they give, and where they are used."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from helpers.builders import config_of
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from anoclust_core.embedding.fixed_camera import aligned_spec, check_number
from anoclust_core.embedding.tiles import check_tiles
from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.pairwise.cpu import nearest_distances
from anoclust_core.records import Cover, EmbeddingSpec
from anoclust_core.weighting.covers import PATCHES_OF_MANY, cover_note, covered_spec, greedy_cover

SPEC = EmbeddingSpec("x", "x", "0", (2,), 256, "bilinear", (0.5,) * 3, (0.5,) * 3, 3, (16, 16), 120)

quick = settings(max_examples=40, deadline=None, database=None)


def bag_of(seed: int, n_patches: int, dim: int = 4) -> NDArray[np.float32]:
    """Patches around a few directions, some of them twice."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(3, dim))
    bag = centres[rng.integers(0, 3, n_patches)] + 0.3 * rng.normal(size=(n_patches, dim))
    bag[rng.integers(0, n_patches)] = bag[0]
    return (bag / np.linalg.norm(bag, axis=1, keepdims=True)).astype(np.float32)


@quick
@given(st.integers(0, 10_000), st.integers(2, 60), st.data())
def test_no_distance_is_wrong_by_more_than_the_radius(seed, n_patches, data):
    """Against a cover, every patch of another image is as far as against all patches, and the radius more at most."""
    size = data.draw(st.integers(1, n_patches))
    bag, other = bag_of(seed, n_patches), bag_of(seed + 1, 20)
    places, radius = greedy_cover(bag, size, rng=np.random.default_rng(seed))
    exact = nearest_distances(other[None], bag[None])[0, 0]
    bounded = nearest_distances(other[None], bag[places][None])[0, 0]
    assert (bounded >= exact).all()
    assert (bounded <= exact + radius + 1e-6).all()
    assert nearest_distances(bag[None], bag[places][None]).max() == np.float32(radius)


@quick
@given(st.integers(0, 10_000), st.integers(1, 3))
def test_the_radius_is_at_most_twice_the_smallest(seed, size):
    """No other choice of as many patches is more than twice as good; tried on all of them."""
    bag = bag_of(seed, 9)
    apart = np.linalg.norm(bag[:, None].astype(np.float64) - bag[None], axis=2)
    smallest = min(apart[list(chosen)].min(axis=0).max() for chosen in combinations(range(9), size))
    assert greedy_cover(bag, size, rng=np.random.default_rng(seed)).radius <= 2 * smallest + 1e-6


@quick
@given(st.integers(0, 1000), st.integers(1, 40))
def test_a_smaller_cover_is_the_beginning_of_a_larger_one(seed, size):
    """With the same draw; and all patches are a cover without radius."""
    bag = bag_of(seed, 40)
    whole = greedy_cover(bag, 40, rng=np.random.default_rng(1))
    part = greedy_cover(bag, size, rng=np.random.default_rng(1))
    assert part.places.tolist() == whole.places[:size].tolist()
    assert sorted(whole.places.tolist()) == list(range(40))
    assert whole.radius == 0
    assert part.radius >= whole.radius


def test_patches_that_are_all_alike():
    """None is chosen twice, and any of them stands for all."""
    bag = np.repeat(bag_of(0, 1), 10, axis=0)
    places, radius = greedy_cover(bag, 6, rng=np.random.default_rng(0))
    assert len({*places.tolist()}) == 6
    assert radius == 0


def test_another_seed_draws_another_first_patch():
    """Over ten seeds several patches come first."""
    bag = bag_of(0, 40)
    assert len({int(greedy_cover(bag, 1, rng=np.random.default_rng(seed)).places[0]) for seed in range(10)}) > 3


def test_sizes_that_no_bag_has():
    """More patches than there are, and none, are refused."""
    for size in (0, 11):
        with pytest.raises(ArrayContractError, match=f"expected a size from 1 to 10.*found {size}"):
            greedy_cover(bag_of(0, 10), size, rng=np.random.default_rng(0))


def settled(spec: EmbeddingSpec = SPEC, **asked: object) -> Cover | None:
    config = config_of(**asked)
    return covered_spec(aligned_spec(spec, config.pair, None), config).cover


def test_all_patches_until_the_bound_is_reached():
    """A part is taken where a number is asked for that is at most half of them, and by ``auto`` of many tiles."""
    assert settled() is None
    assert settled(reference_patches=64, seed=3) == Cover(64, 3)
    assert settled(reference_patches=128) == Cover(128, 0)
    assert settled(reference_patches=129) is None
    assert settled(SPEC.in_tiles((8, 16))) is None
    assert settled(SPEC.in_tiles((12, 16))) == Cover(PATCHES_OF_MANY, 0)
    assert settled(replace(SPEC, grid=(4, 4)).in_tiles((12, 16))) == Cover(1536, 0)
    assert settled(SPEC.in_tiles((12, 16)), reference_patches="all") is None
    assert settled(SPEC.in_tiles((12, 16)), reference_patches=100) == Cover(100, 0)


def test_not_where_it_has_no_meaning():
    """Not near a patch's own place, not for Hausdorff distances, not by recipe blind."""
    assert settled(SPEC.in_tiles((12, 16)), aligned=True) is None
    assert settled(SPEC.in_tiles((12, 16)), distance="min_min") is None
    assert settled(SPEC, recipe="blind") is None
    for asked in ({"aligned": True}, {"distance": "min_min"}, {"recipe": "blind"}):
        with pytest.raises(ValidationError, match="omit --reference-patches"):
            config_of(reference_patches=64, **asked)


def test_more_tiles_need_fewer_patches():
    """192 tiles are refused with all patches, and taken with a part of them, whatever the camera."""
    config = config_of(aligned=False)
    spec = covered_spec(SPEC.in_tiles((12, 16)), config)
    check_number(spec, config.pair, None)
    check_tiles(config_of(tiles="12x16", aligned=False))
    config = config_of(aligned=False, reference_patches="all")
    with pytest.raises(ConfigError, match=r"the limit is 128.*--reference-patches"):
        check_number(covered_spec(spec, config), config.pair, None)


def test_the_note_has_the_numbers():
    """How many of how many patches, and how much larger distances are for that; or why all are compared after all."""
    spec = covered_spec(SPEC, config_of(reference_patches=64))
    note = cover_note(spec, 64, [0.1, 0.2, 0.5])
    assert note is not None
    for words in ("64 of the 256 patches", "up to 0.200 larger", "0.500 in the worst"):
        assert words in note
    assert "larger" not in str(cover_note(spec, 64))
    assert cover_note(SPEC, None) is None
    assert cover_note(SPEC, "all") is None
    assert cover_note(SPEC, 256) is None
    assert "more than half" in str(cover_note(SPEC, 200))
    assert "is not used" in str(cover_note(aligned_spec(SPEC, config_of(aligned=True).pair, None), 64))
