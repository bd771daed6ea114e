"""Clustering around medoids: images that stand for their cluster, found from distances alone.

Own code, because the well-kept library for it (``kmedoids``) is under the GPL; the tests compare with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.clustering.checks import check_n_clusters, checked_distances
from anoclust_core.clustering.labels import numbered_by_size
from anoclust_core.clustering.order import by_centrality

_BLOCK_VALUES: Final = 1 << 20
"""Distances looked at together: 8 MiB, which stays near the caches."""

_ROUNDING: Final = 1e-12
"""Share of the loss below which a difference is rounding: a tie, or a swap that gains nothing."""


@dataclass(frozen=True)
class Medoids:
    """Clusters around medoids.

    Attributes
    ----------
    labels
        Shape ``(n_images,)``, int64 in ``[0, n_clusters)``; numbered by decreasing size, ties by the first image.
    medoids
        Shape ``(n_clusters,)``, int64: the row of the image that stands for each cluster, by number.
    loss
        Sum of the distances of all images to their medoids, >= 0, in the distances' unit.
    """

    labels: NDArray[np.int64]
    medoids: NDArray[np.int64]
    loss: float


def k_medoids(distances: NDArray[np.floating[Any]], *, n_clusters: int) -> Medoids:
    r"""Partition around medoids (PAM): the images that minimise the sum of distances to the nearest of them.

    .. math:: \min_{m_1, \dots, m_K} \sum_i \min_k d(i, m_k)

    With maximum Hausdorff distances this is BAMIC, the multiple-instance clustering of [SOHN23] Tables 2 and 10. BUILD
    adds one medoid after the other, each where it lowers the sum most; SWAP exchanges a medoid for another image, each
    time the pair that lowers the sum most, until none does (Kaufman and Rousseeuw 1990, the swaps evaluated as by
    FastPAM1 of Schubert and Rousseeuw 2021). The result is a local minimum and needs no random numbers.

    The more central image, by its sum of distances to all, wins a tie: of two images alone in a cluster, each could be
    its medoid. So permuting the images permutes the result, unless two different images have equal sums.
    Every image is in the cluster of its nearest medoid. One swap costs time in n_images^2 whatever ``n_clusters``;
    memory is up to 24 bytes x n_images^2 beside ``distances``.

    Parameters
    ----------
    distances
        Shape ``(n_images, n_images)``, finite, >= 0, exactly symmetric, zero diagonal; at least two images. They need
        not obey the triangle inequality.
    n_clusters
        From 1 to ``n_images``.

    Returns
    -------
    medoids
        Labels, medoids and loss; always exactly ``n_clusters`` clusters.

    Raises
    ------
    ArrayContractError
        If ``distances`` is anything else, or so large that squares overflow.
    ConfigError
        If there cannot be so many clusters.
    """
    values = checked_distances(distances)
    check_n_clusters(n_clusters, len(values))
    order = by_centrality(values)
    values = values[np.ix_(order, order)]
    places = _swapped(values, _built(values, n_clusters))
    nearest_by_order, distance, _ = _nearest_two(values, places)
    nearest = np.empty_like(order)
    nearest[order] = nearest_by_order
    labels, medoids = numbered_by_size(nearest), order[places]
    numbered = np.empty_like(medoids)
    numbered[labels[medoids]] = medoids
    return Medoids(labels=labels, medoids=numbered, loss=float(distance.sum()))


def _built(values: NDArray[np.float64], n_clusters: int) -> NDArray[np.int64]:
    """Medoids of BUILD, in the order in which they were added; assumes checked input."""
    medoids: list[int] = []
    distance = np.full(len(values), np.inf)
    for _ in range(n_clusters):
        losses = np.concatenate([np.minimum(values[block], distance).sum(axis=1) for block in _blocks(len(values))])
        losses[medoids] = np.inf  # among copies of its medoids every image adds nothing, a medoid must not come twice
        medoids.append(_first_least(losses, _ROUNDING * float(losses.min())))
        distance = np.minimum(distance, values[medoids[-1]])
    return np.array(medoids, dtype=np.int64)


def _swapped(values: NDArray[np.float64], medoids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Medoids of SWAP from the given ones, in ascending order; assumes checked input."""
    current = medoids.copy()
    while True:
        candidate, slot, change, loss = _best_swap(values, current)
        if not change < -_ROUNDING * loss:
            return np.sort(current)
        current[slot] = candidate


def _best_swap(values: NDArray[np.float64], medoids: NDArray[np.int64]) -> tuple[int, int, float, float]:
    r"""Candidate, the place of the medoid it should replace, the change of the loss, and the loss now.

    Without medoid m an image goes to its second nearest medoid if m was the nearest. With :math:`d_1, d_2` its
    distances to these two and :math:`d_c` that to the candidate, the change is

    .. math:: \sum_i \big(\min(d_c, d_1) - d_1\big) + \sum_{i: m_1(i) = m} \big(\min(d_c, d_2) - \min(d_c, d_1)\big)

    whose first sum does not depend on m: all places together cost one pass over the distances.
    """
    nearest, first, second = _nearest_two(values, medoids)
    by_cluster = np.argsort(nearest, kind="stable")
    starts = np.searchsorted(nearest[by_cluster], np.arange(len(medoids)))
    first, second = first[by_cluster], second[by_cluster]
    loss = float(first.sum())
    changes = np.empty((len(values), len(medoids)))
    for block in _blocks(len(values)):
        to_candidates = values[block][:, by_cluster]
        kept = np.minimum(to_candidates, first)
        removals = np.add.reduceat(np.minimum(to_candidates, second) - kept, starts, axis=1)
        changes[block] = kept.sum(axis=1, keepdims=True) - loss + removals
    candidate, slot = divmod(_first_least(changes.ravel(), _ROUNDING * loss), len(medoids))
    return candidate, slot, float(changes[candidate, slot]), loss


def _first_least(values: NDArray[np.float64], tolerance: float) -> int:
    """Place of the first value that is the least up to rounding."""
    return int(np.argmax(values <= values.min() + tolerance))


def _nearest_two(
    values: NDArray[np.float64], medoids: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Place of each image's nearest medoid, its distance, and the distance to the next one (infinite if none).

    A medoid belongs to itself, also where another one is its copy: so no cluster is empty.
    """
    to_medoids = values[:, medoids]
    nearest = np.argmin(to_medoids, axis=1)
    nearest[medoids] = np.arange(len(medoids))
    rows = np.arange(len(values))
    first = to_medoids[rows, nearest]
    to_medoids[rows, nearest] = np.inf
    return nearest, first, to_medoids.min(axis=1)


def _blocks(n_images: int) -> Iterator[slice]:
    """Consecutive rows whose distances to all images are looked at together."""
    step = max(1, _BLOCK_VALUES // n_images)
    return (slice(start, start + step) for start in range(0, n_images, step))
