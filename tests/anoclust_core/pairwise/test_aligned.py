"""Distances within a window: what they are, where they meet those to all patches, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.nearest_patches import Bags, moved
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anoclust_core.bags import normalize_patches
from anoclust_core.errors import ArrayContractError, ResourceError
from anoclust_core.pairwise import aligned, cpu, tiling
from anoclust_core.records import Window

quick = settings(max_examples=30, deadline=None, database=None)

TOLERANCE = 2e-5

no_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; torch sees none here")
devices = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=no_cuda)])

windows = st.builds(
    Window, st.tuples(st.integers(1, 6), st.integers(1, 6)), st.sampled_from([0, 1, 2, 5, 9])
)  # 5 and 9: to the edges, and over them


def random_bags(seed: int, n_images: int, window: Window, dim: int, *, alike: float) -> Bags:
    """Random bags; ``alike`` from 0 to 1 moves all patches towards one direction."""
    rng = np.random.default_rng(seed)
    height, width = window.grid
    direction = np.random.default_rng(0).normal(size=dim)
    return normalize_patches((1 - alike) * rng.normal(size=(n_images, height * width, dim)) + alike * direction)


groups = st.builds(
    lambda window, seed, n, n_others, dim, alike: (
        window,
        random_bags(seed, n, window, dim, alike=alike),
        random_bags(seed + 1, n_others, window, dim, alike=alike),
    ),
    window=windows,
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 4),
    n_others=st.integers(1, 4),
    dim=st.sampled_from([1, 2, 31]),
    alike=st.sampled_from([0, 0.9, 0.99, 1]),
)


def every_distance(bags: Bags, others: Bags, window: Window) -> NDArray[np.float64]:
    """Distance of every patch to every one of its window, written out in double precision; infinity to all others."""
    y, x = np.divmod(np.arange(bags.shape[1]), window.grid[1])
    is_near = (np.abs(y[:, None] - y) <= window.cells) & (np.abs(x[:, None] - x) <= window.cells)
    assert np.count_nonzero(is_near) == window.n_compared
    difference = bags[:, None, :, None].astype(float) - others[None, :, None].astype(float)
    return np.where(is_near, np.linalg.norm(difference, axis=-1), np.inf)


@quick
@given(groups)
def test_the_nearest_patch_of_the_window_counts(made: tuple[Window, Bags, Bags]) -> None:
    """Both directions, one of them and the mean are those of brute force over the window, however close patches are."""
    window, bags, others = made
    every = every_distance(bags, others, window)
    found = aligned.mutual_nearest_and_mean_distances(bags, others, window=window)
    np.testing.assert_allclose(found.forward, every.min(axis=3), atol=TOLERANCE)
    np.testing.assert_allclose(found.backward, every.min(axis=2).transpose(1, 0, 2), atol=TOLERANCE)
    mean = np.where(np.isfinite(every), every, 0).sum(axis=(2, 3)) / window.n_compared
    np.testing.assert_allclose(found.mean, mean, atol=TOLERANCE)
    forward, backward = aligned.mutual_nearest_distances(bags, others, window=window)
    np.testing.assert_array_equal(forward, found.forward)
    np.testing.assert_array_equal(backward, found.backward)
    np.testing.assert_array_equal(aligned.nearest_distances(bags, others, window=window), found.forward)


@quick
@given(groups)
def test_within_one_group(made: tuple[Window, Bags, Bags]) -> None:
    """All pairs of one group are those of two, with 0 from an image to itself and one mean for both directions."""
    window, bags, _ = made
    own = np.arange(len(bags))
    expected = aligned.mutual_nearest_and_mean_distances(bags, bags, window=window)
    distances, mean = aligned.nearest_and_mean_distances_within(bags, window=window)
    expected.forward[own, own] = 0
    np.testing.assert_allclose(distances, expected.forward, atol=TOLERANCE)
    np.testing.assert_allclose(mean, expected.mean * (1 - np.eye(len(bags))), atol=TOLERANCE)
    np.testing.assert_array_equal(mean, mean.T)
    np.testing.assert_array_equal(aligned.nearest_distances_within(bags, window=window), distances)


@devices
@pytest.mark.parametrize("grid", [(4, 9), (9, 4), (1, 36), (36, 1)])
def test_a_window_over_the_whole_grid_leaves_nothing_out(grid: tuple[int, int], device: str) -> None:
    """Then distances are those of the kernels that compare every patch with every patch."""
    window = Window(grid, max(grid))
    bags, others = (random_bags(seed, 3, window, 24, alike=0.5) for seed in (0, 1))
    others[1, 5] = bags[2, 30]
    expected = cpu.mutual_nearest_and_mean_distances(bags, others)
    found = aligned.mutual_nearest_and_mean_distances(bags, others, window=window, device=device)
    for one, other in ((found.forward, expected.forward), (found.backward, expected.backward)):
        np.testing.assert_allclose(one, other, atol=TOLERANCE)
        np.testing.assert_array_equal(one == 0, other == 0)
    np.testing.assert_allclose(found.mean, expected.mean, atol=TOLERANCE)
    within = aligned.nearest_distances_within(bags, window=window, device=device)
    np.testing.assert_allclose(within, cpu.nearest_distances_within(bags), atol=TOLERANCE)


def test_close_patches_keep_their_distance() -> None:
    """A copy has distance 0, one that lies 1e-4 away has that: products in single precision would tell neither."""
    window = Window((3, 4), 1)
    bags = random_bags(0, 1, window, 16, alike=0)
    apart = np.array([0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2])
    others = moved(bags, apart[None], np.random.default_rng(1))
    true = np.linalg.norm(bags.astype(float) - others.astype(float), axis=2)
    forward, backward = aligned.mutual_nearest_distances(bags, others, window=window)
    for found in (forward, backward):
        np.testing.assert_allclose(found[0, 0], np.where(true[0] < 1e-6, 0, true[0]), atol=1e-6)
    assert not aligned.nearest_distances(bags, bags, window=window).any()


def test_what_is_shifted_farther_than_the_window_is_not_found() -> None:
    """A shift of two cells is found by two cells of window, and not by one."""
    window = Window((6, 8), 2)
    bags = random_bags(0, 1, window, 16, alike=0)
    shifted = np.roll(bags.reshape(6, 8, 16), (2, -2), axis=(0, 1)).reshape(1, 48, 16)
    inner = np.zeros((6, 8), bool)
    inner[:4, 2:] = True
    found = aligned.nearest_distances(bags, shifted, window=window)[0, 0]
    assert not found[inner.ravel()].any()
    assert (aligned.nearest_distances(bags, shifted, window=Window((6, 8), 1))[0, 0] > 0.1).all()


def test_bags_of_another_grid_are_refused() -> None:
    """The message has both numbers of patches."""
    bags = random_bags(0, 2, Window((2, 3), 1), 4, alike=0)
    with pytest.raises(ArrayContractError, match=r"expected bags .* grid of 3 x 3, 9 a bag; found 6"):
        aligned.nearest_distances_within(bags, window=Window((3, 3), 1))
    with pytest.raises(ArrayContractError, match=r"expected others .*; found 4"):
        aligned.nearest_distances(bags, bags[:, :4], window=Window((2, 3), 1))


def test_blocks_of_large_frames() -> None:
    """Of frames of 192 tiles several fit a block, of 512 tiles a pair; what does not fit is refused with the knob."""
    of_192, of_512 = Window((192, 256), 2), Window((256, 512), 2)
    assert tiling.block_images(192 * 256, 120, window=of_192) >= 4
    assert tiling.block_images(256 * 512, 120, window=of_512) >= 1
    side = tiling.adapted_block_images(10**6, 192 * 256, 120, n_workers=2, window=of_192)
    assert side == tiling.block_images(192 * 256, 120, window=of_192)
    with pytest.raises(ResourceError, match=r"number of --tiles"):
        tiling.block_images(1024 * 1024, 120, window=Window((1024, 1024), 2))
