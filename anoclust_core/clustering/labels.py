"""Cluster labels: their canonical numbers, and how far images lie from the middle of their cluster."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import WHOLE, checked_array
from anoclust_core.clustering.checks import checked_descriptors
from anoclust_core.errors import ArrayContractError


def numbered_by_size(labels: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Rename clusters 0, 1, ... by decreasing size, then by their first row.

    Parameters
    ----------
    labels
        Shape ``(n_images,)``, integer, any numbering.

    Returns
    -------
    labels
        Shape ``(n_images,)``, int64, without gaps; the same partition.

    Examples
    --------
    >>> numbered_by_size(np.array([7, 3, 3, 9])).tolist()
    [1, 0, 0, 2]
    """
    labels = checked_array("labels", labels, "(n_images,)", kinds=WHOLE)
    _, first_rows, codes, sizes = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first_rows, -sizes))
    numbers = np.empty(len(order), dtype=np.int64)
    numbers[order] = np.arange(len(order))
    return numbers[codes]


def distances_to_cluster_means(
    descriptors: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    """Euclidean distance of each descriptor to the mean descriptor of its cluster.

    Parameters
    ----------
    descriptors
        Shape ``(n_images, dim)``, finite, at least one row.
    labels
        Shape ``(n_images,)``, integer: the cluster of each row, any numbering.

    Returns
    -------
    distances
        Shape ``(n_images,)``, float64 >= 0 in descriptor units; 0 for an image alone in its cluster.

    Raises
    ------
    ArrayContractError
        If ``descriptors`` is not two-dimensional, finite and filled, or ``labels`` is not one integer per row.
    """
    labels = checked_array("labels", labels, "(n_images,)", kinds=WHOLE)
    values = checked_descriptors(descriptors, min_rows=1)
    if labels.shape != (len(values),) or not np.issubdtype(labels.dtype, np.integer):
        raise ArrayContractError(
            f"expected integer labels of shape ({len(values)},), found {labels.dtype} of shape {labels.shape}; "
            "pass the cluster of each descriptor"
        )
    _, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    means = np.add.reduceat(values[np.argsort(codes, kind="stable")], starts, axis=0) / sizes[:, None]
    return np.asarray(np.linalg.norm(values - means[codes], axis=1), dtype=np.float64)
