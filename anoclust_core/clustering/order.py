"""Orders of images that follow from their content: no draw, tie or rounding then depends on the order of the rows."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import checked_array

_BLOCK_VALUES: Final = 1 << 20
"""Distances sorted together: 8 MiB."""


def by_content(descriptors: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rows in lexicographic order of their values, equal rows as they come.

    Parameters
    ----------
    descriptors
        Shape ``(n_images, dim)``, checked.

    Returns
    -------
    order
        Shape ``(n_images,)``, int64: a permutation of the rows.
    """
    descriptors = checked_array("descriptors", descriptors, "(n_images, dim)", least=1)
    _, codes = np.unique(descriptors, axis=0, return_inverse=True)
    return np.argsort(codes.reshape(-1), kind="stable")


def by_centrality(distances: NDArray[np.float64]) -> NDArray[np.int64]:
    """Images by the sum of their distances to all others, the most central one first, equals as they come.

    Each row is summed in ascending order, so that its sum is the same to the last digit however the images are ordered.

    Parameters
    ----------
    distances
        Shape ``(n_images, n_images)``, checked.

    Returns
    -------
    order
        Shape ``(n_images,)``, int64: a permutation of the images.

    Examples
    --------
    >>> by_centrality(np.array([[0.0, 1.0, 9.0], [1.0, 0.0, 3.0], [9.0, 3.0, 0.0]])).tolist()
    [1, 0, 2]
    """
    distances = checked_array("distances", distances, "(n_images, n_images)", least=1)
    step = max(1, _BLOCK_VALUES // len(distances))
    starts = range(0, len(distances), step)
    sums = np.concatenate([np.sort(distances[start : start + step], axis=1).sum(axis=1) for start in starts])
    return np.argsort(sums, kind="stable")
