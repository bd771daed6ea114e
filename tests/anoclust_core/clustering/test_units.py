"""Images that count once in a tree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anoclust_core.clustering.linkage import cut_tree, linkage_tree
from anoclust_core.clustering.smoothing import smoothed
from anoclust_core.clustering.units import first_of_each, join_lone_units, tree_of_images, unit_means, units_of
from anoclust_core.errors import ArrayContractError
from anoclust_core.evaluation.partitions import adjusted_rand_index

GROUPS = st.lists(st.integers(-1, 4), min_size=3, max_size=30).filter(lambda groups: len(set(groups)) > 2)


@given(GROUPS)
def test_groups_and_images_in_none_are_units(groups: list[int]) -> None:
    """Images share a unit where they share a group; the first image of each stands for it."""
    units = units_of(np.array(groups))
    for one, group in enumerate(groups):
        for other in range(one):
            assert (units[one] == units[other]) == (group == groups[other] and group >= 0)
    assert units[first_of_each(units)].tolist() == list(range(units.max() + 1))


@given(GROUPS, st.integers(0, 1000))
def test_a_tree_of_images_is_cut_as_that_of_the_units(groups: list[int], seed: int) -> None:
    """Every cut into as many clusters as the units allow keeps each unit together, and is the cut of their tree."""
    units = units_of(np.array(groups))
    means = unit_means(np.random.default_rng(seed).normal(size=(len(groups), 3)), units)
    tree = linkage_tree(means, method="ward")
    whole = tree_of_images(tree, units)
    assert len(whole) == len(groups) - 1
    assert whole[-1, 3] == len(groups)
    assert (np.diff(whole[:, 2]) >= 0).all()
    for n_clusters in range(1, len(means) + 1):
        of_images, of_units = (cut_tree(one, n_clusters=n_clusters) for one in (whole, tree))
        assert adjusted_rand_index(of_images.tolist(), of_units[units].tolist()) == pytest.approx(1)
    assert cut_tree(whole, n_clusters=len(groups)).max() == len(groups) - 1


def test_without_groups_the_tree_stays_as_it_is() -> None:
    """Every image a unit: the same merges."""
    tree = linkage_tree(np.random.default_rng(0).normal(size=(9, 2)), method="ward")
    whole = tree_of_images(tree, np.arange(9))
    assert np.array_equal(whole[:, 2:], tree[:, 2:])
    assert np.array_equal(np.sort(whole[:, :2]), np.sort(tree[:, :2]))


def test_one_part_is_no_cluster_of_its_own() -> None:
    """A cluster of one part exposed three times joins the nearest one; a cluster of one image stays."""
    units = np.array([0, 1, 2, 3, 3, 3, 4])
    leaves = np.array([[0.0], [0.1], [5.0], [4.0], [9.0]])
    assert join_lone_units(np.array([0, 0, 1, 2, 3]), units, leaves).tolist() == [1, 1, 0, 0, 2]
    assert join_lone_units(np.zeros(5, np.int64), units, leaves).tolist() == [0] * 5
    assert join_lone_units(np.array([0, 1]), np.array([0, 0, 1, 1]), leaves[:2]).tolist() == [0, 1]


def test_an_image_is_no_neighbour_of_what_stands_for_it() -> None:
    """Smoothing among the images that stand for units gives each what it gives to the units alone."""
    values = np.random.default_rng(0).normal(size=(24, 3))
    doubled, units = np.concatenate([values, values]), np.tile(np.arange(24), 2)
    once = smoothed(doubled, among=values, own=units)
    assert np.allclose(once[:24], smoothed(values), atol=1e-6)
    assert np.array_equal(once[:24], once[24:])


def test_a_tree_of_other_units_is_refused() -> None:
    """A tree must be of the units that are given."""
    tree = linkage_tree(np.random.default_rng(0).normal(size=(4, 2)), method="ward")
    with pytest.raises(ArrayContractError, match="a tree of 3 units, found one of 4"):
        tree_of_images(tree, np.array([0, 1, 2, 2]))
    with pytest.raises(ArrayContractError, match="without gaps"):
        tree_of_images(tree, np.array([0, 1, 3, 4]))
