from __future__ import annotations

import tracemalloc
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anoclust_core.bags import normalize_patches
from anoclust_core.errors import ResourceError
from anoclust_core.pairwise import tiling
from anoclust_core.pairwise.cpu import mutual_nearest_distances
from anoclust_core.pairwise.tiling import (
    BLOCK_BUDGET_BYTES,
    BLOCKS_A_WORKER,
    MAX_BLOCK_PATCHES,
    MAX_SLAB_IMAGES,
    MIN_BLOCK_FLOP,
    Rectangle,
    adapted_block_images,
    block_images,
    blocks,
    missing_rectangles,
    missing_squares,
)

Pairs = NDArray[np.bool_]

quick = settings(max_examples=25, deadline=None, database=None)
thorough = settings(max_examples=75, deadline=None, database=None)  # planning is cheap

some_images = st.sets(st.integers(0, 11)).map(sorted)


def after_runs(n_images: int, runs: Iterable[Iterable[int]]) -> Pairs:
    """Pairs that are there after runs over the given images, each of which computed all pairs of its images."""
    covered = np.zeros((n_images, n_images), bool)
    for images in runs:
        covered[np.ix_(list(images), list(images))] = True
    return covered


def times_computed(shape: tuple[int, int], rectangles: Iterable[Rectangle], *, unordered: bool) -> NDArray[np.int_]:
    """How often each pair is computed, by walking over the pairs one by one."""
    times = np.zeros(shape, int)
    for rectangle in rectangles:
        for row in rectangle.rows:
            for column in rectangle.columns:
                times[row, column] += 1
                if unordered and rectangle.rows != rectangle.columns:
                    times[column, row] += 1
    return times


@thorough
@given(st.lists(some_images, max_size=6), some_images)
@example([], list(range(12)))
@example([[0, 1], [1, 2], [2, 0]], [0, 1, 2])
def test_every_missing_pair_is_computed_exactly_once(runs: list[list[int]], images: list[int]) -> None:
    """After any history of runs over any images, a run computes each pair that it lacks once and no other pair."""
    covered = after_runs(12, runs)[np.ix_(images, images)]
    times = times_computed(covered.shape, missing_squares(covered), unordered=True)
    np.testing.assert_array_equal(times, (~covered).astype(int))


@thorough
@given(st.lists(st.tuples(some_images, some_images), max_size=6))
@example([])
def test_every_missing_distance_to_a_normal_is_computed_exactly_once(runs: list[tuple[list[int], list[int]]]) -> None:
    """After any history of images against normals, each missing (image, normal) pair is computed once, no other."""
    covered = np.zeros((12, 12), bool)
    for images, normals in runs:
        covered[np.ix_(images, normals)] = True
    times = times_computed(covered.shape, missing_rectangles(covered), unordered=False)
    np.testing.assert_array_equal(times, (~covered).astype(int))


@quick
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_any_pattern_of_missing_distances_is_covered(n_rows: int, n_columns: int, seed: int) -> None:
    """Also holes that no history of runs leaves are filled exactly: every missing distance once, nothing else."""
    rng = np.random.default_rng(seed)
    covered = rng.random((n_rows, n_columns)) < 0.5
    times = times_computed(covered.shape, missing_rectangles(covered), unordered=False)
    np.testing.assert_array_equal(times, (~covered).astype(int))
    half = rng.random((n_rows, n_rows)) < 0.5
    symmetric = half | half.T
    times = times_computed(symmetric.shape, missing_squares(symmetric), unordered=True)
    np.testing.assert_array_equal(times, (~symmetric).astype(int))


@pytest.mark.parametrize("n_images", [1, 2, 17, MAX_SLAB_IMAGES])
def test_a_first_run_is_one_slab(n_images: int) -> None:
    """Up to the slab size a first run is one rectangle: all images with all images."""
    everything = tuple(range(n_images))
    assert missing_squares(after_runs(n_images, [])) == [Rectangle(everything, everything)]
    assert missing_rectangles(np.zeros((n_images, 3), bool)) == [Rectangle(everything, (0, 1, 2))]


@quick
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_adding_images_computes_only_the_new_pairs(n_old: int, n_new: int, seed: int) -> None:
    """New images among old ones cost two rectangles, new with new and old with new, wherever they sort."""
    order = np.random.default_rng(seed).permutation(n_old + n_new)
    old, new = np.sort(order[:n_old]).tolist(), np.sort(order[n_old:]).tolist()
    rectangles = missing_squares(after_runs(n_old + n_new, [old]))
    assert {frozenset([r.rows, r.columns]) for r in rectangles} == {
        frozenset([tuple(new)]),
        frozenset([tuple(old), tuple(new)]),
    }
    assert len(rectangles) == 2


def test_adding_normals_computes_only_the_new_columns() -> None:
    """Two more normals cost the distances of all images to these two."""
    covered = np.zeros((5, 6), bool)
    covered[:, [0, 1, 3, 5]] = True
    assert missing_rectangles(covered) == [Rectangle((0, 1, 2, 3, 4), (2, 4))]


@quick
@given(some_images.filter(bool), some_images.filter(bool))
def test_nothing_missing_is_nothing_to_do(images: list[int], others: list[int]) -> None:
    """A run over images that an earlier run had computes nothing."""
    everything = sorted({*images, *others})
    assert missing_squares(after_runs(12, [everything])[np.ix_(images, images)]) == []
    assert missing_rectangles(np.ones((len(images), len(others)), bool)) == []


def test_no_images_are_nothing_to_do() -> None:
    """Without images, or without normals, no pair is planned."""
    assert missing_squares(np.zeros((0, 0), bool)) == []
    assert missing_rectangles(np.zeros((0, 3), bool)) == []
    assert missing_rectangles(np.zeros((3, 0), bool)) == []


def test_a_large_run_is_cut_into_slabs() -> None:
    """A killed run repeats little: no slab has more rows or columns than the limit, and together they are complete."""
    n_images = 2 * MAX_SLAB_IMAGES + 30
    n_old = MAX_SLAB_IMAGES + 10
    covered = after_runs(n_images, [range(n_old)])
    squares = missing_squares(covered)
    rectangles = missing_rectangles(covered)
    for planned, unordered in [(squares, True), (rectangles, False)]:
        assert max(max(len(r.rows), len(r.columns)) for r in planned) <= MAX_SLAB_IMAGES
        times = np.zeros(covered.shape, int)
        for r in planned:
            times[np.ix_(r.rows, r.columns)] += 1
            if unordered and r.rows != r.columns:
                times[np.ix_(r.columns, r.rows)] += 1
        np.testing.assert_array_equal(times, (~covered).astype(int))
    assert len(missing_squares(after_runs(n_images, []))) == 6  # three pieces: three within, three between


@quick
@given(st.lists(st.integers(), max_size=40), st.integers(1, 12))
def test_blocks_cut_a_list_without_losing_anything(indices: list[int], size: int) -> None:
    """Joined again, the pieces are the list; only the last may be shorter than asked for."""
    pieces = list(blocks(indices, size))
    assert [index for piece in pieces for index in piece] == indices
    assert all(len(piece) == size for piece in pieces[:-1])
    assert all(0 < len(piece) <= size for piece in pieces)


@quick
@given(st.integers(1, 4096), st.integers(1, 1024))
@example(256, 120)
@example(1024, 512)
def test_a_block_stays_within_its_memory(n_patches: int, dim: int) -> None:
    """Bags, the same packed, and distances of a block fit the budget, and a larger block would not or is not wanted."""

    def nbytes(side: int) -> int:
        return bytes_by_hand(side, n_patches, dim)

    side = block_images(n_patches, dim)
    assert 1 <= side <= MAX_SLAB_IMAGES
    assert side == 1 or side * n_patches <= MAX_BLOCK_PATCHES
    assert nbytes(side) <= BLOCK_BUDGET_BYTES
    is_wanted_larger = side < MAX_SLAB_IMAGES and (side + 1) * n_patches <= MAX_BLOCK_PATCHES
    assert not is_wanted_larger or nbytes(side + 1) > BLOCK_BUDGET_BYTES


def bytes_by_hand(side: int, n_patches: int, dim: int) -> int:
    """What a block of images holds: of a pair, a strip of products, candidates, and a part in double precision."""
    bags, distances = 2 * 4 * side * n_patches * dim, 2 * 4 * side**2 * n_patches
    packed = 2 * side * (n_patches + 32) * max(4 * (dim + 4), 2 * (dim + 8) + 32)
    strips, candidates = 4 * max(1 << 16, 32 * (n_patches + 32)), 2 * n_patches * 16 * 12
    double = 8 * (2 * n_patches * dim + 2 * min(n_patches**2, 1 << 20))
    return bags + packed + distances + strips + candidates + double + side**2 * n_patches


@thorough
@given(st.integers(0, 10**7), st.integers(1, 2048), st.integers(1, 1024), st.integers(1, 64))
@example(1770, 1024, 512, 2)
@example(10**6, 256, 120, 2)
def test_little_work_is_cut_finer(n_pairs: int, n_patches: int, dim: int, n_workers: int) -> None:
    """Blocks are the largest that fit; smaller where there would be few of them, but never too small to be worth it."""
    largest = block_images(n_patches, dim)
    side = adapted_block_images(n_pairs, n_patches, dim, n_workers=n_workers)
    wanted = BLOCKS_A_WORKER * n_workers
    assert 1 <= side <= largest
    flop = 2 * n_patches**2 * dim
    if side < largest:
        assert side**2 * flop >= MIN_BLOCK_FLOP
        assert n_pairs < wanted * (2 * side + 1) ** 2
    elif n_pairs < wanted * side**2:
        assert side == 1 or (side // 2) ** 2 * flop < MIN_BLOCK_FLOP


@pytest.mark.parametrize("flat_share", [0.0, 0.5, 1.0])
def test_computing_a_block_really_takes_no_more_memory_than_planned(
    monkeypatch: pytest.MonkeyPatch, flat_share: float
) -> None:
    """The peak memory of a block, measured, stays within its budget, with and without a background all alike."""
    monkeypatch.setattr(tiling, "BLOCK_BUDGET_BYTES", 2 << 20)
    side = block_images(144, 64)
    assert 1 < side < MAX_BLOCK_PATCHES // 144
    rng = np.random.default_rng(0)
    for warm in (rng.standard_normal((2, 1, 64, 4), np.float32), np.ones((2, 1, 64, 4), np.float32)):
        mutual_nearest_distances(*normalize_patches(warm))  # both kernels are compiled by now: too much for tracemalloc
    tracemalloc.start()
    try:
        both = normalize_patches(rng.standard_normal((2, side, 144, 64), np.float32))
        both[:, :, : int(144 * flat_share)] = both[0, 0, 0]
        bags, others = both
        tracemalloc.reset_peak()
        mutual_nearest_distances(bags, others)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 1.05 * (2 << 20)


@pytest.mark.parametrize(("n_patches", "dim"), [(130_000, 64), (256, 100_000)])
def test_a_pair_that_does_not_fit_is_refused_with_the_knob(n_patches: int, dim: int) -> None:
    """Patches too many or too long for one block are refused before the run, with the need and the options to turn."""
    need = bytes_by_hand(1, n_patches, dim) >> 20
    with pytest.raises(
        ResourceError, match=rf"{n_patches} patches.* {need}\.\d MiB.*256\.0 MiB.*--image-size.*--layers"
    ):
        block_images(n_patches, dim)
