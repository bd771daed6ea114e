r"""Near-duplicates by distances: one part exposed several times, told from how near its images' patches are.

A line sends the same part three times, a camera takes a burst. Such images differ in light and noise, so no comparison
of pixels finds all of them; their patches are still much nearer to each other than to those of any other image. Copies
of one exposure are told before a run, from the pixels, by `anoclust_core.embedding.near_duplicates`.

With :math:`d_{ijm}` the nearest distance of patch m of image i in image j, as in [SOHN23] eq. (5), two images are

.. math:: \bar d_{ij} = \max\Big(\frac{1}{M} \sum_m d_{ijm},\ \frac{1}{M} \sum_m d_{jim}\Big), \qquad
          \hat d_{ij} = \max_m \max(d_{ijm}, d_{jim})

apart, on average and in their strangest patch. What is usual is asked of their neighbours: of the 16 images nearest to
an image, :math:`s_i` is the mean :math:`\bar d` of the farther half, :math:`t_i` that of :math:`\hat d`. Then

.. math:: \delta_{ij} = \bar d_{ij} / \sqrt{s_i s_j}, \text{ or }
          \hat d_{ij} / \sqrt{t_i t_j} \text{ where that is above 1 and larger}

is 1 for neighbours as they usually are. The second figure keeps a good part and a defective one apart that have
everything else in common.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform

from anoclust_core.arrays import WHOLE, checked_array
from anoclust_core.embedding.near_duplicates import FEWEST
from anoclust_core.errors import ArrayContractError

NEARER: Final = 0.65
"""Mean delta of a group's images up to which they are near-duplicates. Chosen on Magnetic Tile, whose file names tell
the exposures of a tile, and on coffee leaves, which have none: every pair found is one, and two of three are found. On
steel strips, which it was not chosen on, the nearest pair has 0.70: frames that overlap."""

NEIGHBOURS: Final = 16
"""Nearest images of each image: a part that is exposed more often than half of that is seldom told."""

LEAST_USUAL: Final = 0.5
"""What is usual near an image, at least, as a part of its median over all: else a long burst would be its own
measure."""

ALONE: Final = -1
"""Group of images that are near-duplicates of none."""


@dataclass(frozen=True)
class Closest:
    """The nearest images of each image, the nearest first.

    Attributes
    ----------
    images
        Shape ``(n_images, n_nearest)``, int64: their rows.
    means, largest
        Shape ``(n_images, n_nearest)``, finite, >= 0, in embedding units: how far apart the two are on average, and in
        their strangest patch; the larger of both directions.
    """

    images: NDArray[np.int64]
    means: NDArray[np.float32]
    largest: NDArray[np.float32]


def closest_images(means: NDArray[np.floating[Any]], largest: NDArray[np.floating[Any]]) -> Closest:
    """Find the nearest images of each image among all pairs.

    Parameters
    ----------
    means, largest
        Shape ``(n_images, n_images)``, finite, at least two images: mean and largest distance of the patches of the
        row's image to the nearest patches of the column's. The diagonal does not count.

    Raises
    ------
    ArrayContractError
        If a matrix is not square and finite, or they are not of the same images.
    """
    both = []
    for name, values in (("means", means), ("largest", largest)):
        given = checked_array(name, values, "(n_images, n_images)", least=2)
        if given.shape[0] != given.shape[1] or not np.isfinite(given).all():
            raise ArrayContractError(f"expected finite {name} of all pairs of images, found shape {given.shape}")
        both.append(np.maximum(given, given.T).astype(np.float32))
    if both[0].shape != both[1].shape:
        raise ArrayContractError(f"expected both of the same images, found {both[0].shape} and {both[1].shape}")
    np.fill_diagonal(both[0], np.inf)
    order = np.argsort(both[0], axis=1, kind="stable")[:, : min(NEIGHBOURS, len(both[0]) - 1)]
    first, second = (np.take_along_axis(values, order, axis=1) for values in both)
    return Closest(order.astype(np.int64), first, second)


def near_duplicate_groups(closest: Closest) -> NDArray[np.int64]:
    """Group images that show one part, by the mean delta of all of their pairs.

    Pairs up to `NEARER` lead to candidates; within these, groups are merged by average linkage up to `NEARER`. So one
    image between two parts does not chain them into one group. Pairs that are not among the nearest images count as 1.

    Parameters
    ----------
    closest
        From `closest_images`, or found otherwise; every image has the same number of nearest ones.

    Returns
    -------
    groups
        Shape ``(n_images,)``, int64: 0, 1, ... by the first row of each group, ``ALONE`` for images in none. All are
        alone where there are fewer than 8: what is usual is not known. Permuting the images permutes the groups.

    Raises
    ------
    ArrayContractError
        If the three arrays do not fit each other, a row names no image, or a distance is not finite or negative.
    """
    images = checked_array("images", closest.images, "(n_images, n_nearest)", kinds=WHOLE)
    distances = []
    for name, given in (("means", closest.means), ("largest", closest.largest)):
        values = checked_array(name, given, "(n_images, n_nearest)").astype(np.float64)
        if values.shape != images.shape or not (np.isfinite(values) & (values >= 0)).all():
            raise ArrayContractError(f"expected finite {name} >= 0 of shape {images.shape}, found {values.shape}")
        distances.append(values)
    n_images, n_nearest = images.shape
    if images.size and not 0 <= images.min() <= images.max() < n_images:
        raise ArrayContractError(f"expected rows of {n_images} images, found {images.min()} to {images.max()}")
    groups = np.full(n_images, ALONE, np.int64)
    if n_images < FEWEST or not n_nearest:
        return groups
    deltas = _deltas(images, *distances)
    is_near = deltas <= NEARER
    rows = np.repeat(np.arange(n_images), n_nearest).reshape(images.shape)
    ends = (rows[is_near], images[is_near])
    _, component = connected_components(coo_array((np.ones(len(ends[0])), ends), shape=(n_images,) * 2), directed=False)
    n_groups = 0
    for members in _sets(component):
        merged = fcluster(linkage(_among(members, images, deltas), "average"), NEARER, "distance")
        for rows_of in _sets(merged):
            groups[members[rows_of]] = n_groups
            n_groups += 1
    return _numbered(groups)


def _deltas(images: NDArray[np.int64], means: NDArray[np.float64], largest: NDArray[np.float64]) -> NDArray[np.float64]:
    """Delta of every image to its nearest ones; 1 where nothing is usual, all images being the same."""
    relative = []
    for values in (means, largest):
        usual = values[:, values.shape[1] // 2 :].mean(axis=1)
        usual = np.maximum(usual, LEAST_USUAL * np.median(usual))
        scale = np.sqrt(usual[:, None] * usual[images])
        relative.append(np.divide(values, scale, out=np.ones_like(values), where=scale > 0))
    deltas: NDArray[np.float64] = np.where(relative[1] > 1, np.maximum(*relative), relative[0])
    return deltas


def _sets(labels: NDArray[np.integer[Any]]) -> list[NDArray[np.int64]]:
    """Rows of each label that two or more have."""
    order = np.argsort(labels, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    return [part for part in parts if len(part) > 1]


def _among(members: NDArray[np.int64], images: NDArray[np.int64], deltas: NDArray[np.float64]) -> NDArray[np.float64]:
    """Condensed deltas of all pairs of some images."""
    square = np.ones((len(members), len(members)))
    at = np.searchsorted(members, images[members])
    at[at == len(members)] = 0
    row, column = np.nonzero(members[at] == images[members])
    square[row, at[row, column]] = deltas[members[row], column]
    condensed: NDArray[np.float64] = squareform(np.minimum(square, square.T), checks=False)
    return condensed


def _numbered(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Groups by their first row."""
    found, first = np.unique(groups[groups != ALONE], return_index=True)
    names = found[np.argsort(first, kind="stable")]
    numbers = {int(name): number for number, name in enumerate(names)}
    return np.array([numbers.get(int(group), ALONE) for group in groups], np.int64)
