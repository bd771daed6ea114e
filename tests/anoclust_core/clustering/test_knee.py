"""Smoothing, the knee of a tree, and how stable its clusters are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anoclust_core.clustering import knee, smoothing
from anoclust_core.clustering.knee import CERTAIN_FROM, n_merges, split_index, stability, suggest_by_knee
from anoclust_core.clustering.linkage import cut_tree, linkage_tree, suggest_n_clusters
from anoclust_core.clustering.smoothing import n_neighbours, smoothed
from anoclust_core.errors import ArrayContractError, ConfigError


def groups(n_groups: int, *, each: int = 20, spread: float = 0.1, seed: int = 0) -> np.ndarray:
    """Draw groups of points around far corners, one after the other."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(size=(each, 12)) * spread + 3 * np.eye(12)[at] for at in range(n_groups)])


@pytest.mark.parametrize("n_groups", [3, 4, 5, 6, 8])
def test_well_separated_groups_are_found(n_groups):
    """Without labels the knee is the number of groups, and the next best numbers are others."""
    found = suggest_by_knee(linkage_tree(groups(n_groups), method="ward"))
    assert found.n_clusters == n_groups
    assert len(found.next_best) == 2
    assert n_groups not in found.next_best
    assert "knee" in found.criterion


def test_the_knee_is_farthest_below_the_line():
    """An independent reading of the definition: the largest distance below the line from the first to the last."""
    tree = linkage_tree(groups(4, spread=1.0), method="ward")
    heights = tree[::-1, 2][: n_merges(80)]
    line = np.interp(np.arange(len(heights)), [0, len(heights) - 1], [heights[0], heights[-1]])
    assert suggest_by_knee(tree).n_clusters == 1 + int(np.argmax(line - heights))


@given(st.integers(1, 12) | st.just(30), st.integers(0, 12))
def test_bounds_hold(lowest, more):
    """Whatever the tree says, the number lies between the bounds, by either rule, up to that of the images."""
    tree = linkage_tree(groups(5, each=6), method="ward")
    for rule in (suggest_by_knee, suggest_n_clusters):
        found = rule(tree, lowest=lowest, highest=min(lowest + more, len(tree) + 1))
        assert lowest <= found.n_clusters <= lowest + more
        assert all(lowest <= number <= lowest + more for number in found.next_best)
        cut_tree(tree, n_clusters=found.n_clusters)


@pytest.mark.parametrize("bounds", [(0, 3), (4, 3), (2, 31)])
def test_bounds_that_leave_no_number_are_refused(bounds):
    """Bounds out of order, or beyond the images, are an error."""
    tree = linkage_tree(groups(5, each=6), method="ward")
    with pytest.raises(ConfigError, match="choose other bounds"):
        suggest_by_knee(tree, lowest=bounds[0], highest=bounds[1])


def test_equal_images_are_one_cluster():
    """Where nothing differs there is nothing to cut."""
    assert suggest_by_knee(linkage_tree(np.ones((9, 3)), method="ward")).n_clusters == 1
    assert suggest_by_knee(linkage_tree(np.array([[0.0], [1.0]]), method="ward")).n_clusters == 1


def test_few_images_have_few_neighbours():
    """A sixth of the images, ten at most: of few, ten would be half of them."""
    assert [n_neighbours(n) for n in (1, 5, 6, 30, 59, 60, 10**6)] == [0, 0, 1, 5, 9, 10, 10]
    few = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_array_equal(smoothed(few), few)


def test_smoothing_averages_with_the_nearest():
    """An independent computation, image by image."""
    values = np.random.default_rng(1).normal(size=(30, 4))
    distances = np.linalg.norm(values[:, None] - values, axis=2)
    for at, found in enumerate(smoothed(values)):
        nearest = np.argsort(distances[at])[:6]  # itself and five
        np.testing.assert_allclose(found, values[nearest].mean(axis=0), rtol=1e-5)


def test_new_images_move_towards_old_ones_alone():
    """A new image is averaged with those that were there; other new ones, and their number, do not matter."""
    rng = np.random.default_rng(2)
    old, new = rng.normal(size=(40, 4)), rng.normal(size=(7, 4))
    together = smoothed(new, among=old)
    for at, one in enumerate(new):
        np.testing.assert_allclose(smoothed(one[None], among=old)[0], together[at], rtol=1e-6)


def test_many_images_look_among_a_sample(monkeypatch):
    """Beyond a stated number, neighbours are looked for among evenly spaced images."""
    monkeypatch.setattr(smoothing, "MAX_AMONG", 30)
    values = np.random.default_rng(3).normal(size=(60, 4))
    taken = np.unique(np.linspace(0, 59, 30).astype(int))
    found = smoothed(values)
    for at in range(60):
        others = values[taken[taken != at]]
        nearest = others[np.argsort(np.linalg.norm(others - values[at], axis=1))[:10]]
        np.testing.assert_allclose(found[at], (values[at] + nearest.sum(axis=0)) / 11, rtol=1e-5)


def test_neighbours_of_another_length_are_refused():
    """Descriptors of another model are no neighbours."""
    with pytest.raises(ArrayContractError, match="neighbours of 4 values"):
        smoothed(np.ones((3, 4)), among=np.ones((9, 5)))


def test_groups_are_more_stable_than_a_cloud():
    """Random parts agree on groups and not on one cloud; the same seed gives the same answer."""
    cloud = np.random.default_rng(4).normal(size=(100, 12))
    of_groups = stability(groups(5), n_clusters=None, generator=np.random.default_rng(0))
    of_cloud = stability(cloud, n_clusters=5, generator=np.random.default_rng(0))
    assert of_groups > 0.95 > 0.5 > of_cloud
    assert of_cloud == stability(cloud, n_clusters=5, generator=np.random.default_rng(0))


def test_stability_draws_no_more_than_a_stated_number(monkeypatch):
    """Of many images a part is drawn: ten times as many take no longer."""
    seen = []
    monkeypatch.setattr(knee, "MOST_DRAWN", 50)
    monkeypatch.setattr(knee, "smoothed", lambda values: seen.append(len(values)) or values)
    stability(groups(5, each=60), n_clusters=5, generator=np.random.default_rng(0))
    assert max(seen) <= 50


@pytest.mark.parametrize("seed", range(5))
def test_one_cloud_is_no_certain_structure(seed):
    """Of images of one kind, a second half does not confirm the split of the first; of several kinds it does."""
    cloud = np.random.default_rng(seed).normal(size=(120, 12))
    of_cloud = split_index(cloud, generator=np.random.default_rng(0))
    of_groups = split_index(groups(4, each=30, spread=0.3, seed=seed), generator=np.random.default_rng(0))
    assert of_cloud is not None
    assert of_groups is not None
    assert of_cloud < CERTAIN_FROM < of_groups


def test_two_points_are_split_for_certain():
    """Two kinds that are each in one point explain everything."""
    points = np.repeat([[0.0, 1.0], [1.0, 0.0]], 20, axis=0)
    assert split_index(points, generator=np.random.default_rng(0)) == pytest.approx(1)


def test_of_few_images_nothing_is_told():
    """Halves of a dozen images say nothing about kinds."""
    assert split_index(groups(2, each=11), generator=np.random.default_rng(0)) is None
