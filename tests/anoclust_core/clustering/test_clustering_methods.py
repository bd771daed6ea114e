from __future__ import annotations

import numpy as np
import pytest
from helpers.partitions import BAD_DESCRIPTORS, BAD_DISTANCES, blobs, groups, is_canonical, quicker, untied
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform

from anoclust_core.clustering.linkage import cut_tree, linkage_from_distances, linkage_tree
from anoclust_core.clustering.methods import (
    CLUSTERINGS,
    cluster_descriptors,
    cluster_distances,
    clustering_named,
)
from anoclust_core.errors import ArrayContractError, ConfigError

ON_DISTANCES = [name for name, clustering in CLUSTERINGS.items() if clustering.from_distances]
BY_CENTERS = [name for name in CLUSTERINGS if name not in ON_DISTANCES]
TREES = [name for name, clustering in CLUSTERINGS.items() if clustering.tree]


def draws() -> np.random.Generator:
    return np.random.default_rng(0)


def test_the_papers_methods_are_there() -> None:
    """Every method of the paper's tables has a name; those with cluster means take no distances, as in the tables."""
    assert list(CLUSTERINGS) == ["ward", "complete", "average", "single", "kmeans", "gmm", "spectral", "kmedoids"]
    assert BY_CENTERS == ["kmeans", "gmm"]
    assert TREES == ["ward", "complete", "average", "single"]
    assert all(clustering_named(name).name == name for name in CLUSTERINGS)


@pytest.mark.parametrize("method", CLUSTERINGS)
def test_every_method_finds_clear_groups(method) -> None:
    """Well separated groups come out of every method as they are, the largest as cluster 0."""
    labels = cluster_descriptors(blobs(9, 6, 4), method=method, n_clusters=3, generator=draws())
    np.testing.assert_array_equal(labels, np.repeat([0, 1, 2], [9, 6, 4]))


@pytest.mark.parametrize("method", ON_DISTANCES)
@quicker
@given(points=untied, data=st.data())
def test_descriptors_are_their_euclidean_distances(points, data, method) -> None:
    """A method that takes both finds the same clusters in descriptors and in their Euclidean distances."""
    n_clusters = data.draw(st.integers(1, len(points)))
    distances = squareform(pdist(points))
    labels = cluster_descriptors(points, method=method, n_clusters=n_clusters, generator=draws())
    assert is_canonical(labels)
    assert groups(cluster_distances(distances, method=method, n_clusters=n_clusters, generator=draws())) == groups(
        labels
    )


@pytest.mark.parametrize("method", TREES)
def test_a_tree_is_what_is_cut(method) -> None:
    """Where a method has a tree, cutting it gives the labels, so that other numbers of clusters cost no new run."""
    points, tree = np.random.default_rng(4).normal(size=(15, 3)), CLUSTERINGS[method].tree
    distances = squareform(pdist(points))
    for n_clusters in (1, 4, 15):
        np.testing.assert_array_equal(
            cut_tree(linkage_tree(points, method=tree), n_clusters=n_clusters),
            cluster_descriptors(points, method=method, n_clusters=n_clusters, generator=draws()),
        )
        np.testing.assert_array_equal(
            cut_tree(linkage_from_distances(distances, method=tree), n_clusters=n_clusters),
            cluster_distances(distances, method=method, n_clusters=n_clusters, generator=draws()),
        )


@pytest.mark.parametrize("method", BY_CENTERS)
def test_centers_need_descriptors(method) -> None:
    """K-means and mixtures refuse distances, say why, and name the methods that take them."""
    with pytest.raises(ConfigError, match="mean of a cluster") as error:
        cluster_distances(squareform(pdist(blobs(3, 3))), method=method, n_clusters=2, generator=draws())
    assert all(name in str(error.value) for name in ON_DISTANCES)


def test_an_unknown_method_is_refused() -> None:
    """A misspelt method is an error that lists the known ones."""
    for call, array in ((cluster_descriptors, blobs(3, 3)), (cluster_distances, np.zeros((2, 2)))):
        with pytest.raises(ConfigError, match="ward, complete"):
            call(array, method="k-means", n_clusters=2, generator=draws())


@pytest.mark.parametrize("method", CLUSTERINGS)
@pytest.mark.parametrize("descriptors", BAD_DESCRIPTORS)
def test_unusable_descriptors_are_refused(method, descriptors) -> None:
    """One row, no columns, NaN, infinity or overflow is an error, whatever the method."""
    with pytest.raises(ArrayContractError, match="expected"):
        cluster_descriptors(descriptors, method=method, n_clusters=1, generator=draws())


@pytest.mark.parametrize("method", ON_DISTANCES)
@pytest.mark.parametrize("distances", BAD_DISTANCES)
def test_unusable_distances_are_refused(method, distances) -> None:
    """Not square, not symmetric, negative, NaN, or an image away from itself is an error, whatever the method."""
    with pytest.raises(ArrayContractError, match="expected"):
        cluster_distances(distances, method=method, n_clusters=1, generator=draws())


@pytest.mark.parametrize("method", CLUSTERINGS)
@pytest.mark.parametrize("n_clusters", [0, -1, 6])
def test_impossible_number_of_clusters_is_refused(method, n_clusters) -> None:
    """No cluster, or more clusters than images, is an error that names the range, whatever the method."""
    with pytest.raises(ConfigError, match="1 to 5 clusters"):
        cluster_descriptors(blobs(2, 3), method=method, n_clusters=n_clusters, generator=draws())
    if CLUSTERINGS[method].from_distances:
        with pytest.raises(ConfigError, match="1 to 5 clusters"):
            cluster_distances(squareform(pdist(blobs(2, 3))), method=method, n_clusters=n_clusters, generator=draws())
