"""A tree that begins from groups that people named: images join them, or each other, and two groups never merge."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

LABEL_WEIGHT: Final = 3.0
"""Images that each label of a group counts as."""

MOST_LEAVES: Final = 2000
"""Leaves of the tree at most: of more images, groups of a tree without labels are leaves."""


def seeded_ward(
    leaves: NDArray[np.float64], sizes: NDArray[np.float64], *, n_seeds: int, n_clusters: int
) -> NDArray[np.int64]:
    r"""Merge by Ward's criterion from seeds and single leaves until so many clusters are left; no two seeds merge.

    Those two are merged next that cost least,

    .. math:: \Delta(a, b) = \frac{m_a m_b}{m_a + m_b} \lVert c_a - c_b \rVert^2

    with masses :math:`m` and means :math:`c`; between seeds it is infinite. Assumes checked input.

    Parameters
    ----------
    leaves
        Shape ``(n_leaves, dim)``: the seeds first.
    sizes
        Shape ``(n_leaves,)``: mass of each.
    n_seeds, n_clusters
        Seeds, and clusters to stop at, at least as many.

    Returns
    -------
    labels
        Shape ``(n_leaves,)``: a seed has its own number, the clusters without one have the numbers after these.
    """
    n_leaves = len(leaves)
    masses = sizes.astype(np.float64)
    norms = np.einsum("nd,nd->n", leaves, leaves)
    costs = np.maximum(norms[:, None] + norms - 2 * leaves @ leaves.T, 0.0)
    costs *= masses[:, None] * masses / (masses[:, None] + masses)
    np.fill_diagonal(costs, np.inf)
    costs[:n_seeds, :n_seeds] = np.inf
    nearest = costs.argmin(axis=1)
    least = costs[np.arange(n_leaves), nearest]
    into = np.arange(n_leaves)
    is_there = np.ones(n_leaves, np.bool_)
    for _ in range(n_leaves - n_clusters):
        one = int(least.argmin())
        if not np.isfinite(least[one]):
            break
        kept, gone = sorted((one, int(nearest[one])))  # a seed comes first, and stays
        both = masses[kept] + masses[gone]
        row = ((masses[kept] + masses) * costs[kept] + (masses[gone] + masses) * costs[gone]) / (both + masses)
        row -= masses / (both + masses) * costs[kept, gone]
        is_there[gone] = False
        row[~is_there] = np.inf
        row[kept] = np.inf
        if kept < n_seeds:
            row[:n_seeds] = np.inf
        masses[kept], into[gone] = both, kept
        costs[kept], costs[:, kept] = row, row
        costs[gone], costs[:, gone] = np.inf, np.inf
        least[gone] = np.inf
        lost = is_there & ((nearest == kept) | (nearest == gone))
        lost[kept] = True
        rows = np.flatnonzero(lost)
        nearest[rows] = costs[rows].argmin(axis=1)
        least[rows] = costs[rows, nearest[rows]]
        nearer = is_there & (row < least)
        nearest[nearer], least[nearer] = kept, row[nearer]
    while not np.array_equal(into, into[into]):
        into = into[into]
    numbers = np.where(np.arange(n_leaves) < n_seeds, np.arange(n_leaves), 0)
    others = np.flatnonzero(is_there[n_seeds:]) + n_seeds
    numbers[others] = n_seeds + np.arange(len(others))
    return numbers[into]
