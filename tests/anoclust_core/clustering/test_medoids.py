from __future__ import annotations

from itertools import combinations, product

import kmedoids
import numpy as np
import pytest
from helpers.partitions import (
    BAD_DISTANCES,
    blobs,
    groups,
    is_canonical,
    quicker,
    symmetric,
    tied_distances,
    untied_distances,
)
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform

from anoclust_core.clustering import medoids as medoids_module
from anoclust_core.clustering.medoids import k_medoids
from anoclust_core.errors import ArrayContractError, ConfigError


def random_distances(seed: int, n_images: int) -> NDArray[np.float64]:
    return symmetric(np.random.default_rng(seed).uniform(0.1, 3, size=(n_images, n_images)))


def central_first(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same images, the most central first: that is how ours breaks ties, and the others take the first."""
    order = np.argsort(np.sort(distances).sum(axis=1), kind="stable")
    return distances[np.ix_(order, order)]


def loss_of(distances: NDArray[np.float64], medoids: list[int]) -> float:
    return float(distances[:, medoids].min(axis=1).sum())


def first_best(distances: NDArray[np.float64], choices: list[list[int]]) -> list[int]:
    """The first choice of medoids with the least loss; losses that differ by rounding alone are equal.

    Continuous draws have such ties too: whichever of two images becomes the other's medoid, their distance is added.
    """
    losses = [loss_of(distances, choice) for choice in choices]
    return next(choice for choice, loss in zip(choices, losses, strict=True) if loss <= min(losses) + 1e-12)


def textbook(distances: NDArray[np.float64], n_clusters: int) -> list[int]:
    """PAM as in its first description: BUILD, then every swap tried and the best made, until none helps."""
    rows, chosen = range(len(distances)), []
    for _ in range(n_clusters):
        chosen = first_best(distances, [[*chosen, row] for row in rows if row not in chosen])
    while True:
        pairs = [(new, place) for new, place in product(rows, range(n_clusters)) if new not in chosen]
        best = first_best(distances, [chosen, *([*chosen[:place], new, *chosen[place + 1 :]] for new, place in pairs)])
        if best == chosen:
            return sorted(chosen)
        chosen = best


@quicker
@given(untied_distances, st.data())
def test_k_medoids_is_the_textbooks(distances, data) -> None:
    """The medoids are those of the slow algorithm that tries every swap."""
    distances = central_first(distances)
    n_clusters = data.draw(st.integers(1, len(distances)))
    found = k_medoids(distances, n_clusters=n_clusters)
    expected = textbook(distances, n_clusters)
    assert sorted(found.medoids.tolist()) == expected
    assert found.loss == pytest.approx(loss_of(distances, expected))


@pytest.mark.parametrize("n_clusters", [1, 2, 3, 8, 39, 40])
@pytest.mark.parametrize("seed", range(4))
def test_k_medoids_is_a_public_librarys(seed, n_clusters) -> None:
    """From the same start the package kmedoids gets to the same medoids by PAM, and to no lower a loss."""
    distances = central_first(random_distances(seed, 40))
    found = k_medoids(distances, n_clusters=n_clusters)
    start = kmedoids.pam_build(distances, n_clusters).medoids
    theirs = kmedoids.fastpam1(distances, start)
    assert sorted(found.medoids.tolist()) == sorted(theirs.medoids.tolist())
    assert found.loss <= theirs.loss * (1 + 1e-12)


def test_one_best_swap_at_a_time_is_as_good_as_eager_swaps() -> None:
    """FasterPAM, which makes the first swap that helps, finds other minima; on average they are no better."""
    ours, eager = [], []
    for seed in range(20):
        distances = random_distances(seed, 30)
        ours.append(k_medoids(distances, n_clusters=5).loss)
        eager.append(kmedoids.fasterpam(distances, kmedoids.pam_build(distances, 5).medoids, n_cpu=1).loss)
    assert np.mean(ours) <= 1.01 * np.mean(eager)


@quicker
@given(tied_distances, st.data())
def test_no_swap_would_help(distances, data) -> None:
    """With ties, duplicates and broken triangles too, no exchange of one medoid lowers the loss."""
    n_clusters = data.draw(st.integers(1, len(distances)))
    found = k_medoids(distances, n_clusters=n_clusters)
    medoids = found.medoids.tolist()
    for old, new in product(medoids, range(len(distances))):
        assert loss_of(distances, [*(set(medoids) - {old}), new]) >= found.loss - 1e-9


@quicker
@given(tied_distances, st.data())
def test_labels_medoids_and_loss_belong_together(distances, data) -> None:
    """There are exactly as many clusters as asked for, each with its medoid; every image is with its nearest one."""
    n_clusters = data.draw(st.integers(1, len(distances)))
    found = k_medoids(distances, n_clusters=n_clusters)
    assert is_canonical(found.labels)
    assert found.labels[found.medoids].tolist() == list(range(n_clusters))
    own = distances[np.arange(len(distances)), found.medoids[found.labels]]
    np.testing.assert_array_equal(own, distances[:, found.medoids].min(axis=1))
    assert found.loss == own.sum()


def test_one_medoid_is_the_best_of_all() -> None:
    """A single medoid is the image with the smallest sum of distances."""
    distances = random_distances(1, 12)
    assert k_medoids(distances, n_clusters=1).medoids.tolist() == [int(distances.sum(axis=1).argmin())]


def test_clear_groups_have_the_best_medoids_of_all() -> None:
    """For well separated groups the medoids are the best of all choices, tried one by one."""
    distances = squareform(pdist(blobs(5, 4, 3)))
    found = k_medoids(distances, n_clusters=3)
    np.testing.assert_array_equal(found.labels, np.repeat([0, 1, 2], [5, 4, 3]))
    assert found.loss == pytest.approx(min(loss_of(distances, list(tried)) for tried in combinations(range(12), 3)))


@quicker
@given(untied_distances, st.data())
def test_permuting_the_images_permutes_the_labels(distances, data) -> None:
    """The order of the images changes neither the medoids nor who is clustered with whom."""
    order = np.array(data.draw(st.permutations(range(len(distances)))))
    n_clusters = data.draw(st.integers(1, len(distances)))
    found = k_medoids(distances, n_clusters=n_clusters)
    permuted = k_medoids(distances[np.ix_(order, order)], n_clusters=n_clusters)
    assert groups(permuted.labels) == groups(found.labels[order])
    assert set(order[permuted.medoids].tolist()) == set(found.medoids.tolist())


def test_block_size_does_not_matter(monkeypatch) -> None:
    """Looking at few candidates at a time, as with many images, gives the same medoids."""
    distances = random_distances(2, 50)
    found = k_medoids(distances, n_clusters=6)
    monkeypatch.setattr(medoids_module, "_BLOCK_VALUES", 7 * 50)
    np.testing.assert_array_equal(k_medoids(distances, n_clusters=6).medoids, found.medoids)


def test_float32_in_any_memory_layout_will_do() -> None:
    """Float32 and a reversed view give the medoids of the same values in float64, and stay as they are."""
    distances = random_distances(3, 9).astype(np.float32)[::-1, ::-1]
    kept = distances.copy()
    expected = k_medoids(np.ascontiguousarray(distances, dtype=np.float64), n_clusters=3)
    np.testing.assert_array_equal(k_medoids(distances, n_clusters=3).labels, expected.labels)
    np.testing.assert_array_equal(distances, kept)


@pytest.mark.parametrize("distances", BAD_DISTANCES)
def test_unusable_distances_are_refused(distances) -> None:
    """Not square, not symmetric, negative, NaN, or an image away from itself is an error that says so."""
    with pytest.raises(ArrayContractError, match="expected"):
        k_medoids(distances, n_clusters=1)


@pytest.mark.parametrize("n_clusters", [0, -1, 6])
def test_impossible_number_of_clusters_is_refused(n_clusters) -> None:
    """No cluster, or more clusters than images, is an error that names the range."""
    with pytest.raises(ConfigError, match="1 to 5 clusters"):
        k_medoids(random_distances(0, 5), n_clusters=n_clusters)
