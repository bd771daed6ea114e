from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.partitions import quick, tied, untied
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.cluster import hierarchy

from anoclust_core.clustering.linkage import cut_tree, linkage_tree
from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.matching.assigning import assign, member_distances
from anoclust_core.matching.births import NOT_BORN, births
from anoclust_core.matching.prototypes import Prototypes, extended, fit_prototypes, heights_between, merge_height

seeds = st.integers(0, 2**32 - 1)


def cloud(seed: int, centres: int = 3, members: int = 12, dim: int = 8) -> tuple[NDArray[np.float64], list[str]]:
    """Well separated clusters, and who belongs to which."""
    draws = np.random.default_rng(seed)
    middles = 10 * np.eye(dim)[:centres]
    points = np.repeat(middles, members, axis=0) + draws.normal(scale=0.5, size=(centres * members, dim))
    return points, [f"c{1 + at // members}" for at in range(centres * members)]


def snapshot(seed: int = 0, **shape: int) -> Prototypes:
    points, ids = cloud(seed, **shape)
    tree = linkage_tree(points, method="ward")
    return fit_prototypes(points, ids, merge_height=merge_height(tree, n_clusters=len(set(ids))))


@quick
@given(untied, st.integers(1, 4), seeds)
def test_the_distance_is_the_height_in_wards_tree(points, n_clusters, seed) -> None:
    """An image that Ward's tree would merge with a cluster next has that height as its distance."""
    draws = np.random.default_rng(seed)
    group, new = points, points.mean(axis=0) + draws.normal(size=3) * 50
    tree = linkage_tree(np.vstack([group, new]), method="ward")
    found = assign(new[None], fit_prototypes(group, ["c1"] * len(group), merge_height=1.0))
    assert found.distances[0] == pytest.approx(tree[-1, 2], rel=1e-9)


@quick
@given(seeds)
def test_known_images_find_their_cluster(seed) -> None:
    """Images like those of the snapshot go where they belong, with some confidence; few are unknown."""
    prototypes = snapshot()
    points, ids = cloud(seed, members=40)
    found = assign(points, prototypes)
    assert all(got in {name, None} for got, name in zip(found.ids, ids, strict=True))
    assert found.ids.count(None) <= 6
    assert ((found.confidence >= 0) & (found.confidence <= 1)).all()
    assert np.median(found.confidence) > 0.5


def test_an_image_far_from_all_is_unknown() -> None:
    """The farther, the surer; the nearest cluster is told all the same."""
    far = np.zeros((3, 8))
    far[:, 0] = [20, 40, 80]
    found = assign(far, snapshot())
    assert found.ids == (None, None, None)
    assert found.nearest == ("c1",) * 3
    assert (np.diff(found.confidence) > 0).all()


def test_between_two_clusters_nobody_is_sure() -> None:
    """As near to one as to the other is even odds, unless a person says that the two are one."""
    points = np.array([[-1.0], [-0.5], [0.5], [1.0]])
    prototypes = replace(fit_prototypes(points, ["c1", "c1", "c2", "c2"], merge_height=10.0), radii=np.full(2, 2.0))
    middle = np.zeros((1, 1))
    assert assign(middle, prototypes).ids == ("c1",)
    assert assign(middle, prototypes).confidence[0] == 0.5
    assert assign(middle, prototypes, merged_into={"c2": "c1"}).confidence[0] == 1


@quick
@given(seeds, st.integers(0, 10))
def test_batches_do_not_matter(seed, cut) -> None:
    """Images assigned in two batches, or in another order, get the same to the last bit."""
    points, _ = cloud(seed, members=5)
    prototypes = snapshot(1)
    whole, parts = assign(points, prototypes), [assign(part, prototypes) for part in (points[:cut], points[cut:])]
    assert whole.ids == parts[0].ids + parts[1].ids
    assert np.array_equal(whole.confidence, np.concatenate([part.confidence for part in parts]))
    assert np.array_equal(whole.distances[::-1], assign(points[::-1], prototypes).distances)


@quick
@given(untied | tied, seeds)
def test_prototypes_do_not_depend_on_the_order(points, seed) -> None:
    """Permuting the images of a snapshot changes nothing, to the last bit."""
    draws = np.random.default_rng(seed)
    ids = np.array([f"c{number}" for number in draws.integers(1, 4, size=len(points))])
    order = draws.permutation(len(points))
    once = fit_prototypes(points, ids.tolist(), merge_height=1.0)
    again = fit_prototypes(points[order], ids[order].tolist(), merge_height=1.0)
    assert once.ids == again.ids
    assert once.lone == again.lone
    for name in ("means", "sizes", "radii"):
        assert np.array_equal(getattr(once, name), getattr(again, name))


@quick
@given(seeds)
def test_members_are_within_their_radius(seed) -> None:
    """The radius takes in nearly all of a cluster's own members."""
    points, ids = cloud(seed)
    prototypes = fit_prototypes(points, ids, merge_height=5.0)
    assert sum(a == b for a, b in zip(assign(points, prototypes).ids, ids, strict=True)) >= 33
    typical = [member_distances(points, ids, prototypes)[np.array(ids) == name].mean() for name in prototypes.ids]
    assert (prototypes.radii > typical).all()


def test_a_cluster_of_one_borrows_from_the_others() -> None:
    """It takes images as far away as those of other clusters are; alone in the world, up to the merge height."""
    points, ids = cloud(0)
    lone = np.full((1, 8), -9.0)
    prototypes = fit_prototypes(np.vstack([points, lone]), [*ids, "c10"], merge_height=50.0)
    assert prototypes.ids == ("c1", "c2", "c3", "c10")
    assert prototypes.radii[3] == pytest.approx(prototypes.lone_radius)
    assert 0.5 < prototypes.radii[3] / prototypes.radii[:3].mean() < 2
    alone = fit_prototypes(lone, ["c1"], merge_height=2.0)
    assert alone.radii.tolist() == [2.0]
    assert alone.lone_radius == 2.0


def test_a_cluster_born_since_takes_images_too() -> None:
    """Added to a snapshot it is like the others, and these stay as they were."""
    before = snapshot()
    new = np.full((3, 8), -9.0) + np.eye(8)[:3] * 0.5
    after = extended(before, new, ["c4"] * 3)
    assert after.ids == ("c1", "c2", "c3", "c4")
    assert np.array_equal(after.radii[:3], before.radii)
    assert assign(new + 0.1, after).ids == ("c4",) * 3
    with pytest.raises(ConfigError, match="found c1 again"):
        extended(before, new, ["c1"] * 3)


def test_the_same_population_is_near_whatever_the_sizes() -> None:
    """Prototypes of two samples of one kind are as near as an image and a sample of it."""
    draws = np.random.default_rng(0)
    rows = draws.normal(size=(1000, 20))
    few = fit_prototypes(rows[:5], ["c1"] * 5, merge_height=99.0)
    many = fit_prototypes(rows[5:], ["c1"] * 995, merge_height=99.0)
    height = heights_between(few, many)["c1", "c1"]
    typical = assign(rows[:200], many).distances.mean()
    assert height == pytest.approx(typical, rel=0.3)
    assert typical == pytest.approx(many.lone[0], rel=0.1)


def test_merge_height_is_that_of_the_cut() -> None:
    """It is the highest merge below the cut; SciPy's cut at that height gives the same number of clusters."""
    points, _ = cloud(3)
    tree = linkage_tree(points, method="ward")
    for n_clusters in (1, 2, 3, 7, len(points)):
        height = merge_height(tree, n_clusters=n_clusters)
        assert len(set(hierarchy.fcluster(tree, height, criterion="distance"))) == n_clusters


def test_no_image_is_fine() -> None:
    """A night without images is no error."""
    found = assign(np.zeros((0, 8)), snapshot())
    assert found.ids == ()
    assert births(np.zeros((0, 8)), snapshot()).tolist() == []


def test_embeddings_of_two_kinds_never_mix() -> None:
    """Descriptors of another length are refused."""
    for call in (
        lambda: assign(np.zeros((2, 5)), snapshot()),
        lambda: extended(snapshot(), np.zeros((2, 5)), ["c9", "c9"]),
        lambda: assign(np.zeros((0, 5)), snapshot()),
        lambda: births(np.zeros((3, 5)), snapshot()),
    ):
        with pytest.raises(ArrayContractError, match="another backbone"):
            call()


def test_bad_input_is_refused() -> None:
    """NaN, missing identities and impossible limits are told."""
    points, ids = cloud(0)
    with pytest.raises(ArrayContractError, match="NaN"):
        assign(np.full((1, 8), np.nan), snapshot())
    with pytest.raises(ArrayContractError, match="identities"):
        fit_prototypes(points, ids[1:], merge_height=1.0)
    with pytest.raises(ConfigError, match="merge height"):
        fit_prototypes(points, ids, merge_height=-1.0)
    with pytest.raises(ConfigError, match="min_images"):
        births(points, snapshot(), min_images=1)


@quick
@given(untied | tied, st.floats(0, 4), st.integers(2, 4), seeds)
def test_born_together_are_close_to_each_other(points, below, min_images, seed) -> None:
    """Any two of a group are nearer than the limit, groups are large enough, and the order of images is irrelevant."""
    far_away = np.full((1, points.shape[1]), 1e6)
    prototypes = fit_prototypes(far_away, ["c1"], merge_height=below)
    labels = births(points, prototypes, min_images=min_images)
    for label in set(labels.tolist()) - {NOT_BORN}:
        rows = points[labels == label]
        assert len(rows) >= min_images
        assert np.linalg.norm(rows[:, None] - rows, axis=2).max() < below
    order = np.random.default_rng(seed).permutation(len(points))
    permuted = births(points[order], prototypes, min_images=min_images)
    for label in {NOT_BORN, *labels.tolist()}:  # equal images are interchangeable
        ours, theirs = (np.unique(rows, axis=0) for rows in (points[labels == label], points[order][permuted == label]))
        assert np.array_equal(ours, theirs)


def test_a_new_kind_is_born_and_two_stay_two() -> None:
    """Three of a kind are born, two are not, and two kinds that come at once are two clusters."""
    prototypes = snapshot()
    draws = np.random.default_rng(7)
    kinds = np.repeat([[0.0] * 5 + [9, 0, 0], [0.0] * 5 + [0, 9, 0], [0.0] * 5 + [0, 0, 9]], [5, 3, 2], axis=0)
    new = kinds + draws.normal(scale=0.3, size=kinds.shape)
    assert assign(new, prototypes).ids == (None,) * 10
    assert births(new, prototypes).tolist() == [0] * 5 + [1] * 3 + [NOT_BORN] * 2


def test_outliers_of_a_cluster_are_not_born() -> None:
    """However many pile up around a cluster, they are no new kind; as many on one side of it are."""
    prototypes = snapshot()
    around = prototypes.means[0] + 1.05 * prototypes.radii[0] * np.vstack([np.eye(8), -np.eye(8)]) / np.sqrt(2)
    outside = np.array([name is None for name in assign(around, prototypes).ids])
    assert outside.sum() > 10
    assert (births(around[outside], prototypes) == NOT_BORN).all()
    beside = around[np.full(12, 15)] + 0.01 * np.random.default_rng(0).normal(size=(12, 8))
    assert (births(beside, prototypes) == 0).all()


def test_half_assigned_is_as_good_as_all_at_once() -> None:
    """Where clusters are clear, assigning half of the images gives the clusters of clustering them all."""
    points, truth = cloud(0)
    order = np.random.default_rng(1).permutation(len(points))
    old, new = order[: len(order) // 2], order[len(order) // 2 :]
    n_clusters = len(set(np.asarray(truth).tolist()))
    labels = cut_tree(linkage_tree(points[old], method="ward"), n_clusters=n_clusters)
    prototypes = fit_prototypes(points[old], [f"c{1 + label}" for label in labels], merge_height=1e6)
    found = np.array([int(name[1:]) - 1 for name in assign(points[new], prototypes).nearest])
    whole = np.concatenate([labels, found])
    assert len({*zip(whole.tolist(), np.asarray(truth)[order].tolist(), strict=True)}) == n_clusters
