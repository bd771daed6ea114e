"""Ward's tree in rounds is Ward's tree: against fastcluster, and by its definition where heights are equal."""

from __future__ import annotations

import fastcluster
import numpy as np
import pytest
from helpers.partitions import blobs, groups, quick, tied, untied
from hypothesis import given
from numpy.typing import NDArray
from scipy.cluster.hierarchy import is_valid_linkage

from anoclust_core.clustering import linkage as linkage_module
from anoclust_core.clustering import rounds
from anoclust_core.clustering.linkage import cut_tree, linkage_tree
from anoclust_core.clustering.rounds import ward_in_rounds

Points = NDArray[np.float64]


def assert_is_wards(points: Points, linkage: Points, *, tolerance: float = 1e-9) -> None:
    """Every merge is of two clusters than which no two are nearer at that time, at the height that Ward gives it."""
    assert is_valid_linkage(linkage)
    members = {row: [row] for row in range(len(points))}
    for number, (one, other, height, size) in enumerate(linkage):
        heights = {
            (a, b): np.sqrt(2 * len(members[a]) * len(members[b]) / (len(members[a]) + len(members[b])))
            * np.linalg.norm(points[members[a]].mean(axis=0) - points[members[b]].mean(axis=0))
            for a in members
            for b in members
            if a < b
        }
        assert height == pytest.approx(heights[int(one), int(other)], abs=tolerance)
        assert height <= min(heights.values()) + tolerance
        members[len(points) + number] = members.pop(int(one)) + members.pop(int(other))
        assert size == len(members[len(points) + number])


def assert_same_tree(points: Points) -> None:
    """Heights, sizes and every cut are those of fastcluster, up to rounding."""
    ours, theirs = ward_in_rounds(points), fastcluster.linkage_vector(points, method="ward")
    np.testing.assert_allclose(ours[:, 2], theirs[:, 2], rtol=1e-9, atol=1e-9 * theirs[-1, 2])
    for n_clusters in {1, 2, 3, len(points) // 2, len(points)} - {0}:
        cuts = (cut_tree(tree, n_clusters=n_clusters) for tree in (ours, theirs))
        assert len({frozenset(groups(cut)) for cut in cuts}) == 1


@quick
@given(untied)
def test_tree_is_fastclusters(points) -> None:
    """Without ties there is one tree."""
    assert_same_tree(points)


@quick
@given(tied)
def test_with_ties_and_copies_it_is_a_tree_of_wards(points) -> None:
    """Of several trees it is one that the definition allows; copies are merged at height 0, exactly."""
    linkage = ward_in_rounds(points)
    assert_is_wards(points, linkage)
    n_copies = len(points) - len(np.unique(points, axis=0))
    assert (linkage[:n_copies, 2] == 0).all()
    assert (linkage[n_copies:, 2] > 0).all()


@pytest.mark.parametrize("block", [1, 100, 1 << 22])
def test_blocks_and_dropped_rows_change_nothing(monkeypatch, block) -> None:
    """However few distances are held at a time."""
    monkeypatch.setattr(rounds, "WARD_VALUES", block)
    assert_same_tree(np.random.default_rng(0).normal(size=(200, 5)))
    assert_same_tree(blobs(30, 20, 10))


def test_one_pair_a_round() -> None:
    """Points ever farther apart: nobody but the last two are each other's nearest."""
    assert_same_tree(2.0 ** np.arange(30)[:, None])


def test_far_from_the_origin() -> None:
    """What all descriptors have in common does not cost digits."""
    points = np.random.default_rng(1).normal(size=(100, 4))
    np.testing.assert_allclose(ward_in_rounds(points + 1e6)[:, 2], ward_in_rounds(points)[:, 2], rtol=1e-8)


def test_nobody_is_mutual() -> None:
    """Where rounding sends every cluster to another one than the one that wants it, the closest pair is merged."""
    clusters = rounds._Clusters(np.zeros((3, 1)), np.ones(3), np.arange(3))
    clusters._nearest, clusters._squares = np.array([1, 2, 0]), np.array([2.0, 1.0, 3.0])
    assert clusters.mutual_pairs().tolist() == [[1, 2]]


def test_many_descriptors_take_the_rounds(monkeypatch) -> None:
    """`linkage_tree` gives the same tree on both sides of the number from which on it is made in rounds."""
    points = np.random.default_rng(2).normal(size=(60, 3))
    few = linkage_tree(points, method="ward")
    monkeypatch.setattr(linkage_module, "MANY_IMAGES", 60)
    calls = []
    monkeypatch.setattr(linkage_module, "ward_in_rounds", lambda values: calls.append(1) or ward_in_rounds(values))
    np.testing.assert_allclose(linkage_tree(points, method="ward"), few, rtol=1e-9)
    assert calls == [1]
