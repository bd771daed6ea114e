"""Clusters without labels that stay as they are, where learning from labels would not tell images better."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.clustering.learning.rounds import without_label
from anoclust_core.evaluation.partitions import adjusted_rand_index

RIGHT_ALREADY: Final = 0.85
"""Agreement of the clusters with people's labels, as adjusted Rand index, from which on there is nothing to learn."""


def tells_better(
    values: NDArray[np.float64],
    learnt: NDArray[np.int64],
    plain: NDArray[np.int64],
    groups: NDArray[np.int64],
    *,
    n_groups: int,
) -> bool:
    """Whether what was learnt tells labelled images better than the clusters without labels do.

    Both are held against the labels by the adjusted Rand index: the clusters as they are, since no label made them, and
    for what was learnt the cluster that each labelled image would be in without its label. Where each group has a
    cluster in which its labels are the most, clusters that agree with ``RIGHT_ALREADY`` are right already: what is left
    is too little to learn from. Assumes checked input.

    Parameters
    ----------
    values
        Shape ``(n_images, dim)``.
    learnt, plain
        Shape ``(n_images,)`` each, from 0; groups have their own numbers in the first.
    groups
        Shape ``(n_images,)``: group of each labelled image, else negative.
    n_groups
        How many groups there are.
    """
    labelled = np.flatnonzero(groups >= 0)
    said = groups[labelled].tolist()
    before = adjusted_rand_index(said, plain[labelled].tolist())
    if before > RIGHT_ALREADY and (_homes(plain, groups, n_groups) >= 0).all():
        return False
    after = without_label(values, learnt, groups, n_groups)
    return adjusted_rand_index(said, after.tolist()) > before


def as_they_are(plain: NDArray[np.int64], groups: NDArray[np.int64], forbidden: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Clusters without labels, in which only images move that people decided about. Assumes checked input.

    A group is the cluster in which its labels are the most, and most of those there; else its labelled images are a
    cluster of their own.

    Parameters
    ----------
    plain, groups
        As of `tells_better`.
    forbidden
        Shape ``(n_images, n_groups)``: groups that an image is not in.

    Returns
    -------
    labels
        Shape ``(n_images,)``: groups have their own numbers, other clusters come after them; -1 for an image that is
        not in the group that its cluster is.
    """
    n_groups = forbidden.shape[1]
    labels = n_groups + plain
    for group, home in enumerate(_homes(plain, groups, n_groups).tolist()):
        labels[plain == home] = group
    labels = np.where(groups >= 0, groups, labels)
    in_group = np.flatnonzero((groups < 0) & (labels < n_groups))
    labels[in_group[forbidden[in_group, labels[in_group]]]] = -1
    return labels


def _homes(plain: NDArray[np.int64], groups: NDArray[np.int64], n_groups: int) -> NDArray[np.int64]:
    """Cluster of each group, ``(n_groups,)``; -1 where other groups have more labels in each of its clusters."""
    counts = np.zeros((n_groups, int(plain.max()) + 1), np.int64)
    np.add.at(counts, (groups[groups >= 0], plain[groups >= 0]), 1)
    own = np.where(counts.argmax(axis=0) == np.arange(n_groups)[:, None], counts, 0)
    return np.where(own.any(axis=1), own.argmax(axis=1), -1)
