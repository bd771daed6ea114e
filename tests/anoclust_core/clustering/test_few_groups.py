"""A small tree that is cut as the large one is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anoclust_core.clustering.few_groups import few_groups
from anoclust_core.clustering.labels import numbered_by_size
from anoclust_core.clustering.linkage import cut_tree, linkage_tree
from tests.helpers.partitions import quick


@quick
@given(seed=st.integers(0, 10_000), n_images=st.integers(2, 40), n_groups=st.integers(1, 40))
def test_every_cut_into_fewer_is_the_same_cut_of_the_small_tree(seed: int, n_images: int, n_groups: int) -> None:
    descriptors = (
        np.random.default_rng(seed).integers(0, 4, size=(n_images, 3)).astype(np.float64)
    )  # with equal heights
    tree = linkage_tree(descriptors, method="ward")
    n_groups = min(n_groups, n_images)
    few = few_groups(tree, n_groups=n_groups)
    assert few.linkage.shape == (n_groups - 1, 4)
    for n_clusters in range(1, n_groups + 1):
        of_groups = cut_tree(few.linkage, n_clusters=n_clusters) if n_groups > 1 else np.zeros(1, np.int64)
        assert np.array_equal(numbered_by_size(of_groups[few.labels]), cut_tree(tree, n_clusters=n_clusters))


def test_heights_and_sizes_are_those_of_the_tree() -> None:
    tree = linkage_tree(np.random.default_rng(0).normal(size=(20, 3)), method="ward")
    few = few_groups(tree, n_groups=5)
    assert few.linkage[:, 2] == pytest.approx(tree[-4:, 2])
    assert few.linkage[-1, 3] == 20
