"""Near-duplicates by distances: bursts are found, neighbours of one kind are not, and nothing chains."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anoclust_core.errors import ArrayContractError
from anoclust_core.pairwise.cpu import nearest_distances_within
from anoclust_core.pairwise.near_duplicates import ALONE, NEARER, Closest, closest_images, near_duplicate_groups

PATCHES, DIM = 12, 6

quick = settings(max_examples=25, deadline=None, database=None)


def bags_of(parts: list[int], *, noise: float, seed: int = 0) -> NDArray[np.float32]:
    """Bags of parts, each exposed so many times: patches of its own, and noise of each exposure."""
    rng = np.random.default_rng(seed)
    bags = []
    for n_exposures in parts:
        own = rng.normal(size=(PATCHES, DIM))
        bags += [own + noise * rng.normal(size=own.shape) for _ in range(n_exposures)]
    found = np.stack(bags)
    return np.asarray(found / np.linalg.norm(found, axis=2, keepdims=True), np.float32)


def groups_of(bags: NDArray[np.float32]) -> NDArray[np.int64]:
    distances = nearest_distances_within(bags)
    return near_duplicate_groups(closest_images(distances.mean(axis=2), distances.max(axis=2)))


def as_sets(groups: NDArray[np.int64]) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(groups == group).tolist()) for group in set(groups.tolist()) - {ALONE}}


@quick
@given(seed=st.integers(0, 1000), sizes=st.lists(st.integers(1, 5), min_size=10, max_size=14))
def test_exposures_of_one_part_are_one_group(seed: int, sizes: list[int]) -> None:
    """Parts that were exposed one to five times: each that came more than once is a group, and nothing else."""
    groups = groups_of(bags_of(sizes, noise=0.05, seed=seed))
    starts = np.cumsum([0, *sizes])
    expected = {
        frozenset(range(start, start + size))
        for start, size in zip(starts[:-1].tolist(), sizes, strict=True)
        if size > 1
    }
    assert as_sets(groups) == expected


@quick
@given(seed=st.integers(0, 1000), order=st.randoms(use_true_random=False))
def test_the_order_of_the_images_does_not_matter(seed: int, order: np.random.Generator) -> None:
    """Permuting the images permutes the groups, also where exposures differ so much that not all are found."""
    bags = bags_of([3, 1, 2, 4, 1, 1, 2, 1, 3], noise=0.35, seed=seed)
    rows = list(range(len(bags)))
    order.shuffle(rows)  # type: ignore[arg-type]
    moved = {frozenset(rows[at] for at in group) for group in as_sets(groups_of(bags[rows]))}
    assert moved == as_sets(groups_of(bags))


@quick
@given(seed=st.integers(0, 1000), n_images=st.integers(8, 40))
def test_images_of_different_parts_are_alone(seed: int, n_images: int) -> None:
    """However many images there are, parts that have nothing in common are no near-duplicates."""
    assert (groups_of(bags_of([1] * n_images, noise=0, seed=seed)) == ALONE).all()


def along_a_line(n_images: int, step: float) -> Closest:
    """Images of which each is near to the one before and after it only."""
    places = np.arange(n_images) * step
    apart = np.minimum(np.abs(places[:, None] - places), 1.0)
    return closest_images(apart, apart)


@pytest.mark.parametrize("n_images", [30, 200])
def test_a_chain_is_no_giant_group(n_images: int) -> None:
    """Where every image is near to the next, groups stay small: their images are near to each other on average."""
    closest = along_a_line(n_images, 0.2)
    sizes = [len(group) for group in as_sets(near_duplicate_groups(closest))]
    assert sizes
    assert max(sizes) <= 8


@quick
@given(seed=st.integers(0, 300))
def test_images_of_a_group_are_near_on_average(seed: int) -> None:
    """No group is looser than the bound: the mean delta of its pairs is at most that."""
    rng = np.random.default_rng(seed)
    apart = rng.uniform(0.2, 1.0, (24, 24))
    apart = np.maximum(apart, apart.T)
    np.fill_diagonal(apart, 0)
    groups = near_duplicate_groups(closest_images(apart, apart))
    found = np.where(apart == 0, np.inf, apart)
    usual = np.sort(found, axis=1)[:, 8:16].mean(axis=1)
    usual = np.maximum(usual, np.median(usual) / 2)
    deltas = np.minimum(
        apart / np.sqrt(usual[:, None] * usual), np.where(apart > np.sort(found)[:, 15:16], 1.0, np.inf)
    )
    deltas = np.minimum(deltas, deltas.T)
    for group in as_sets(groups):
        rows = sorted(group)
        pairs = [deltas[one, other] for at, one in enumerate(rows) for other in rows[at + 1 :]]
        assert np.mean(pairs) <= NEARER + 1e-6


def test_a_good_part_and_a_defective_one_before_the_same_background_are_apart() -> None:
    """Everything in common but one patch that is stranger than usual: they are no near-duplicates."""
    bags = bags_of([2, *[1] * 12], noise=0.02)
    assert as_sets(groups_of(bags)) == {frozenset({0, 1})}
    bags[1, 3] = -bags[0].mean(axis=0) / np.linalg.norm(bags[0].mean(axis=0))
    distances = nearest_distances_within(bags)
    largest = distances.max(axis=2)
    largest[0, 1] = largest[1, 0] = 1.2 * np.sort(largest[0])[-1]
    assert (near_duplicate_groups(closest_images(distances.mean(axis=2), largest)) == ALONE).all()


def test_a_burst_longer_than_the_neighbours_that_are_looked_at_is_found() -> None:
    """Thirty exposures of one part are measured by what is usual elsewhere, not by each other."""
    groups = groups_of(bags_of([30, *[1] * 60], noise=0.02))
    assert set(groups[:30].tolist()) == {0}
    assert (groups[30:] == ALONE).all()


@pytest.mark.parametrize("n_images", [2, 7])
def test_of_few_images_nothing_is_said(n_images: int) -> None:
    """What is usual is not known of seven images."""
    assert (groups_of(bags_of([n_images], noise=0.01)) == ALONE).all()


def test_where_all_images_are_the_same_none_is_told() -> None:
    """Without anything that is usual there is nothing to be nearer than."""
    same = np.zeros((12, 12))
    assert (near_duplicate_groups(closest_images(same, same)) == ALONE).all()


def test_what_does_not_fit_is_refused() -> None:
    """Matrices of other images, rows of none and distances below 0 are refused."""
    square = np.ones((3, 3))
    with pytest.raises(ArrayContractError, match="both of the same images"):
        closest_images(square, np.ones((4, 4)))
    closest = closest_images(square, square)
    with pytest.raises(ArrayContractError, match="rows of 3 images, found 0 to 9"):
        near_duplicate_groups(Closest(np.where(closest.images == 2, 9, closest.images), closest.means, closest.largest))
    with pytest.raises(ArrayContractError, match="finite means >= 0"):
        near_duplicate_groups(Closest(closest.images, -closest.means, closest.largest))
