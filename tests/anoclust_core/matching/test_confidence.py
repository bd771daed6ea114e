"""Confidence is right as often as it says, on kinds whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.partitions import quick
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from anoclust_core.clustering.linkage import cut_tree, linkage_tree
from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.matching.assigning import assign, member_confidence
from anoclust_core.matching.confidence import OPTIMISM, UNFITTED, confidence, fit_slope
from anoclust_core.matching.prototypes import fit_prototypes

seeds = st.integers(0, 2**32 - 1)


def kinds(seed: int, *, apart: float, n_images: int) -> NDArray[np.float64]:
    """Draw images of four kinds that lie so many standard deviations apart."""
    draws = np.random.default_rng(seed)
    return draws.normal(size=(n_images, 20)) + apart / np.sqrt(2) * np.eye(20)[draws.integers(0, 4, n_images)]


@pytest.mark.parametrize("apart", [4.0, 6.0, 9.0])
def test_right_as_often_as_it_says(apart) -> None:
    """The mean confidence of new images is the share that the next clustering, of all images, leaves in its cluster."""
    said, right = [], []
    for seed in range(12):
        points = kinds(seed, apart=apart, n_images=400)
        n_old = 200
        before = cut_tree(linkage_tree(points[:n_old], method="ward"), n_clusters=4)
        after = cut_tree(linkage_tree(points, method="ward"), n_clusters=4)
        goes_to = {f"c{one}": np.bincount(after[:n_old][before == one]).argmax() for one in set(before.tolist())}
        found = assign(points[n_old:], fit_prototypes(points[:n_old], [f"c{one}" for one in before], merge_height=1e9))
        known = [at for at, name in enumerate(found.ids) if name is not None]
        said += found.confidence[known].tolist()
        right += [goes_to[found.ids[at]] == after[n_old + at] for at in known]
    assert np.mean(said) == pytest.approx(np.mean(right), abs=0.1)
    surest = np.argsort(said)[-len(said) // 3 :]
    assert np.mean(np.array(right)[surest]) >= np.mean(right)


def test_even_odds_at_no_margin() -> None:
    """An image that is twice as near to another cluster has what is left by that one; alone, a cluster is sure."""
    found = confidence(np.array([0.0, np.log(2), -np.log(2), np.inf]), slope=4.0)
    assert found[0] == 0.5
    assert found[1] == pytest.approx(1 - found[2])
    assert found[1] == pytest.approx(2 ** (4 * OPTIMISM) / (1 + 2 ** (4 * OPTIMISM)))
    assert found[3] == 1


@quick
@given(seeds)
def test_more_mistakes_make_less_sure(seed) -> None:
    """The more members would have gone elsewhere, the flatter; the order of members changes nothing."""
    draws = np.random.default_rng(seed)
    sizes = draws.uniform(0.1, 1, size=60)
    slopes = [fit_slope(np.where(np.arange(60) < wrong, -sizes, sizes)) for wrong in (0, 6, 15, 40)]
    assert slopes == sorted(slopes, reverse=True)
    assert slopes[-1] == 0
    margins = np.where(draws.random(60) < 0.2, -sizes, sizes)
    assert fit_slope(margins) == fit_slope(draws.permutation(margins))


def test_nothing_to_fit() -> None:
    """Without a margin there is a slope all the same."""
    assert fit_slope(np.array([])) == UNFITTED
    assert fit_slope(np.array([np.inf, 0.0])) == UNFITTED


def test_a_member_is_judged_without_itself() -> None:
    """A member of a small cluster is no surer for having drawn its mean; of a cluster of one nothing is known."""
    points = np.array([[0.0], [1.0], [5.0], [6.0], [7.0], [20.0]])
    ids = ["c1", "c1", "c2", "c2", "c2", "c3"]
    found = member_confidence(points, ids, fit_prototypes(points, ids, merge_height=9.0))
    assert found[5] == 0.5
    assert found[4] > found[2] > 0.5  # the one on the far side is the surer one


def test_bad_margins() -> None:
    with pytest.raises(ArrayContractError, match="found NaN"):
        fit_slope(np.array([np.nan]))
    with pytest.raises(ConfigError, match="found -1"):
        confidence(np.array([1.0]), slope=-1.0)
