"""Ward's tree for very many descriptors: rounds that merge all pairs of mutually nearest clusters at once."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.clustering.checks import checked_descriptors
from anoclust_core.memory.plan import WARD_VALUES

_COMPACT_BELOW: Final = 0.75
"""Share of rows that are still clusters, below which the others are dropped."""


def ward_in_rounds(descriptors: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Tree of merges by Ward's criterion, as `linkage.linkage_tree` gives it; for checked descriptors.

    Two clusters that are each other's nearest stay so whatever else is merged, for a union is never nearer to a third
    cluster than the nearer of its parts (Ward's criterion is reducible). So each round merges every such pair; only
    clusters that are new, or whose nearest is no more, look for their nearest again. Distances come from matrix
    products, :math:`\| a - b \|^2 = \| a \|^2 + \| b \|^2 - 2 a \cdot b`, heights of merges from differences. Copies
    are merged first, at height 0.

    Parameters
    ----------
    descriptors
        Shape ``(n_images, dim)``, finite, at least two rows.

    Returns
    -------
    linkage
        Shape ``(n_images - 1, 4)``, float64, SciPy's layout. Equal to that of any other algorithm but for the order of
        heights that are equal up to rounding. Memory is linear in the images.
    """
    descriptors = checked_descriptors(descriptors)
    merges = _Merges(len(descriptors))
    different, first, which = np.unique(descriptors, axis=0, return_index=True, return_inverse=True)
    ids = first.astype(np.int64)
    sizes = np.ones(len(different))
    for row in np.setdiff1d(np.arange(len(descriptors)), first).tolist():
        group = int(which.reshape(-1)[row])
        sizes[group] += 1
        ids[group] = merges.add(int(ids[group]), row, 0.0, sizes[group])
    clusters = _Clusters(different - different.mean(axis=0), sizes, ids)
    while clusters.n_alive > 1:
        clusters.find_nearest()
        clusters.merge(clusters.mutual_pairs(), merges)
    return merges.linkage()


class _Merges:
    """Merges in the order in which they were found: parts before what they are parts of."""

    def __init__(self, n_images: int) -> None:
        self._n_images = n_images
        self._rows: list[tuple[int, int, float, float]] = []

    def add(self, one: int, other: int, height: float, size: float) -> int:
        """Id of the merged cluster. It is not lower than its parts, which rounding might have it."""
        parts = (self._rows[part - self._n_images][2] for part in (one, other) if part >= self._n_images)
        self._rows.append((one, other, max(height, *parts, 0.0), size))
        return self._n_images + len(self._rows) - 1

    def linkage(self) -> NDArray[np.float64]:
        """All merges by height, ids as SciPy counts them."""
        found = np.array(self._rows, dtype=np.float64)
        order = np.argsort(found[:, 2], kind="stable")
        numbers = np.arange(self._n_images + len(found), dtype=np.float64)
        numbers[self._n_images + order] = self._n_images + np.arange(len(found))
        linkage = found[order]
        linkage[:, :2] = np.sort(numbers[linkage[:, :2].astype(np.int64)], axis=1)
        return linkage


class _Clusters:
    """Clusters that are still to be merged, each with its nearest one as far as it is known.

    A cluster that was merged into another one keeps its row until rows are compacted; it is infinitely far away.
    """

    def __init__(self, centres: NDArray[np.float64], sizes: NDArray[np.float64], ids: NDArray[np.int64]) -> None:
        self._centres = centres
        self._norms = np.einsum("nd,nd->n", centres, centres)
        self._inverse_sizes = 1 / sizes
        self._sizes = sizes
        self._ids = ids
        self._nearest = np.full(len(ids), -1)
        self._squares = np.full(len(ids), np.inf)
        self._is_alive = np.ones(len(ids), np.bool_)

    @property
    def n_alive(self) -> int:
        return int(self._is_alive.sum())

    def find_nearest(self) -> None:
        """Look for the nearest of every cluster that does not know its own."""
        rows = np.flatnonzero(self._is_alive & (self._nearest < 0))
        step = max(1, WARD_VALUES // len(self._ids))
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            squares = self._centres[part] @ self._centres.T
            squares *= -2
            squares += self._norms[part, None]
            squares += self._norms
            squares /= self._inverse_sizes[part, None] + self._inverse_sizes  # half the square of Ward's height
            squares[:, ~self._is_alive] = np.inf
            squares[np.arange(len(part)), part] = np.inf
            self._nearest[part] = squares.argmin(axis=1)
            self._squares[part] = squares[np.arange(len(part)), self._nearest[part]]

    def mutual_pairs(self) -> NDArray[np.int64]:
        """Rows of clusters that are each other's nearest, ``(n_pairs, 2)``, at least one pair."""
        rows = np.flatnonzero(self._is_alive)
        mutual = rows[(self._nearest[self._nearest[rows]] == rows) & (rows < self._nearest[rows])]
        if not len(mutual):  # equal distances, or rounding, may send everyone to somebody else
            mutual = rows[[int(np.argmin(self._squares[rows]))]]
        return np.column_stack([mutual, self._nearest[mutual]])

    def merge(self, pairs: NDArray[np.int64], merges: _Merges) -> None:
        """Merge pairs of clusters, no cluster in two of them."""
        kept, gone = pairs.T
        sizes = self._sizes[kept] + self._sizes[gone]
        difference = self._centres[gone] - self._centres[kept]
        weights = 2 * self._sizes[kept] * self._sizes[gone] / sizes
        heights = np.sqrt(weights * np.einsum("nd,nd->n", difference, difference))
        self._centres[kept] += difference * (self._sizes[gone] / sizes)[:, None]
        self._norms[kept] = np.einsum("nd,nd->n", self._centres[kept], self._centres[kept])
        self._sizes[kept] = sizes
        self._inverse_sizes[kept] = 1 / sizes
        for keep, go, height, size in zip(kept.tolist(), gone.tolist(), heights.tolist(), sizes.tolist(), strict=True):
            self._ids[keep] = merges.add(int(self._ids[keep]), int(self._ids[go]), height, size)
        self._is_alive[gone] = False
        has_changed = np.zeros(len(self._ids) + 1, np.bool_)  # the last one for those that know no nearest
        has_changed[pairs.ravel()] = True
        self._nearest[has_changed[self._nearest]] = -1
        self._nearest[kept] = -1
        if self.n_alive < _COMPACT_BELOW * len(self._ids):
            self._compact()

    def _compact(self) -> None:
        place = np.cumsum(self._is_alive) - 1
        names: tuple[Any, ...] = ("_centres", "_norms", "_sizes", "_inverse_sizes", "_ids", "_nearest", "_squares")
        for name in names:
            setattr(self, name, getattr(self, name)[self._is_alive])
        self._nearest = np.where(self._nearest < 0, -1, place[self._nearest])
        self._is_alive = np.ones(len(self._ids), np.bool_)
