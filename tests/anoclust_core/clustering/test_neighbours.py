"""Links between images, and the cut of a tree that follows them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.metrics import adjusted_rand_score

from anoclust_core.clustering import neighbours
from anoclust_core.clustering.knee import suggest_by_knee
from anoclust_core.clustering.linkage import cut_tree, linkage_tree
from anoclust_core.clustering.neighbours import FEWEST_TO_JOIN, follow_neighbours, shared_neighbours
from anoclust_core.errors import ArrayContractError


def kinds(n_good: int, sizes: list[int], *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw many good images that vary, and kinds that vary little and are alike, and say which image is of which."""
    rng = np.random.default_rng(seed)
    corners = 4 * np.eye(16)[8] + 1.5 * np.eye(16)
    drawn = [rng.normal(size=(n, 16)) * 0.3 + corners[at] for at, n in enumerate(sizes)]
    truth = np.repeat(np.arange(len(sizes) + 1), [n_good, *sizes])
    return np.concatenate([rng.normal(size=(n_good, 16)), *drawn]), truth


@pytest.mark.parametrize("seed", range(3))
def test_kinds_of_unequal_size_are_told_apart(seed):
    """Many good images and two kinds that are alike: no height of the tree gives the three, but branches of it do."""
    images, truth = kinds(1000, [120, 120], seed=seed)
    tree = linkage_tree(images, method="ward")
    cuts = [cut_tree(tree, n_clusters=number) for number in range(2, 15)]
    assert max(adjusted_rand_score(truth, cut) for cut in cuts) < 0.96
    at_knee = cuts[suggest_by_knee(tree).n_clusters - 2]
    links = shared_neighbours(images)
    assert adjusted_rand_score(truth, follow_neighbours(tree, at_knee, links)) > 0.99
    assert adjusted_rand_score(truth, follow_neighbours(tree, cuts[3], links)) > 0.99, "pieces of the good are joined"


def test_kinds_of_equal_size_stay_as_they_were_cut():
    """Where the cut is right there is nothing to join or split."""
    images, truth = kinds(0, [40] * 5)
    tree = linkage_tree(images, method="ward")
    cut = cut_tree(tree, n_clusters=5)
    assert adjusted_rand_score(truth, cut) > 0.98
    np.testing.assert_array_equal(follow_neighbours(tree, cut, shared_neighbours(images)), cut)


@pytest.mark.parametrize(("each", "joined"), [(FEWEST_TO_JOIN - 1, False), (FEWEST_TO_JOIN, True)])
def test_pieces_of_few_images_are_not_joined(each, joined):
    """Two halves of one kind are joined from ``FEWEST_TO_JOIN`` images on; fewer have no say."""
    images = np.random.default_rng(0).normal(size=(2 * each, 8))
    heaps = images + 50 * np.repeat(np.eye(8)[:2], each, axis=0)  # a tree whose last merge is that of the halves
    tree = linkage_tree(heaps, method="ward")
    found = follow_neighbours(tree, cut_tree(tree, n_clusters=2), shared_neighbours(images))
    assert (found.max() == 0) == joined


def test_the_best_branches_are_found(monkeypatch):
    """An independent search: of all sets of branches of a small tree none has a larger modularity than the split."""
    monkeypatch.setattr(neighbours, "NEIGHBOURS", 3)
    monkeypatch.setattr(neighbours, "SPLIT", 0.6)
    for seed in range(20):
        images = np.random.default_rng(seed).normal(size=(11, 3))
        tree = linkage_tree(images, method="ward")
        links = shared_neighbours(images)
        found = follow_neighbours(tree, np.zeros(11, int), links)
        best = max(modularity(links.toarray(), labels, 0.6) for labels in partitions(tree))
        assert modularity(links.toarray(), found, 0.6) == pytest.approx(best)


def test_links_count_shared_neighbours(monkeypatch):
    """An independent computation, pair by pair."""
    monkeypatch.setattr(neighbours, "NEIGHBOURS", 4)
    images = np.random.default_rng(2).normal(size=(25, 3))
    distances = np.linalg.norm(images[:, None] - images, axis=2)
    near = [set(np.argsort(row)[1:5].tolist()) for row in distances]
    links = shared_neighbours(images).toarray()
    for first, second in itertools.product(range(25), repeat=2):
        is_linked = second in near[first] or first in near[second]
        assert links[first, second] == (len(near[first] & near[second]) / 4 if is_linked else 0)


def test_copies_are_left_out():
    """Copies of an image have no links and no say: the others are clustered as without them."""
    images, _ = kinds(200, [60, 60])
    with_copies = np.concatenate([images, np.repeat(images[:1], 60, axis=0)])
    rows = np.arange(len(images))
    links = shared_neighbours(with_copies, rows=rows)
    assert not links[len(images) :].nnz
    np.testing.assert_array_equal(links[: len(images), : len(images)].toarray(), shared_neighbours(images).toarray())
    tree = linkage_tree(with_copies, method="ward")
    found = follow_neighbours(tree, cut_tree(tree, n_clusters=2), links)
    assert len(set(found[[0, *range(len(images), len(found))]])) == 1


def test_of_many_images_some_are_asked(monkeypatch):
    """Links among evenly spaced images give the same clusters, of all images."""
    monkeypatch.setattr(neighbours, "MAX_AMONG", 500)
    images, truth = kinds(1500, [200, 200])
    shuffled = np.random.default_rng(3).permutation(len(images))
    tree = linkage_tree(images[shuffled], method="ward")
    links = shared_neighbours(images[shuffled])
    assert np.count_nonzero(links.sum(axis=1)) <= 500
    found = follow_neighbours(tree, cut_tree(tree, n_clusters=2), links)
    assert adjusted_rand_score(truth[shuffled], found) > 0.99


def test_the_order_of_the_images_changes_nothing():
    """Permuted images have permuted clusters."""
    images, _ = kinds(200, [60, 60])
    order = np.random.default_rng(4).permutation(len(images))
    found = []
    for values in (images, images[order]):
        tree = linkage_tree(values, method="ward")
        found.append(follow_neighbours(tree, cut_tree(tree, n_clusters=4), shared_neighbours(values)))
    assert adjusted_rand_score(found[0][order], found[1]) == 1


@pytest.mark.parametrize("bounds", [(1, 1), (1, 2), (2, 3), (3, 3), (4, 5), (6, 9)])
def test_bounds_hold(bounds):
    """From a cut within the bounds, only so much is joined and split as they allow; the clearest first."""
    images, truth = kinds(1000, [120, 120])
    tree, links = linkage_tree(images, method="ward"), shared_neighbours(images)
    for number in range(bounds[0], bounds[1] + 1):
        cut = cut_tree(tree, n_clusters=number)
        found = follow_neighbours(tree, cut, links, lowest=bounds[0], highest=bounds[1])
        assert bounds[0] <= found.max() + 1 <= bounds[1]
        if bounds[0] <= 3 <= bounds[1] and number > 1:
            assert adjusted_rand_score(truth, found) > 0.99


@pytest.mark.parametrize("n_images", [2, 3, 21])
def test_few_images_are_no_error(n_images):
    """From two images on there is an answer; equal ones stay together."""
    images = np.ones((n_images, 3))
    tree = linkage_tree(images, method="ward")
    assert not follow_neighbours(tree, np.zeros(n_images, int), shared_neighbours(images)).any()
    assert shared_neighbours(images, rows=np.array([0])).nnz == 0


def test_what_is_no_cut_is_refused():
    """Labels that no branches have, links of other images and rows beyond the images are errors."""
    images = np.random.default_rng(5).normal(size=(12, 3))
    tree, links = linkage_tree(images, method="ward"), shared_neighbours(images)
    with pytest.raises(ArrayContractError, match="no branch of it"):
        follow_neighbours(tree, np.arange(12) % 2, links)
    with pytest.raises(ArrayContractError, match="links of 12 images"):
        follow_neighbours(tree, np.zeros(12, int), csr_array((11, 11)))
    with pytest.raises(ArrayContractError, match="expected rows of 12 descriptors"):
        shared_neighbours(images, rows=np.array([3, 12]))


def modularity(links: np.ndarray, labels: np.ndarray, resolution: float) -> float:
    """Read the definition: links within less the expected, over all pairs of images."""
    total, ends = links.sum(), links.sum(axis=1)
    same = labels[:, None] == labels
    return float(((links / total - resolution * np.outer(ends, ends) / total**2) * same).sum())


def partitions(tree: np.ndarray) -> list[np.ndarray]:
    """All sets of branches that make up a tree, as labels."""
    n_images = len(tree) + 1
    ways: list[list[list[list[int]]]] = [[[[leaf]]] for leaf in range(n_images)]
    for first, second in tree[:, :2].astype(int):
        apart = [one + other for one, other in itertools.product(ways[first], ways[second])]
        ways.append([[sorted(itertools.chain.from_iterable(apart[0]))], *apart])
    found = []
    for way in ways[-1]:
        labels = np.empty(n_images, int)
        for at, rows in enumerate(way):
            labels[rows] = at
        found.append(labels)
    return found
