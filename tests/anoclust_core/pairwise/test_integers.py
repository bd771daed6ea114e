from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from helpers.nearest_patches import Bags, brute_force, moved
from hypothesis import example, given, settings
from hypothesis import strategies as st

from anoclust_core.bags import normalize_patches
from anoclust_core.pairwise.kernels import integers
from anoclust_core.pairwise.kernels.integers import has_integer_products, nearest_squares, nearest_squares_within
from anoclust_core.pairwise.kernels.tiles import NARROW, WIDE, TileShape, processor

quick = settings(max_examples=40, deadline=None, database=None)

TILES = {"6 x 16": NARROW, "12 x 32": WIDE}


@pytest.fixture(scope="module", params=TILES)
def tile(request: pytest.FixtureRequest) -> Iterator[TileShape]:
    """Compile for one of the tiles that this processor has the instruction for."""
    shape = TILES[request.param]
    if not has_integer_products(shape):
        pytest.skip("this processor does not multiply pairs of 16-bit integers in a tile of this size")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(integers, "tile_shape", lambda: shape)
        integers._compiled.cache_clear()
        yield shape
    integers._compiled.cache_clear()


def bags_of(rng: np.random.Generator, n_bags: int, n_patches: int, dim: int, *, spread: float) -> Bags:
    """Unit patches around one of them, or in every direction."""
    own = rng.standard_normal((n_bags, n_patches, dim))
    return normalize_patches(spread * own + (1 - spread) * np.random.default_rng(0).standard_normal(dim))


def assert_nearest(squares: Bags, bags: Bags, others: Bags) -> None:
    assert squares.dtype == np.float32
    np.testing.assert_allclose(np.sqrt(squares), brute_force(bags, others), rtol=1e-5, atol=3e-7)


@quick
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 40), st.integers(1, 4), st.integers(1, 70),
    st.integers(1, 300), st.sampled_from([1, 0.3, 0.01]),
)  # fmt: skip
@example(0, 1, 1, 1, 1, 1, 1)
@example(0, 2, 6, 3, 16, 8, 1)
@example(0, 2, 7, 3, 17, 9, 1)
@example(0, 2, 12, 3, 32, 256, 0.3)
@example(0, 2, 13, 3, 33, 260, 0.3)
def test_nearest_patches_are_found_and_measured(tile, seed, n_bags, n_patches, n_others, n_other, dim, spread) -> None:
    """Whatever is left over at the edges of tiles, far apart or crowded: as every difference in double precision."""
    rng = np.random.default_rng(seed)
    bags, others = bags_of(rng, n_bags, n_patches, dim, spread=spread), bags_of(rng, n_others, n_other, dim, spread=1)
    others[:, ::3] = bags_of(rng, n_others, n_other, dim, spread=spread)[:, ::3]
    found = nearest_squares(bags, others)
    measured = ~np.isnan(found.forward).any(axis=2)
    np.testing.assert_array_equal(measured, ~np.isnan(found.backward).any(axis=2).T)
    for i, j in np.argwhere(measured):
        assert_nearest(found.forward[i : i + 1, j : j + 1], bags[i : i + 1], others[j : j + 1])
        assert_nearest(found.backward[j : j + 1, i : i + 1], others[j : j + 1], bags[i : i + 1])


@quick
@given(st.integers(0, 2**32 - 1), st.integers(0, 5), st.integers(1, 20), st.integers(2, 30))
def test_within_a_group(tile, seed: int, n_bags: int, n_patches: int, dim: int) -> None:
    """The same as by brute force, both ways; 0 from an image to itself."""
    bags = bags_of(np.random.default_rng(seed), n_bags, n_patches, dim, spread=1)
    squares = nearest_squares_within(bags)
    assert (squares[np.eye(n_bags, dtype=bool)] == 0).all()
    if n_bags:
        assert_nearest(squares, bags, bags)


@pytest.mark.parametrize("n_patches", [700, 2100])
def test_large_images_are_looked_through_in_parts(tile, n_patches: int) -> None:
    """Where a pair's products are not kept all at a time, a nearest patch may be in any part; each is found."""
    rng = np.random.default_rng(0)
    bags, others = (bags_of(rng, 1, n_patches, 24, spread=0.5) for _ in range(2))
    found = nearest_squares(bags, others)
    assert n_patches**2 > integers.STRIP_VALUES
    assert_nearest(found.forward, bags, others)
    assert_nearest(found.backward, others, bags)


def test_the_farthest_patches_fit_the_integers(tile) -> None:
    """Opposite patches, 2 apart and as far from the centre as any can be, are not taken for near ones."""
    rng = np.random.default_rng(0)
    one = bags_of(rng, 1, 1, 512, spread=1)
    found = nearest_squares(one, -one)
    assert found.forward == pytest.approx(4, rel=1e-6)
    half = np.eye(40, dtype=np.float32)[None]
    axes = np.concatenate([half, -half], axis=1)
    assert_nearest(nearest_squares(axes, half).forward, axes, half)


def test_ties_are_measured_one_by_one(tile) -> None:
    """Patches that integers cannot tell apart are told apart by their distances in single precision."""
    rng = np.random.default_rng(0)
    bags = bags_of(rng, 1, 30, 64, spread=1)
    distances = rng.uniform(1e-6, 3e-5, (1, 30, 4))
    copies = moved(np.repeat(bags.astype(float)[:, :, None], 4, axis=2), distances, rng).reshape(1, -1, 64)
    found = nearest_squares(bags, copies)
    expected = brute_force(bags, copies)
    assert not np.isnan(found.forward).any()
    np.testing.assert_allclose(np.sqrt(found.forward), expected, rtol=1e-5, atol=1e-9)


def test_pairs_with_too_many_candidates_are_left_out(tile) -> None:
    """With a picture of one colour all pairs are NaN, both ways, for any of its patches may be nearest; others not."""
    rng = np.random.default_rng(0)
    bags = bags_of(rng, 4, 90, 24, spread=1)
    bags[2] = bags[2, 0]
    squares = nearest_squares_within(bags)
    crowded = np.isnan(squares).any(axis=2)
    np.testing.assert_array_equal(crowded, (np.arange(4) == 2)[:, None] ^ (np.arange(4) == 2))
    np.testing.assert_array_equal(np.isnan(squares).all(axis=2), crowded)


def test_some_patches_alike_are_not_too_many(tile) -> None:
    """One in ten patches of one colour in both pictures: still measured one by one."""
    rng = np.random.default_rng(0)
    bags = bags_of(rng, 2, 100, 24, spread=1)
    bags[:, :10] = bags[0, 0]
    squares = nearest_squares_within(bags)
    assert (squares[0, 1, :10] == 0).all()
    assert_nearest(squares, bags, bags)


def test_a_processor_that_numba_is_not_to_compile_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told to compile for another processor, which has no such instruction, the other kernel is taken."""
    monkeypatch.setenv("NUMBA_CPU_NAME", "generic")
    processor.cache_clear()
    try:
        assert not has_integer_products()
    finally:
        processor.cache_clear()
