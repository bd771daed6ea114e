"""Known clusters that a cut would lose: what lies apart stays, what does not goes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage

from anoclust_core.errors import ArrayContractError
from anoclust_core.matching.keeping import APART, FEWEST, keep_apart, separation


def blob(centre: float, n_images: int, *, seed: int, dim: int = 8) -> NDArray[np.float64]:
    """Draw images of one kind around a place on the first axis."""
    values = np.random.default_rng(seed).normal(size=(n_images, dim))
    values[:, 0] += centre
    return values


@pytest.mark.parametrize("dim", [3, 30, 300])
@pytest.mark.parametrize("n_images", [30, 120])
def test_parts_of_one_kind_do_not_lie_apart(n_images: int, dim: int) -> None:
    """Random parts of one population have no separation; of its two halves by Ward's criterion few are."""
    by_chance, halves = [], []
    for seed in range(30):
        draws = np.random.default_rng(seed)
        values = draws.normal(size=(n_images, dim))
        own = draws.permutation(n_images) < n_images // 4
        by_chance.append(separation(values[own], values[~own]))
        labels = fcluster(linkage(values, "ward"), 2, "maxclust")
        halves.append(separation(values[labels == 1], values[labels == 2]))
    assert max(by_chance) < 1.5
    assert np.mean(halves) < APART
    assert np.mean(np.array(halves) >= APART) <= (0.3 if n_images < 100 else 0.05)


@pytest.mark.parametrize("n_own", [3, 4, 12, 60])
def test_two_kinds_lie_apart(n_own: int) -> None:
    """Kinds eight deviations apart are told, with three images as with sixty."""
    found = [separation(blob(8, n_own, seed=seed), blob(0, 60, seed=100 + seed)) for seed in range(10)]
    assert min(found) > APART
    assert np.mean(found) == pytest.approx(8, abs=1.5)


def test_scale_and_place_do_not_matter() -> None:
    """Moving or stretching all images changes nothing."""
    own, others = blob(4, 10, seed=0), blob(0, 20, seed=1)
    assert separation(own * 7 + 3, others * 7 + 3) == pytest.approx(separation(own, others))


def test_what_has_no_spread() -> None:
    """Equal images lie apart from others without end; of one image nothing is known."""
    same = np.zeros((4, 3))
    assert separation(same, same + 1) == np.inf
    assert separation(same, same) == 0
    assert separation(same[:1], same + 1) == 0


def test_a_known_kind_that_the_cut_joined_stays() -> None:
    """Four images of a kind of their own come back out of the cluster of their neighbours; the others stay."""
    values = np.concatenate([blob(0, 20, seed=0), blob(30, 20, seed=1), blob(38, 4, seed=2)])
    labels = np.repeat([0, 1, 1], [20, 20, 4])
    found, separations = keep_apart(values, labels, {"c4": range(40, 44)})
    assert separations["c4"] > APART
    np.testing.assert_array_equal(found, np.repeat([0, 1, 2], [20, 20, 4]))


def test_a_known_kind_that_was_scattered_stays() -> None:
    """Images that went to two clusters come back together."""
    values = np.concatenate([blob(0, 20, seed=0), blob(30, 20, seed=1), blob(15, 6, seed=2)])
    labels = np.repeat([0, 1, 0, 1], [20, 20, 3, 3])
    found, _ = keep_apart(values, labels, {"c4": range(40, 46)})
    assert len(set(found[40:])) == 1
    assert set(found[40:]).isdisjoint(found[:40])


def test_a_known_kind_stays_together_with_others_of_it() -> None:
    """Half of a kind was known, half of it was elsewhere, and the cut put both beside their neighbours: it stays."""
    values = np.concatenate([blob(0, 20, seed=0), blob(30, 20, seed=1), blob(42, 14, seed=2)])
    labels = np.repeat([0, 1], [20, 34])
    found, separations = keep_apart(values, labels, {"c4": range(40, 47)})
    assert separations["c4"] > APART
    np.testing.assert_array_equal(found, np.repeat([0, 1, 2], [20, 20, 14]))


def test_a_few_known_images_do_not_claim_another_kind() -> None:
    """Three images that were taken for a kind of their own, within one of thirty, are no reason to cut it out."""
    values = np.concatenate([blob(0, 20, seed=0), blob(20, 30, seed=1)])
    found, separations = keep_apart(values, np.zeros(50, np.int64), {"c4": range(20, 23)})
    assert not found.any()
    assert separations["c4"] < APART


def test_part_of_a_kind_goes() -> None:
    """Images that are like those beside them have no label of their own, and the reason is given."""
    values = blob(0, 40, seed=0)
    found, separations = keep_apart(values, np.zeros(40, np.int64), {"c4": range(8), "c5": [30, 31]})
    assert not found.any()
    assert separations["c4"] < APART
    assert separations["c5"] == 0
    assert FEWEST > 2


def test_a_cluster_of_nothing_else_is_not_emptied() -> None:
    """Where a known cluster is all of a new one, labels stay without gaps."""
    values = np.concatenate([blob(0, 10, seed=0), blob(20, 5, seed=1)])
    found, separations = keep_apart(values, np.repeat([1, 0], [10, 5]), {"c4": range(10, 15)})
    assert separations["c4"] == np.inf
    assert sorted(set(found)) == [0, 1]


def test_what_does_not_fit_is_refused() -> None:
    """Descriptors of two lengths, and labels of other images, are errors."""
    with pytest.raises(ArrayContractError, match="one length"):
        separation(np.zeros((3, 2)), np.zeros((3, 4)))
    with pytest.raises(ArrayContractError, match="one label"):
        keep_apart(np.zeros((3, 2)), np.zeros(4, np.int64), {})
