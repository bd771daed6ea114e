from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from helpers.partitions import (
    BAD_DESCRIPTORS,
    BAD_DISTANCES,
    blobs,
    groups,
    is_canonical,
    quicker,
    tied,
    tied_distances,
    untied,
)
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform
from sklearn.cluster import SpectralClustering
from threadpoolctl import threadpool_limits

from anoclust_core.clustering.partition import gaussian_mixture, k_means, spectral
from anoclust_core.errors import ArrayContractError, ConfigError

Labels = NDArray[np.int64]


def draws(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def euclidean(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return squareform(pdist(points))


def spectral_of_points(points, *, n_clusters: int, generator: np.random.Generator) -> Labels:
    return spectral(euclidean(points), n_clusters=n_clusters, generator=generator)


def sum_of_squares(points: NDArray[np.float64], labels: NDArray[np.integer]) -> float:
    return sum(float(((points[labels == k] - points[labels == k].mean(axis=0)) ** 2).sum()) for k in np.unique(labels))


def rings() -> tuple[NDArray[np.float64], list[int]]:
    """Two circles around one middle, 30 images each."""
    angles = np.linspace(0, 2 * np.pi, 30, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.concatenate([circle, 4 * circle]), [0] * 30 + [1] * 30


def sticks() -> tuple[NDArray[np.float64], list[int]]:
    """Two long parallel sticks, side by side, 60 images each."""
    stick = draws(3).normal(size=(120, 2)) * [1.5, 0.2]
    return stick + np.repeat([[0, 0], [0, 2]], 60, axis=0), [0] * 60 + [1] * 60


METHODS = [k_means, gaussian_mixture, spectral_of_points]


@pytest.mark.parametrize("seed", range(6))
def test_k_means_is_the_best_of_all_partitions(seed: int) -> None:
    """With enough starts k-means finds the partition with the smallest sum of squares, tried one by one."""
    points = draws(seed).normal(size=(6, 2))
    labels = k_means(points, n_clusters=3, generator=draws(), n_starts=30)
    best = min(sum_of_squares(points, np.array(tried)) for tried in product(range(3), repeat=6) if len(set(tried)) == 3)
    assert sum_of_squares(points, labels) == pytest.approx(best)


@quicker
@given(untied, st.integers(0, 99), st.data())
def test_k_means_puts_every_image_to_its_nearest_mean(points, seed, data) -> None:
    """However bad the draws, no image is nearer to the mean of another cluster than to that of its own."""
    n_clusters = data.draw(st.integers(1, len(points)))
    labels = k_means(points, n_clusters=n_clusters, generator=draws(seed), n_starts=1)
    assert len(groups(labels)) == n_clusters
    means = np.stack([points[labels == k].mean(axis=0) for k in range(n_clusters)])
    to_means = np.linalg.norm(points[:, None] - means, axis=2)
    assert (to_means[np.arange(len(points)), labels] <= to_means.min(axis=1) + 1e-9).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sizes", [(9, 6), (12, 8, 5), (10, 10, 10, 10)])
def test_clear_groups_are_found(method, sizes) -> None:
    """Well separated groups come out as they are, the largest as cluster 0."""
    labels = method(blobs(*sizes), n_clusters=len(sizes), generator=draws())
    np.testing.assert_array_equal(labels, np.repeat(np.arange(len(sizes)), sizes))


def test_a_mixture_sees_the_shape_of_clusters() -> None:
    """Long parallel groups, which k-means cuts across, are told apart by their covariance."""
    points, expected = sticks()
    assert gaussian_mixture(points, n_clusters=2, generator=draws(), n_starts=5).tolist() == expected
    assert k_means(points, n_clusters=2, generator=draws()).tolist() != expected


def test_spectral_follows_neighbours() -> None:
    """Two rings around one middle, which no means tell apart, are told apart with a small sigma."""
    points, expected = rings()
    assert spectral(euclidean(points), n_clusters=2, generator=draws(), sigma=0.3).tolist() == expected
    assert k_means(points, n_clusters=2, generator=draws()).tolist() != expected


@pytest.mark.parametrize("seed", range(3))
def test_spectral_is_scikit_learns(seed: int) -> None:
    """With the affinities given to scikit-learn its spectral clustering finds the same clusters."""
    points = blobs(9, 7, 5) + draws(seed).normal(size=(21, 4))
    distances = euclidean(points)
    sigma = np.median(distances[np.triu_indices(21, 1)])
    theirs = SpectralClustering(3, affinity="precomputed", random_state=seed).fit_predict(
        np.exp(-((distances / sigma) ** 2) / 2)
    )
    assert groups(spectral(distances, n_clusters=3, generator=draws(seed))) == groups(theirs)


def test_parts_without_any_affinity_come_apart() -> None:
    """Groups too far apart for any affinity are the clusters; with fewer clusters whole groups are united."""
    parts = [4, 3, 2]
    centers = np.repeat([0.0, 1e6, 3e6], parts)[:, None]
    distances = euclidean(centers + draws().normal(size=(9, 1)))
    labels = spectral(distances, n_clusters=3, generator=draws(), sigma=1.0)
    np.testing.assert_array_equal(labels, np.repeat([0, 1, 2], parts))
    two = spectral(distances, n_clusters=2, generator=draws(), sigma=1.0)
    assert all(len(set(two[labels == part].tolist())) == 1 for part in range(3))


def test_outliers_beyond_all_affinity_do_no_harm() -> None:
    """An image whose affinity to all others is next to nothing does not swallow the clusters of the rest."""
    points = np.concatenate([blobs(9, 6), np.full((1, 4), 300.0)])
    labels = spectral(euclidean(points), n_clusters=2, generator=draws())
    np.testing.assert_array_equal(labels[:15], np.repeat([0, 1], [9, 6]))


def test_every_image_on_its_own_has_no_neighbour() -> None:
    """Where sigma leaves no image any neighbour there still is an answer, the same every time."""
    distances = euclidean(np.arange(6.0)[:, None])
    first = spectral(distances, n_clusters=3, generator=draws(), sigma=1e-300)
    assert is_canonical(first)
    np.testing.assert_array_equal(first, spectral(distances, n_clusters=3, generator=draws(), sigma=1e-300))


@pytest.mark.parametrize("method", METHODS)
@quicker
@given(points=untied, data=st.data())
def test_permuting_the_images_permutes_the_labels(points, data, method) -> None:
    """The order of the images changes neither who is clustered with whom nor the random draws."""
    order = np.array(data.draw(st.permutations(range(len(points)))))
    n_clusters = data.draw(st.integers(1, len(points)))
    labels = method(points, n_clusters=n_clusters, generator=draws())
    assert groups(method(points[order], n_clusters=n_clusters, generator=draws())) == groups(labels[order])


@pytest.mark.parametrize("method", METHODS)
def test_draws_do_not_depend_on_the_order(method) -> None:
    """Where there is no clear group and the draws decide, the order of the images still does not matter."""
    points = draws(4).normal(size=(60, 5))
    labels = method(points, n_clusters=9, generator=draws(1))
    for seed in range(3):
        order = draws(seed).permutation(60)
        assert groups(method(points[order], n_clusters=9, generator=draws(1))) == groups(labels[order])


@pytest.mark.parametrize("method", METHODS)
@quicker
@given(points=tied, seed=st.integers(0, 99), data=st.data())
def test_duplicates_are_fine(points, seed, data, method) -> None:
    """Duplicates give numbered clusters without a warning, at most as many as asked for and as are distinct."""
    n_clusters = data.draw(st.integers(1, len(points)))
    labels = method(points, n_clusters=n_clusters, generator=draws(seed))
    assert labels.shape == (len(points),)
    assert is_canonical(labels)
    assert labels.max() < min(n_clusters, len(np.unique(points, axis=0)))


@quicker
@given(tied, st.data())
def test_k_means_keeps_duplicates_together(points, data) -> None:
    """Equal descriptors are in one cluster, and there are as many clusters as asked for or as are distinct."""
    n_clusters = data.draw(st.integers(1, len(points)))
    labels = k_means(points, n_clusters=n_clusters, generator=draws())
    distinct, codes = np.unique(points, axis=0, return_inverse=True)
    assert all(len(set(labels[codes.reshape(-1) == code].tolist())) == 1 for code in range(len(distinct)))
    assert labels.max() + 1 == min(n_clusters, len(distinct))


@quicker
@given(tied_distances, st.data())
def test_spectral_takes_any_distances(distances, data) -> None:
    """Ties, zeros between different images and broken triangles give numbered clusters without a warning."""
    n_clusters = data.draw(st.integers(1, len(distances)))
    labels = spectral(distances, n_clusters=n_clusters, generator=draws())
    assert is_canonical(labels)
    assert labels.max() < n_clusters


@pytest.mark.parametrize("method", [k_means, gaussian_mixture])
@pytest.mark.parametrize(("unit", "shift"), [(1e-250, 0.0), (1e140, 0.0), (1.0, 1e6)])
def test_unit_and_origin_do_not_matter(method, unit, shift) -> None:
    """Descriptors in another unit, or with a constant added, get the same clusters."""
    points = blobs(9, 7, 5) + draws(1).normal(size=(21, 4))
    labels = method(points, n_clusters=3, generator=draws())
    np.testing.assert_array_equal(method(unit * points + shift, n_clusters=3, generator=draws()), labels)


@pytest.mark.parametrize("unit", [1e-250, 1e140])
def test_the_unit_of_distances_does_not_matter(unit) -> None:
    """Without a sigma, distances in another unit get the same clusters."""
    distances = euclidean(blobs(9, 7, 5) + draws(1).normal(size=(21, 4)))
    labels = spectral(distances, n_clusters=3, generator=draws())
    np.testing.assert_array_equal(spectral(unit * distances, n_clusters=3, generator=draws()), labels)


def test_a_mixture_of_fewer_images_than_features_is_fine() -> None:
    """As in the papers' data, a few dozen images of hundreds of features are clustered without a warning."""
    points = np.concatenate([draws().normal(size=(12, 200)), 3 + draws(1).normal(size=(8, 200))]).astype(np.float32)
    assert gaussian_mixture(points, n_clusters=2, generator=draws()).tolist() == [0] * 12 + [1] * 8
    assert is_canonical(gaussian_mixture(points, n_clusters=20, generator=draws(), ridge=1e-9))


@pytest.mark.parametrize("method", METHODS)
def test_labels_follow_from_the_seed_alone(method) -> None:
    """The same seed gives the same labels, on one thread and on all, and leaves its input as it was."""
    points = draws(5).normal(size=(60, 8))
    kept = points.copy()
    labels = method(points, n_clusters=7, generator=draws(1))
    with threadpool_limits(limits=1):
        np.testing.assert_array_equal(method(points, n_clusters=7, generator=draws(1)), labels)
    np.testing.assert_array_equal(points, kept)


@pytest.mark.parametrize("method", [k_means, gaussian_mixture])
@pytest.mark.parametrize("descriptors", BAD_DESCRIPTORS)
def test_unusable_descriptors_are_refused(method, descriptors) -> None:
    """One row, no columns, NaN, infinity or overflow is an error that says so."""
    with pytest.raises(ArrayContractError, match="expected"):
        method(descriptors, n_clusters=1, generator=draws())


@pytest.mark.parametrize("distances", BAD_DISTANCES)
def test_unusable_distances_are_refused(distances) -> None:
    """Not square, not symmetric, negative, NaN, or an image away from itself is an error that says so."""
    with pytest.raises(ArrayContractError, match="expected"):
        spectral(distances, n_clusters=1, generator=draws())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_clusters", [0, -1, 6])
def test_impossible_number_of_clusters_is_refused(method, n_clusters) -> None:
    """No cluster, or more clusters than images, is an error that names the range."""
    with pytest.raises(ConfigError, match="1 to 5 clusters"):
        method(blobs(2, 3), n_clusters=n_clusters, generator=draws())


@pytest.mark.parametrize("sigma", [0.0, -1.0, np.nan, np.inf])
def test_a_useless_sigma_is_refused(sigma) -> None:
    """A width that is not a positive number is an error that names it."""
    with pytest.raises(ConfigError, match="sigma"):
        spectral(euclidean(blobs(2, 3)), n_clusters=2, generator=draws(), sigma=sigma)


@pytest.mark.parametrize("ridge", [0.0, 1e-12, -1.0, np.nan, np.inf])
def test_a_useless_ridge_is_refused(ridge) -> None:
    """A ridge that is no number, or too small to keep a covariance invertible, is an error that names it."""
    with pytest.raises(ConfigError, match="ridge"):
        gaussian_mixture(blobs(2, 3), n_clusters=2, generator=draws(), ridge=ridge)


@pytest.mark.parametrize("method", [k_means, gaussian_mixture])
def test_no_start_is_refused(method) -> None:
    """Without a start there is no clustering; that is an error."""
    with pytest.raises(ConfigError, match="start"):
        method(blobs(2, 3), n_clusters=2, generator=draws(), n_starts=0)
