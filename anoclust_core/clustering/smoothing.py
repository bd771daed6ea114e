"""Smoothing: every descriptor is averaged with its nearest ones, so that images of one kind move together."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import WHOLE, checked_array
from anoclust_core.clustering.checks import checked_descriptors
from anoclust_core.errors import ArrayContractError

NEIGHBOURS: Final = 10
"""Nearest images that a descriptor is averaged with, where there are enough."""

IMAGES_A_NEIGHBOUR: Final = 6
"""Images for each neighbour: of few images, ten neighbours would be half of them."""

MAX_AMONG: Final = 4000
"""Images that neighbours are looked for among: of more, evenly spaced rows are taken."""

_ROWS_AT_ONCE: Final = 512


def n_neighbours(n_images: int) -> int:
    """Neighbours that a descriptor of so many is averaged with: a sixth of the images, ten at most."""
    return min(NEIGHBOURS, n_images // IMAGES_A_NEIGHBOUR)


def smoothed(
    descriptors: NDArray[np.floating[Any]],
    *,
    among: NDArray[np.floating[Any]] | None = None,
    own: NDArray[np.integer[Any]] | None = None,
) -> NDArray[np.float32]:
    r"""Average every descriptor with its nearest neighbours.

    .. math:: \bar z_i = \frac{1}{k + 1} \Big( z_i + \sum_{j \in N_k(i)} z_j \Big)

    Parameters
    ----------
    descriptors
        Shape ``(n_images, dim)``, finite.
    among
        Shape ``(n_others, dim)``: descriptors, not averaged, that neighbours are looked for among, as for new images
        those of the images that were clustered; by default the descriptors themselves, each without itself. k is
        `n_neighbours` of them. Of more than ``MAX_AMONG``, that many evenly spaced rows are taken.
    own
        Shape ``(n_images,)``: row of ``among`` that is each descriptor itself, or stands for it, and is no neighbour of
        it; by default none of given ones.

    Returns
    -------
    smoothed
        Shape ``(n_images, dim)``, float32. A row depends on itself and on ``among`` alone.

    Raises
    ------
    ArrayContractError
        If an array is not two-dimensional and finite, they have not the same length of descriptors, or ``own`` is not
        one row of ``among`` for each.
    """
    values = checked_descriptors(descriptors, min_rows=1)
    others = values if among is None else checked_descriptors(among, min_rows=1)
    if others.shape[1] != values.shape[1]:
        raise ArrayContractError(f"expected neighbours of {values.shape[1]} values, found shape {others.shape}")
    if among is None:
        own = np.arange(len(values))
    elif own is not None:
        own = checked_array("own", own, "(n_images,)", kinds=WHOLE)
        if own.shape != (len(values),) or not 0 <= own.min() <= own.max() < len(others):
            raise ArrayContractError(f"expected {len(values)} rows of {len(others)} descriptors, found {own.shape}")
    k = n_neighbours(len(others))
    if not k:
        return values.astype(np.float32)
    taken = np.unique(np.linspace(0, len(others) - 1, min(len(others), MAX_AMONG)).astype(int))
    others = others[taken]
    squares = np.einsum("nd,nd->n", others, others)
    found = np.empty(values.shape, np.float32)
    for start in range(0, len(values), _ROWS_AT_ONCE):
        rows = values[start : start + _ROWS_AT_ONCE]
        distances = squares - 2 * (rows @ others.T)
        if own is not None:
            mine = own[start : start + len(rows)]
            place = np.searchsorted(taken, mine)
            is_taken = (place < len(taken)) & (taken[np.minimum(place, len(taken) - 1)] == mine)
            distances[np.flatnonzero(is_taken), place[is_taken]] = np.inf
        nearest = np.sort(np.argpartition(distances, k - 1, axis=1)[:, :k], axis=1)
        found[start : start + len(rows)] = (rows + others[nearest].sum(axis=1)) / (k + 1)
    return found
