"""Which images people are asked about."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from anoclust_core.clustering.learning.asking import telling_images
from anoclust_core.clustering.linkage import cut_tree, linkage_tree
from anoclust_core.errors import ArrayContractError, ConfigError
from tests.helpers.partitions import quick


def drawn(seed: int, n_images: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Descriptors, some of them equal, and their tree."""
    descriptors = np.random.default_rng(seed).integers(0, 4, size=(n_images, 3)).astype(np.float64)
    return descriptors, linkage_tree(descriptors, method="ward")


@quick
@given(seed=st.integers(0, 10_000), n_images=st.integers(2, 40), n_clusters=st.integers(1, 4), n_each=st.integers(1, 6))
def test_the_first_questions_lie_in_different_clusters_of_the_cut_into_so_many(
    seed: int, n_images: int, n_clusters: int, n_each: int
) -> None:
    descriptors, tree = drawn(seed, n_images)
    n_clusters = min(n_clusters, n_images)
    rows = telling_images(tree, descriptors, n_clusters=n_clusters, n_each=n_each)
    assert len(rows) == min(n_images, n_clusters * n_each)
    for k in range(1, len(rows) + 1):
        assert len(set(cut_tree(tree, n_clusters=k)[rows[:k]].tolist())) == k


@quick
@given(seed=st.integers(0, 10_000), n_images=st.integers(4, 40), answered=st.sets(st.integers(0, 3)))
def test_nothing_is_asked_where_an_answer_is(seed: int, n_images: int, answered: set[int]) -> None:
    descriptors, tree = drawn(seed, n_images)
    rows = telling_images(tree, descriptors, n_clusters=2, n_each=2, answered=answered)
    groups = cut_tree(tree, n_clusters=4)
    with_answer = set(groups[sorted(answered)].tolist())
    assert sorted(groups[rows].tolist()) == sorted({0, 1, 2, 3} - with_answer)


def test_the_middle_image_of_the_largest_group_is_asked_first() -> None:
    descriptors = np.array([[0.0], [1.0], [2.0], [10.0], [11.0]])
    rows = telling_images(linkage_tree(descriptors, method="ward"), descriptors, n_clusters=2, n_each=1)
    assert rows.tolist() == [1, 3]


def test_questions_that_cannot_be_are_refused() -> None:
    descriptors, tree = drawn(0, 6)
    with pytest.raises(ArrayContractError, match="6 images"):
        telling_images(tree, descriptors, n_clusters=2, n_each=1, answered=[6])
    with pytest.raises(ConfigError, match="n_each"):
        telling_images(tree, descriptors, n_clusters=2, n_each=0)
