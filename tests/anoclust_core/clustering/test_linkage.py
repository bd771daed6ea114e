from __future__ import annotations

import numpy as np
import pytest
from helpers.partitions import (
    BAD_DESCRIPTORS,
    BAD_DISTANCES,
    blobs,
    groups,
    is_canonical,
    quick,
    quicker,
    symmetric,
    tied,
    tied_distances,
    untied,
    untied_distances,
)
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist, squareform

from anoclust_core.clustering.labels import distances_to_cluster_means
from anoclust_core.clustering.linkage import (
    LinkageMethod,
    cut_tree,
    linkage_from_distances,
    linkage_tree,
    suggest_n_clusters,
)
from anoclust_core.errors import ArrayContractError, ConfigError

METHODS: tuple[LinkageMethod, ...] = ("ward", "single", "complete", "average")


def ward(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return linkage_tree(points, method="ward")


def lance_williams(
    distances: NDArray[np.float64], method: LinkageMethod
) -> tuple[list[float], list[set[frozenset[int]]]]:
    """The textbook recurrence, on squared distances for Ward: heights and the partition after each merge."""
    power = 2 if method == "ward" else 1
    apart = {frozenset((i, j)): float(distances[i, j]) ** power for i in range(len(distances)) for j in range(i)}
    members = {i: frozenset([i]) for i in range(len(distances))}
    heights, stages = [], []
    while len(members) > 1:
        pair = min(apart, key=apart.__getitem__)
        a, b = pair
        height, new = apart.pop(pair), max(members) + 1
        for other in set(members) - pair:
            n_a, n_b, n_o = len(members[a]), len(members[b]), len(members[other])
            to_a, to_b = apart.pop(frozenset((a, other))), apart.pop(frozenset((b, other)))
            apart[frozenset((new, other))] = {
                "single": min(to_a, to_b),
                "complete": max(to_a, to_b),
                "average": (n_a * to_a + n_b * to_b) / (n_a + n_b),
                "ward": ((n_a + n_o) * to_a + (n_b + n_o) * to_b - n_o * height) / (n_a + n_b + n_o),
            }[method]
        members[new] = members.pop(a) | members.pop(b)
        heights.append(height ** (1 / power))
        stages.append(set(members.values()))
    return heights, stages


@pytest.mark.parametrize("method", METHODS)
@quicker
@given(points=untied)
def test_a_tree_of_descriptors_is_the_lance_williams_recurrence(points, method) -> None:
    """The tree has the heights and the clusters of the textbook recurrence."""
    linkage = linkage_tree(points, method=method)
    heights, stages = lance_williams(squareform(pdist(points)), method)
    np.testing.assert_allclose(linkage[:, 2], heights, rtol=1e-9)
    for merges, stage in enumerate(stages, start=1):
        assert groups(cut_tree(linkage, n_clusters=len(points) - merges)) == stage


@pytest.mark.parametrize("method", METHODS)
@quicker
@given(distances=untied_distances)
def test_a_tree_of_distances_is_the_lance_williams_recurrence(distances, method) -> None:
    """Distances that are not Euclidean get the recurrence too; Ward's squares them itself."""
    linkage = linkage_from_distances(distances, method=method)
    heights, stages = lance_williams(distances, method)
    np.testing.assert_allclose(linkage[:, 2], heights, rtol=1e-9)
    for merges, stage in enumerate(stages, start=1):
        assert groups(cut_tree(linkage, n_clusters=len(distances) - merges)) == stage


@pytest.mark.parametrize("method", METHODS)
@quicker
@given(points=untied)
def test_trees_are_scipys(points, method) -> None:
    """From descriptors and from their distances comes SciPy's tree."""
    expected = hierarchy.linkage(points, method=method)
    for linkage in (
        linkage_tree(points, method=method),
        linkage_from_distances(squareform(pdist(points)), method=method),
    ):
        np.testing.assert_array_equal(np.sort(linkage[:, :2], axis=1), np.sort(expected[:, :2], axis=1))
        np.testing.assert_allclose(linkage[:, 2:], expected[:, 2:], rtol=1e-9)
        assert linkage.dtype == np.float64


@pytest.mark.parametrize("method", METHODS)
@quicker
@given(points=tied)
def test_duplicates_are_fine(points, method) -> None:
    """Duplicate descriptors give a valid tree whose heights never decrease; duplicates merge first, at height 0."""
    linkage = linkage_tree(points, method=method)
    assert hierarchy.is_valid_linkage(linkage)
    assert (np.diff(linkage[:, 2]) >= 0).all()
    n_distinct = len(np.unique(points, axis=0))
    assert (linkage[:, 2] == 0).sum() == len(points) - n_distinct
    labels = cut_tree(linkage, n_clusters=n_distinct)
    assert groups(labels) == groups(np.unique(points, axis=0, return_inverse=True)[1].reshape(-1))


@pytest.mark.parametrize("method", METHODS)
@quicker
@given(distances=tied_distances)
def test_any_distances_give_a_valid_tree(distances, method) -> None:
    """Ties, zeros between different images and broken triangles give a valid tree whose heights never decrease."""
    linkage = linkage_from_distances(distances, method=method)
    assert hierarchy.is_valid_linkage(linkage)
    assert (np.diff(linkage[:, 2]) >= -1e-12).all()


def test_float32_in_any_memory_layout_will_do() -> None:
    """Float32 and a reversed view give the tree of the same values in float64, and stay as they are."""
    points = np.random.default_rng(1).normal(size=(9, 6)).astype(np.float32)[:, ::-2]
    distances = symmetric(np.random.default_rng(1).uniform(size=(6, 6))).astype(np.float32)[::-1, ::-1]
    kept = points.copy(), distances.copy()
    np.testing.assert_array_equal(ward(points), ward(np.ascontiguousarray(points, dtype=np.float64)))
    np.testing.assert_array_equal(
        linkage_from_distances(distances, method="ward"),
        linkage_from_distances(np.ascontiguousarray(distances, dtype=np.float64), method="ward"),
    )
    np.testing.assert_array_equal(points, kept[0])
    np.testing.assert_array_equal(distances, kept[1])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("descriptors", BAD_DESCRIPTORS)
def test_unusable_descriptors_are_refused(descriptors, method) -> None:
    """One row, no columns, NaN, infinity or overflow is an error before any tree comes out."""
    with pytest.raises(ArrayContractError, match="expected"):
        linkage_tree(descriptors, method=method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("distances", BAD_DISTANCES)
def test_unusable_distances_are_refused(distances, method) -> None:
    """Not square, not symmetric, negative, NaN, or an image away from itself: an error before any tree comes out."""
    with pytest.raises(ArrayContractError, match="expected"):
        linkage_from_distances(distances, method=method)


def test_an_unknown_linkage_is_refused() -> None:
    """A misspelt method is an error that lists the known ones."""
    with pytest.raises(ConfigError, match="ward, single"):
        linkage_tree(blobs(2, 3), method="wards")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="ward, single"):
        linkage_from_distances(np.zeros((2, 2)), method="centroid")  # type: ignore[arg-type]


@quick
@given(untied)
def test_cut_is_scipys_where_nothing_ties(points) -> None:
    """Without ties a cut has the clusters of SciPy's fcluster."""
    linkage = ward(points)
    for n_clusters in range(1, len(points) + 1):
        expected = hierarchy.fcluster(linkage, n_clusters, criterion="maxclust")
        assert groups(cut_tree(linkage, n_clusters=n_clusters)) == groups(expected)


@quick
@given(tied)
def test_cut_has_exactly_the_clusters_asked_for(points) -> None:
    """Ties and duplicates never change the number of clusters, and each finer cut splits one cluster of the coarser."""
    linkage = ward(points)
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
    linkage = ward(points)
    assert is_canonical(cut_tree(linkage, n_clusters=data.draw(st.integers(1, len(points)))))


@pytest.mark.parametrize("method", METHODS)
@quicker
@given(points=untied, data=st.data())
def test_permuting_the_images_permutes_the_labels(points, data, method) -> None:
    """The order of the images does not change who is clustered with whom, nor the size of each numbered cluster."""
    order = np.array(data.draw(st.permutations(range(len(points)))))
    n_clusters = data.draw(st.integers(1, len(points)))
    labels = cut_tree(linkage_tree(points, method=method), n_clusters=n_clusters)
    permuted = cut_tree(linkage_tree(points[order], method=method), n_clusters=n_clusters)
    assert groups(permuted) == groups(labels[order])
    np.testing.assert_array_equal(np.bincount(permuted), np.bincount(labels))


@pytest.mark.parametrize("n_clusters", [0, -1, 6])
def test_impossible_number_of_clusters_is_refused(n_clusters) -> None:
    """No cluster, or more clusters than images, is an error that names the range."""
    with pytest.raises(ConfigError, match="1 to 5 clusters"):
        cut_tree(ward(blobs(2, 3)), n_clusters=n_clusters)


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
    suggestion = suggest_n_clusters(ward(blobs(*sizes)), max_clusters=8)
    assert suggestion.n_clusters == len(sizes)
    assert list(suggestion.scores) == list(range(2, 9))


def test_groups_of_copies_are_counted() -> None:
    """Images that are exact copies of three different ones make three clusters."""
    points = np.repeat([[0.0, 0.0], [1.0, 0.0], [0.0, 5.0]], 4, axis=0)
    suggestion = suggest_n_clusters(ward(points))
    assert suggestion.n_clusters == 3
    assert suggestion.scores[3] == np.inf


@quick
@given(tied)
def test_suggestion_is_where_the_cut_changes_most(points) -> None:
    """Whatever the ties, the suggestion has the largest step and never more clusters than images."""
    linkage = ward(points)
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
    assert suggest_n_clusters(ward(points * unit)).n_clusters == suggest_n_clusters(ward(points)).n_clusters


@pytest.mark.parametrize(("points", "reason"), [(np.ones((6, 3)), "equal"), (np.eye(2), "too few")])
def test_nothing_to_choose_from_is_one_cluster(points, reason) -> None:
    """Equal descriptors, or just two images, make one cluster, and the criterion says why."""
    suggestion = suggest_n_clusters(ward(points))
    assert suggestion.n_clusters == 1
    assert reason in suggestion.criterion
    assert suggestion.scores == {}


def test_useless_limit_is_refused() -> None:
    """A limit that leaves no number to try is an error that names the setting."""
    with pytest.raises(ConfigError, match="max_clusters"):
        suggest_n_clusters(ward(blobs(3, 3)), max_clusters=1)


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
    with pytest.raises(ArrayContractError, match=r"integer labels of shape|labels to be an array of whole numbers"):
        distances_to_cluster_means(np.ones((3, 2)), labels)
