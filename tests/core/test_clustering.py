from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.cluster import hierarchy

from anoclust_core.clustering import (
    cut_tree,
    distances_to_cluster_means,
    suggest_n_clusters,
    ward_linkage,
)
from anoclust_core.errors import ArrayContractError, ConfigError

quick = settings(max_examples=25, deadline=None, database=None)

# Real-valued draws have no ties; a small integer grid is full of ties and duplicates.
untied = st.builds(
    lambda seed, n: np.random.default_rng(seed).normal(size=(n, 3)), st.integers(0, 2**32 - 1), st.integers(3, 12)
)
tied = st.integers(2, 12).flatmap(lambda n: arrays(np.float64, (n, 2), elements=st.integers(0, 2).map(float)))


def groups(labels: NDArray[np.integer]) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in set(labels.tolist())}


def lance_williams(points: NDArray[np.float64]) -> tuple[list[float], list[set[frozenset[int]]]]:
    """Ward from the Lance-Williams recurrence on squared distances: heights and the partition after each merge."""
    squared = {
        frozenset((i, j)): float(((points[i] - points[j]) ** 2).sum()) for i in range(len(points)) for j in range(i)
    }
    members = {i: frozenset([i]) for i in range(len(points))}
    heights, stages = [], []
    while len(members) > 1:
        pair = min(squared, key=squared.__getitem__)
        a, b = pair
        height, new = squared.pop(pair), max(members) + 1
        for other in set(members) - pair:
            n_a, n_b, n_o = len(members[a]), len(members[b]), len(members[other])
            to_a, to_b = squared.pop(frozenset((a, other))), squared.pop(frozenset((b, other)))
            merged = (n_a + n_o) * to_a + (n_b + n_o) * to_b - n_o * height
            squared[frozenset((new, other))] = merged / (n_a + n_b + n_o)
        members[new] = members.pop(a) | members.pop(b)
        heights.append(height**0.5)
        stages.append(set(members.values()))
    return heights, stages


def blobs(*sizes: int, dim: int = 4) -> NDArray[np.float64]:
    rng = np.random.default_rng(7)
    return np.concatenate([10 * np.eye(dim)[i] + 0.1 * rng.normal(size=(size, dim)) for i, size in enumerate(sizes)])


@quick
@given(untied)
def test_ward_is_the_lance_williams_recurrence(points) -> None:
    """The tree has the heights and the clusters of Ward's textbook recurrence."""
    linkage = ward_linkage(points)
    heights, stages = lance_williams(points)
    np.testing.assert_allclose(linkage[:, 2], heights, rtol=1e-9)
    for merges, stage in enumerate(stages, start=1):
        assert groups(cut_tree(linkage, n_clusters=len(points) - merges)) == stage


@quick
@given(untied)
def test_ward_is_scipys(points) -> None:
    """The tree is SciPy's Ward tree, which needs all distances in memory."""
    expected = hierarchy.linkage(points, method="ward")
    linkage = ward_linkage(points)
    np.testing.assert_array_equal(np.sort(linkage[:, :2], axis=1), np.sort(expected[:, :2], axis=1))
    np.testing.assert_allclose(linkage[:, 2:], expected[:, 2:], rtol=1e-9)
    assert linkage.dtype == np.float64


@quick
@given(tied)
def test_duplicates_are_fine(points) -> None:
    """Duplicate descriptors give a valid tree whose heights never decrease; duplicates merge first, at height 0."""
    linkage = ward_linkage(points)
    assert hierarchy.is_valid_linkage(linkage)
    assert (np.diff(linkage[:, 2]) >= 0).all()
    n_distinct = len(np.unique(points, axis=0))
    assert (linkage[:, 2] == 0).sum() == len(points) - n_distinct
    labels = cut_tree(linkage, n_clusters=n_distinct)
    assert groups(labels) == groups(np.unique(points, axis=0, return_inverse=True)[1].reshape(-1))


def test_ward_takes_float32_in_any_memory_layout() -> None:
    """Float32 and a reversed view give the tree of the same values in float64."""
    points = np.random.default_rng(1).normal(size=(9, 6)).astype(np.float32)[:, ::-2]
    np.testing.assert_array_equal(ward_linkage(points), ward_linkage(np.ascontiguousarray(points, dtype=np.float64)))


@pytest.mark.parametrize(
    "descriptors",
    [
        np.zeros(4),
        np.zeros((1, 3)),
        np.zeros((0, 3)),
        np.zeros((3, 0)),
        np.array([[0.0], [np.nan]]),
        np.array([[0.0], [np.inf]]),
        np.array([[1e200], [-1e200]]),
    ],
)
def test_unusable_descriptors_are_refused(descriptors) -> None:
    """One row, no columns, NaN, infinity or overflow is an error before any tree comes out."""
    with pytest.raises(ArrayContractError, match="expected"):
        ward_linkage(descriptors)


@quick
@given(untied)
def test_cut_is_scipys_where_nothing_ties(points) -> None:
    """Without ties a cut has the clusters of SciPy's fcluster."""
    linkage = ward_linkage(points)
    for n_clusters in range(1, len(points) + 1):
        expected = hierarchy.fcluster(linkage, n_clusters, criterion="maxclust")
        assert groups(cut_tree(linkage, n_clusters=n_clusters)) == groups(expected)


@quick
@given(tied)
def test_cut_has_exactly_the_clusters_asked_for(points) -> None:
    """Ties and duplicates never change the number of clusters, and each finer cut splits one cluster of the coarser."""
    linkage = ward_linkage(points)
    coarser = {frozenset(range(len(points)))}
    for n_clusters in range(1, len(points) + 1):
        labels = cut_tree(linkage, n_clusters=n_clusters)
        assert labels.dtype == np.int64
        assert sorted(set(labels.tolist())) == list(range(n_clusters))
        assert len(groups(labels) - coarser) == (0 if n_clusters == 1 else 2)
        coarser = groups(labels)


@quick
@given(tied, st.data())
def test_clusters_are_numbered_by_size(points, data) -> None:
    """Cluster 0 is the largest; clusters of equal size follow the order of their first images."""
    linkage = ward_linkage(points)
    labels = cut_tree(linkage, n_clusters=data.draw(st.integers(1, len(points)))).tolist()
    ranks = [(-labels.count(number), labels.index(number)) for number in range(max(labels) + 1)]
    assert ranks == sorted(ranks)


@quick
@given(untied, st.data())
def test_permuting_the_images_permutes_the_labels(points, data) -> None:
    """The order of the images does not change who is clustered with whom, nor the size of each numbered cluster."""
    order = np.array(data.draw(st.permutations(range(len(points)))))
    n_clusters = data.draw(st.integers(1, len(points)))
    labels = cut_tree(ward_linkage(points), n_clusters=n_clusters)
    permuted = cut_tree(ward_linkage(points[order]), n_clusters=n_clusters)
    assert groups(permuted) == groups(labels[order])
    np.testing.assert_array_equal(np.bincount(permuted), np.bincount(labels))


@pytest.mark.parametrize("n_clusters", [0, -1, 6])
def test_impossible_number_of_clusters_is_refused(n_clusters) -> None:
    """No cluster, or more clusters than images, is an error that names the range."""
    with pytest.raises(ConfigError, match="1 to 5 clusters"):
        cut_tree(ward_linkage(blobs(2, 3)), n_clusters=n_clusters)


@pytest.mark.parametrize(
    "linkage",
    [
        np.zeros((3, 4)),
        np.zeros(4),
        np.zeros((0, 4)),
        np.array([[0, 1, np.nan, 2]]),
        np.array([[0, 5, 1.0, 2]]),
        np.array([[0, 3, 1.0, 2], [1, 2, 2.0, 3]]),
    ],
)
def test_a_table_that_is_no_tree_is_refused(linkage) -> None:
    """A damaged linkage is an error, not a wrong partition."""
    with pytest.raises(ArrayContractError, match="linkage"):
        cut_tree(linkage, n_clusters=1)


@pytest.mark.parametrize("sizes", [(5, 4), (9, 3, 6), (4, 4, 4, 4)])
def test_clear_groups_are_counted(sizes) -> None:
    """Well separated groups are found in their number."""
    suggestion = suggest_n_clusters(ward_linkage(blobs(*sizes)), max_clusters=8)
    assert suggestion.n_clusters == len(sizes)
    assert list(suggestion.scores) == list(range(2, 9))


def test_groups_of_copies_are_counted() -> None:
    """Images that are exact copies of three different ones make three clusters."""
    points = np.repeat([[0.0, 0.0], [1.0, 0.0], [0.0, 5.0]], 4, axis=0)
    suggestion = suggest_n_clusters(ward_linkage(points))
    assert suggestion.n_clusters == 3
    assert suggestion.scores[3] == np.inf


@quick
@given(tied)
def test_suggestion_is_where_the_cut_changes_most(points) -> None:
    """Whatever the ties, the suggestion has the largest step and never more clusters than images."""
    linkage = ward_linkage(points)
    suggestion = suggest_n_clusters(linkage, max_clusters=6)
    assert 1 <= suggestion.n_clusters <= len(points)
    for n_clusters, step in suggestion.scores.items():
        lowest_undone, highest_kept = linkage[-(n_clusters - 1), 2], linkage[-n_clusters, 2]
        if highest_kept > 0:
            assert step == pytest.approx(lowest_undone / highest_kept)
        assert step <= suggestion.scores[suggestion.n_clusters]


@quick
@given(untied, st.floats(1e-3, 1e3))
def test_suggestion_ignores_the_unit(points, unit) -> None:
    """Descriptors in another unit get the same number of clusters."""
    assert (
        suggest_n_clusters(ward_linkage(points * unit)).n_clusters
        == suggest_n_clusters(ward_linkage(points)).n_clusters
    )


@pytest.mark.parametrize(("points", "reason"), [(np.ones((6, 3)), "equal"), (np.eye(2), "too few")])
def test_nothing_to_choose_from_is_one_cluster(points, reason) -> None:
    """Equal descriptors, or just two images, make one cluster, and the criterion says why."""
    suggestion = suggest_n_clusters(ward_linkage(points))
    assert suggestion.n_clusters == 1
    assert reason in suggestion.criterion
    assert suggestion.scores == {}


def test_useless_limit_is_refused() -> None:
    """A limit that leaves no number to try is an error that names the setting."""
    with pytest.raises(ConfigError, match="max_clusters"):
        suggest_n_clusters(ward_linkage(blobs(3, 3)), max_clusters=1)


@quick
@given(untied, st.data())
def test_distances_are_to_the_mean_of_the_own_cluster(points, data) -> None:
    """Each distance is that to the mean of the images of the same cluster; alone means 0."""
    n_images = len(points)
    labels = np.array(data.draw(st.lists(st.integers(-2, 3), min_size=n_images, max_size=n_images)))
    expected = [
        np.linalg.norm(point - points[labels == label].mean(axis=0))
        for point, label in zip(points, labels, strict=True)
    ]
    distances = distances_to_cluster_means(points, labels)
    np.testing.assert_allclose(distances, expected, atol=1e-12)
    alone = np.array([(labels == label).sum() == 1 for label in labels])
    assert (distances[alone] == 0).all()


@pytest.mark.parametrize("labels", [np.zeros(2, dtype=int), np.zeros((3, 1), dtype=int), np.zeros(3)])
def test_distances_need_one_integer_label_per_image(labels) -> None:
    """Labels of another length, shape or kind are refused."""
    with pytest.raises(ArrayContractError, match="integer labels of shape"):
        distances_to_cluster_means(np.ones((3, 2)), labels)
