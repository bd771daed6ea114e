from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anoclust_core.pairwise.kernels import single_precision
from anoclust_core.pairwise.kernels.single_precision import largest_products, largest_products_within
from anoclust_core.pairwise.kernels.tiles import NARROW, WIDE, TileShape

quick = settings(max_examples=40, deadline=None, database=None)

TILES = {"6 x 16": NARROW, "12 x 32": WIDE}
"""The tiles of processors with registers of 8 and of 16 values; LLVM compiles either for any."""


@pytest.fixture(scope="module", params=TILES)
def tile(request: pytest.FixtureRequest) -> Iterator[TileShape]:
    """Compile for one of the tiles, whatever this processor would be given."""
    shape = TILES[request.param]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(single_precision, "tile_shape", lambda: shape)
        single_precision._compiled.cache_clear()
        yield shape
    single_precision._compiled.cache_clear()


def bags_of(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return rng.standard_normal(shape, dtype=np.float32) / np.float32(shape[-1] ** 0.5)


def products_of(bags: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.einsum("imd,jnd->ijmn", bags.astype(float), others.astype(float))


@quick
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 40), st.integers(1, 4), st.integers(1, 70),
    st.integers(1, 300),
)  # fmt: skip
@example(0, 1, 1, 1, 1, 1)
@example(0, 2, 6, 3, 16, 128)
@example(0, 2, 7, 3, 17, 129)
@example(0, 2, 12, 3, 32, 256)
@example(0, 2, 13, 3, 33, 260)
def test_maxima_and_mean_roots_are_those_of_the_products(tile, seed, n_bags, n_patches, n_others, n_other, dim) -> None:
    """Whatever is left over at the edges of tiles and of sums: as of the products in double precision."""
    rng = np.random.default_rng(seed)
    bags, others = bags_of(rng, n_bags, n_patches, dim), bags_of(rng, n_others, n_other, dim)
    bags, others = bags / np.abs(bags).sum(), others / np.abs(others).max()  # below 1, for the roots
    products = products_of(bags, others)
    found = largest_products(bags, others, with_roots=True)
    np.testing.assert_allclose(found.forward, products.max(axis=3), rtol=0, atol=3e-7)
    np.testing.assert_allclose(found.backward, products.max(axis=2).transpose(1, 0, 2), rtol=0, atol=3e-7)
    np.testing.assert_allclose(found.roots, np.sqrt(1 - products).mean(axis=3), rtol=0, atol=3e-6)


def test_all_products_negative(tile) -> None:
    """Panels are filled up with patches of the image and not with zeros, which would be larger."""
    bags = -np.ones((1, 7, 5), np.float32)
    found = largest_products(bags, -bags)
    assert (found.forward == -5).all()
    assert (found.backward == -5).all()


@quick
@given(st.integers(0, 2**32 - 1), st.integers(0, 5), st.integers(1, 20), st.integers(1, 30))
def test_within_a_group(tile, seed: int, n_bags: int, n_patches: int, dim: int) -> None:
    """The same as between two groups; 1 from an image to itself, roots above the diagonal only."""
    bags = bags_of(np.random.default_rng(seed), n_bags, n_patches, dim) / 40
    within, between = largest_products_within(bags, with_roots=True), largest_products(bags, bags, with_roots=True)
    own = np.eye(n_bags, dtype=bool)
    assert within.forward is within.backward
    np.testing.assert_allclose(within.forward[~own], between.forward[~own], rtol=0, atol=1e-7)
    assert (within.forward[own] == 1).all()
    above = np.triu(np.ones((n_bags, n_bags), dtype=bool), k=1)
    np.testing.assert_array_equal(within.roots[above], between.roots[above])
    assert (within.roots[~above] == 0).all()


def test_without_roots_there_are_none(tile) -> None:
    """Nothing is computed that was not asked for."""
    assert largest_products(np.ones((1, 1, 1), np.float32), np.ones((1, 1, 1), np.float32)).roots is None


def test_long_sums_round_less_than_in_one_go(tile) -> None:
    """512 features, all positive as after a ReLU: off by no more than 3e-7 where one running sum is off by more."""
    rng = np.random.default_rng(0)
    bags = np.abs(bags_of(rng, 2, 200, 512))
    bags /= np.linalg.norm(bags, axis=2, keepdims=True)
    exact = products_of(bags[:1], bags[1:]).max(axis=3)
    running = np.cumsum(bags[0][:, None] * bags[1][None], axis=2, dtype=np.float32)[..., -1].max(axis=1)
    off = np.abs(largest_products(bags[:1], bags[1:]).forward - exact).max()
    assert off <= 3e-7 < np.abs(running - exact[0, 0]).max()
