"""What people decided about some images holds in a clustering, and teaches it the others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from anoclust_core.clustering.learning.head import Head, fit_head
from anoclust_core.clustering.learning.keeping import tells_better
from anoclust_core.clustering.learning.partition import Labelled, contradicts, learn_partition, learning_space
from anoclust_core.clustering.learning.rounds import means_of
from anoclust_core.clustering.learning.seeded import seeded_ward
from anoclust_core.clustering.linkage import cut_tree, linkage_tree
from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.matching.assigning import choose_by_scores
from tests.helpers.partitions import quick


def labelled(groups: list[int], n_images: int, forbidden: list[tuple[int, int]] = []) -> Labelled:  # noqa: B006 - not changed
    """The first images in these groups, and pairs of an image and a group that it is not in."""
    found = np.full(n_images, -1, np.int64)
    found[: len(groups)] = groups
    table = np.zeros((n_images, max(groups) + 1), np.bool_)
    for row, group in forbidden:
        table[row, group] = True
    return Labelled(found, table)


@quick
@given(st.data())
def test_no_clustering_breaks_what_people_decided(data: st.DataObject) -> None:
    """Together stays together, apart stays apart, no image is in a group it is not in, whatever images look like."""
    n_images = data.draw(st.integers(4, 30))
    n_groups = data.draw(st.integers(1, 4))
    values = np.random.default_rng(data.draw(st.integers(0, 999))).integers(0, 3, size=(n_images, 2)).astype(float)
    groups = np.array(data.draw(st.lists(st.integers(-1, n_groups - 1), min_size=n_images, max_size=n_images)))
    groups[:n_groups] = np.arange(n_groups)
    forbidden = np.array(
        data.draw(st.lists(st.booleans(), min_size=n_images * n_groups, max_size=n_images * n_groups))
    ).reshape(n_images, n_groups)
    forbidden[groups >= 0] = False
    said = Labelled(groups, forbidden)
    tree = linkage_tree(values, method="ward")
    plain = data.draw(st.none() | st.integers(1, 4).map(lambda number: cut_tree(tree, n_clusters=number)))
    found = learn_partition(values, tree, said, n_clusters=data.draw(st.integers(1, 6)), plain=plain)
    assert np.array_equal(found.labels[groups >= 0], groups[groups >= 0])
    of_groups = found.labels < n_groups
    assert not forbidden[np.flatnonzero(of_groups), found.labels[of_groups]].any()
    assert np.array_equal(np.unique(found.labels), np.arange(found.labels.max() + 1))
    assert not contradicts(found.labels, said)


def kinds(n_each: int, apart: float = 4.0, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Images of three kinds in many dimensions, two of them near each other, and their kinds."""
    middles = np.zeros((3, 20))
    middles[1, 0], middles[2, 1] = apart, 3 * apart
    of = np.repeat(np.arange(3), n_each)
    return middles[of] + np.random.default_rng(seed).normal(size=(3 * n_each, 20)), of


def test_five_labels_a_kind_teach_what_a_tree_alone_joins() -> None:
    """A tree cut into two takes the two near kinds for one; from labels of three kinds each of them is found."""
    values, of = kinds(40, apart=3.0)
    tree = linkage_tree(values, method="ward")
    plain = cut_tree(tree, n_clusters=2)
    assert adjusted_rand_score(of, plain) < 0.6
    groups = np.full(len(of), -1, np.int64)
    for kind in range(3):
        groups[np.flatnonzero(of == kind)[:5]] = kind
    said = Labelled(groups, np.zeros((len(of), 3), np.bool_))
    assert contradicts(plain, said)
    others = groups < 0
    assert adjusted_rand_score(of[others], learn_partition(values, tree, said, n_clusters=2).labels[others]) > 0.7


def said_of(of: NDArray[np.int64], number: int, among: tuple[int, ...], wrong: dict[int, int]) -> Labelled:
    """The first images of some kinds as labels; some of them said to be of another kind."""
    groups = np.full(len(of), -1, np.int64)
    for kind in among:
        groups[np.flatnonzero(of == kind)[:number]] = kind
    for row, kind in wrong.items():
        groups[row] = kind
    return Labelled(groups, np.zeros((len(of), len(among)), np.bool_))


def test_clusters_that_are_right_stay_but_for_what_people_moved() -> None:
    """Where the clusters agree with the labels, one image that was moved moves, and no other does."""
    values, of = kinds(40, apart=2.0)  # so near that learning from one odd label would move others
    tree = linkage_tree(values, method="ward")
    said = said_of(of, 10, (0, 1, 2), {39: 1})
    assert contradicts(of, said)
    found = learn_partition(values, tree, said, n_clusters=3, plain=of).labels
    assert np.flatnonzero(found != of).tolist() == [39]


def test_what_was_learnt_is_held_against_labels_that_it_has_not_seen() -> None:
    """It is taken where descriptors tell labels better than clusters do in which kinds are joined."""
    values, of = kinds(40)
    joined = np.where(of == 2, 1, 0)  # kinds 0 and 1 are one cluster
    noise = np.random.default_rng(0).normal(size=values.shape)
    groups = said_of(of, 10, (0, 1, 2), {}).groups
    assert tells_better(values, of, joined, groups, n_groups=3)
    assert not tells_better(noise, of, joined, groups, n_groups=3)
    assert not tells_better(values, of, of, groups, n_groups=3)


def test_a_split_that_descriptors_show_is_followed() -> None:
    """Clusters that agree with most labels do not stay where people took two kinds apart in one of them."""
    values, of = kinds(40)
    joined = np.where(of == 2, 1, 0)  # kinds 0 and 1 are one cluster
    said = said_of(of, 6, (0, 1, 2), {})
    found = learn_partition(values, linkage_tree(values, method="ward"), said, n_clusters=3, plain=joined).labels
    assert adjusted_rand_score(of, found) > 0.85


def test_an_image_that_is_not_in_a_cluster_leaves_it_where_clusters_stay() -> None:
    """An image said to be wrong in its group goes to the nearest other cluster."""
    values, of = kinds(40)
    said = said_of(of, 10, (0, 1), {79: 0})
    said.forbidden[30, 0] = True
    found = learn_partition(values, linkage_tree(values, method="ward"), said, n_clusters=3, plain=of).labels
    assert found[30] != 0
    moved = np.flatnonzero(found[:80] != of[:80]).tolist()
    assert moved == [30, 79]


def test_a_kind_that_nobody_named_stays_a_cluster() -> None:
    """Labels of two kinds do not take in the third one; and a piece of a named kind gets no cluster of its own."""
    values, of = kinds(40)
    groups = np.full(len(of), -1, np.int64)
    groups[:5], groups[40:45] = 0, 1
    said = Labelled(groups, np.zeros((len(of), 2), np.bool_))
    found = learn_partition(values, linkage_tree(values, method="ward"), said, n_clusters=6).labels
    assert set(found[:80].tolist()) == {0, 1}
    assert not set(found[80:].tolist()) & {0, 1}


def test_fewer_clusters_are_left_than_asked_for_only_where_that_is_allowed() -> None:
    values, of = kinds(30)
    said = labelled([0, 0, 0], len(of))
    tree = linkage_tree(values, method="ward")
    assert learn_partition(values, tree, said, n_clusters=5, fewest=5).labels.max() == 4


def test_a_tree_from_seeds_is_that_of_the_definition() -> None:
    """Every merge is the cheapest of all that are allowed, computed anew from means and masses."""
    rng = np.random.default_rng(3)
    leaves, sizes = rng.normal(size=(14, 3)), rng.integers(1, 4, 14).astype(float)
    parts = [[at] for at in range(14)]
    while len(parts) > 5:
        means = [np.average(leaves[part], axis=0, weights=sizes[part]) for part in parts]
        masses = [sizes[part].sum() for part in parts]
        costs = {
            (i, j): masses[i] * masses[j] / (masses[i] + masses[j]) * ((means[i] - means[j]) ** 2).sum()
            for i in range(len(parts))
            for j in range(i)
            if sum(at < 3 for at in parts[i] + parts[j]) < 2
        }
        i, j = min(costs, key=lambda pair: costs[pair])
        parts[j] += parts.pop(i)
    found = seeded_ward(leaves, sizes, n_seeds=3, n_clusters=5)
    assert adjusted_rand_score(found, [next(n for n, part in enumerate(parts) if at in part) for at in range(14)]) == 1
    assert found[:3].tolist() == [0, 1, 2]


def test_the_mean_of_a_group_counts_labels_and_all_that_is_assigned_as_a_few() -> None:
    values = np.array([[0.0], [6.0], [6.0], [6.0], [9.0]])
    labels, groups = np.array([0, 0, 0, 0, 1]), np.array([0, -1, -1, -1, -1])
    assert means_of(values, labels, groups, 2).tolist() == [[3 * 6 / 4], [9.0]]


def test_a_head_is_ridge_regression_and_left_out_scores_are_those_of_a_fit_without_the_image() -> None:
    """More values than images and fewer give the same as the equation; the slope is finite."""
    for dim in (5, 60):
        rng = np.random.default_rng(dim)
        labels = rng.permutation(np.repeat([0, 1, 2], [8, 10, 12]))
        values = rng.normal(size=(30, dim)) + 2 * np.eye(3, dim)[labels]
        sure = np.arange(30) < 3
        head = fit_head(values, labels, is_sure=sure)
        weights = np.where(sure, 20.0, 1.0)
        weights /= 3 * np.bincount(labels, weights)[labels]
        centred = values - weights @ values
        inner = (centred * weights[:, None]).T @ centred
        ridge = np.trace(inner) / 30
        wanted = (centred * weights[:, None]).T @ (np.eye(3)[labels] - 1 / 3)
        assert head.matrix == pytest.approx(np.linalg.solve(inner + ridge * np.eye(dim), wanted))
        assert 0 <= head.slope < np.inf
        again = Head.from_arrays(head.arrays)
        assert np.array_equal(again.scores(values), head.scores(values))


def test_the_largest_score_is_chosen_and_parts_of_one_cluster_are_no_rivals() -> None:
    scores = np.array([[0.6, 0.5, 0.1], [0.1, 0.2, 0.9]])
    alone = choose_by_scores(scores, ["c1", "c2", "c3"], slope=10.0)
    merged = choose_by_scores(scores, ["c1", "c2", "c3"], slope=10.0, merged_into={"c2": "c1"})
    assert alone.ids == merged.ids == ("c1", "c3")
    assert merged.confidence[0] > alone.confidence[0]
    assert choose_by_scores(scores, ["c1", "c2", None], slope=10.0).ids == ("c1", "c2")
    with pytest.raises(ArrayContractError, match="identity for each score"):
        choose_by_scores(scores, [None, None, None], slope=1.0)


def test_labels_that_cannot_be_are_refused() -> None:
    values, of = kinds(4)
    tree = linkage_tree(values, method="ward")
    with pytest.raises(ArrayContractError, match="some without"):
        learn_partition(values, tree, Labelled(np.where(of == 1, 1, -1), np.zeros((12, 2), np.bool_)), n_clusters=2)
    with pytest.raises(ArrayContractError, match="both"):
        learn_partition(values, tree, labelled([0], 12, [(0, 0)]), n_clusters=2)
    with pytest.raises(ConfigError, match="group that somebody named"):
        learn_partition(values, tree, Labelled(np.full(12, -1), np.zeros((12, 0), np.bool_)), n_clusters=2)
    with pytest.raises(ArrayContractError, match="one shape"):
        learning_space(values, values[:3])


def test_a_clustering_that_agrees_is_told_from_one_that_does_not() -> None:
    said = labelled([0, 0, 1], 4, [(3, 0)])
    assert not contradicts(np.array([5, 5, 2, 2]), said)
    assert contradicts(np.array([5, 2, 2, 2]), said)
    assert contradicts(np.array([5, 5, 5, 2]), said)
    assert contradicts(np.array([5, 5, 2, 5]), said)
