"""The tile kernel: distances from every patch of an image to the nearest patch of another image.

For unit vectors ``||a - b||^2 = 2 - 2 a.b``, so the nearest patch is the one with the largest inner product, and one
matrix product of an image pair serves both directions: row maxima for one, column maxima for the other.
`kernels.integers` makes it of 16-bit integers and measures what may be the nearest patch from differences; where mean
distances are wanted too, or a processor lacks the instruction, `kernels.single_precision` makes it. Both work in one
pass and in the calling thread, without the interpreter's lock; run many pairs side by side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.bags import check_bags
from anoclust_core.errors import ArrayContractError
from anoclust_core.pairwise.kernels.integers import has_integer_products, nearest_squares, nearest_squares_within
from anoclust_core.pairwise.kernels.single_precision import LargestProducts, largest_products, largest_products_within

RESCORE_BELOW: Final = 1e-3
"""Squared distances below this suffer from cancellation in ``2 - 2 g`` and are computed again in double precision."""

ZERO_BELOW: Final = 1e-12
"""Squared distances below this are rounding, and 0: a duplicate has distance 0. Float32 patches that mean the same
differ by up to 1e-7, and sums over a thousand features in double precision are off by up to 1e-13."""


DOUBLE_PRODUCT_VALUES: Final = 1 << 20
"""Values of a product in double precision that are held at a time: 8 MiB, and as much again while it is made."""


@dataclass(frozen=True)
class MutualDistances:
    """Distances between two groups of images, all from one product per pair.

    Attributes
    ----------
    forward
        Shape ``(n_bags, n_others, n_patches)``, float32, in [0, 2]: from each patch to the nearest patch of the other.
    backward
        Shape ``(n_others, n_bags, n_other_patches)``, float32: the same the other way.
    mean
        Shape ``(n_bags, n_others)``, float64, in [0, 2]: mean distance of all patches of the one to all of the other.
    """

    forward: NDArray[np.float32]
    backward: NDArray[np.float32]
    mean: NDArray[np.float64]


def mutual_nearest_distances(
    bags: NDArray[np.floating[Any]], others: NDArray[np.floating[Any]]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    r"""Nearest-patch distances between two groups of images, both directions from one product per pair.

    .. math:: d_{ijm} = \min_n \| z^i_m - z^j_n \|

    the inner minimum of [SOHN23] eq. (3) and (5).

    Parameters
    ----------
    bags, others
        Shapes ``(n_bags, n_patches, dim)`` and ``(n_others, n_other_patches, dim)``, unit L2 norm per patch.

    Returns
    -------
    forward
        Shape ``(n_bags, n_others, n_patches)``, float32, in [0, 2]: from each patch of ``bags`` to ``others``.
    backward
        Shape ``(n_others, n_bags, n_other_patches)``, float32: from each patch of ``others`` to ``bags``.

    Raises
    ------
    ArrayContractError
        As `check_pair`.
    """
    return _both_ways(*check_pair(bags, others))


def nearest_distances_within(bags: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Nearest-patch distances between all images of one group.

    Parameters
    ----------
    bags
        Shape ``(n_bags, n_patches, dim)``, unit L2 norm per patch.

    Returns
    -------
    distances
        Shape ``(n_bags, n_bags, n_patches)``, float32: ``[i, j, m]`` from patch ``m`` of bag ``i`` to bag ``j``;
        0 for i = j.

    Raises
    ------
    ArrayContractError
        As `anoclust_core.bags.check_bags`.
    """
    return _within(check_bags(bags))


def mutual_nearest_and_mean_distances(
    bags: NDArray[np.floating[Any]], others: NDArray[np.floating[Any]]
) -> MutualDistances:
    r"""Nearest-patch distances both ways, and the mean distance of each image pair, from one product per pair.

    .. math:: \bar d_{ij} = \frac{1}{M N} \sum_m \sum_n \| z^i_m - z^j_n \|

    the first distance of [SOHN23] appendix C. Its square roots are taken while the product is in registers: up to
    twice the time of `mutual_nearest_distances`, whose distances these are but for rounding.

    Parameters
    ----------
    bags, others
        As in `mutual_nearest_distances`.

    Returns
    -------
    distances
        Errors below 1e-5. An image's mean distance to a copy of itself is not 0 unless all its patches are alike.

    Raises
    ------
    ArrayContractError
        As `check_pair`.
    """
    left, right = check_pair(bags, others)
    largest = largest_products(left, right, with_roots=True)
    means = _to_means(largest)
    return MutualDistances(
        forward=_to_distances(largest.forward, left, right, means=means),
        backward=_to_distances(largest.backward, right, left),
        mean=means.mean(axis=2, dtype=np.float64),
    )


def nearest_and_mean_distances_within(
    bags: NDArray[np.floating[Any]],
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Nearest-patch distances and mean distances between all images of one group.

    Parameters
    ----------
    bags
        As in `nearest_distances_within`.

    Returns
    -------
    distances
        Shape ``(n_bags, n_bags, n_patches)``, float32: as in `nearest_distances_within`, but for rounding.
    mean
        Shape ``(n_bags, n_bags)``, float64, in [0, 2], symmetric: as in `mutual_nearest_and_mean_distances`. Of an
        image with itself it is set to 0, so that the diagonal is that of a distance matrix.

    Raises
    ------
    ArrayContractError
        As `anoclust_core.bags.check_bags`.
    """
    checked = check_bags(bags)
    largest = largest_products_within(checked, with_roots=True)
    means = _to_means(largest)
    distances = _to_distances(largest.forward, checked, checked, means=means)
    above = np.triu(means.mean(axis=2, dtype=np.float64), k=1)
    return distances, above + above.T


def nearest_distances(bags: NDArray[np.floating[Any]], references: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Nearest-patch distances from one group of images to another, one direction only.

    Parameters
    ----------
    bags, references
        Shapes ``(n_bags, n_patches, dim)`` and ``(n_references, n_reference_patches, dim)``, unit L2 norm per patch.

    Returns
    -------
    distances
        Shape ``(n_bags, n_references, n_patches)``, float32, in [0, 2].

    Raises
    ------
    ArrayContractError
        As `check_pair`.
    """
    return _both_ways(*check_pair(bags, references))[0]


def check_pair(
    bags: NDArray[np.floating[Any]], others: NDArray[np.floating[Any]]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Check two groups of bags that are to be compared; give them as `anoclust_core.bags.check_bags` does.

    Raises
    ------
    ArrayContractError
        If an array is not three-dimensional, not of unit norm, or the feature lengths differ.
    """
    left, right = check_bags(bags), check_bags(others, name="others")
    if left.shape[2] != right.shape[2]:
        raise ArrayContractError(f"both groups need patches of one length; found {left.shape[2]} and {right.shape[2]}")
    return left, right


def _both_ways(
    left: NDArray[np.float32], right: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Nearest distances there and back; assumes checked input."""
    if not has_integer_products():
        return _both_ways_in_single_precision(left, right)
    squares = nearest_squares(left, right)
    forward, backward = _roots(squares.forward), _roots(squares.backward)
    for i, j in np.argwhere(np.isnan(forward[:, :, 0])):
        forward[i, j], backward[j, i] = _crowded_pair(left[i], right[j])
    return forward, backward


def _within(bags: NDArray[np.float32]) -> NDArray[np.float32]:
    """Nearest distances between the images of a group; assumes checked input."""
    if not has_integer_products():
        return _to_distances(largest_products_within(bags).forward, bags, bags)
    distances = _roots(nearest_squares_within(bags))
    for i, j in np.argwhere(np.triu(np.isnan(distances[:, :, 0]))):
        distances[i, j], distances[j, i] = _crowded_pair(bags[i], bags[j])
    return distances


def _both_ways_in_single_precision(
    left: NDArray[np.float32], right: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    largest = largest_products(left, right)
    return _to_distances(largest.forward, left, right), _to_distances(largest.backward, right, left)


def _crowded_pair(bag: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    """Nearest distances there and back of two images that have too many candidates for nearest patches in integers."""
    forward, backward = _both_ways_in_single_precision(bag[None], other[None])
    return forward[0, 0], backward[0, 0]


def _roots(squares: NDArray[np.float32]) -> NDArray[np.float32]:
    """Distances from their squares, in place; NaN stays."""
    squares[squares < ZERO_BELOW] = 0
    return np.sqrt(np.minimum(squares, 4, out=squares), out=squares)


def _to_means(products: LargestProducts) -> NDArray[np.float32]:
    """Mean distance of each patch to all patches of each other image, in place: ``||a - b|| = sqrt(2) sqrt(1 - a.b)``.

    Worthless, NaN included, where a patch is close to one of the others: `_to_distances` replaces these.
    """
    if products.roots is None:
        raise AssertionError("roots were not asked for")
    return np.multiply(products.roots, 2**0.5, out=products.roots)


def _to_distances(
    largest: NDArray[np.float32],
    bags: NDArray[np.float32],
    others: NDArray[np.float32],
    *,
    means: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Distances from the largest inner products ``(n_bags, n_others, n_patches)``, in place; assumes checked input.

    The few pairs of images with close patches are multiplied a second time, which keeps the loop over all pairs short;
    the same patches' ``means`` are replaced.
    """
    squared = np.clip(np.subtract(2, np.multiply(largest, 2, out=largest), out=largest), 0, 4, out=largest)
    close = squared < RESCORE_BELOW
    for i, j in np.argwhere(close.any(axis=2)):
        rows = np.flatnonzero(close[i, j])
        for part, doubles in _squared_in_double(bags[i, rows], others[j]):
            nearest = doubles.min(axis=1)
            squared[i, j, rows[part]] = np.where(nearest < ZERO_BELOW, 0, nearest)
            if means is not None:
                np.sqrt(np.maximum(doubles, 0, out=doubles), out=doubles)
                means[i, j, rows[part]] = doubles.mean(axis=1)
            del doubles  # else it would still be there while the next one is made
    return np.sqrt(squared, out=squared)


def _squared_in_double(
    patches: NDArray[np.float32], others: NDArray[np.float32]
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Squared distances of patches to all others, a few patches at a time: ``a.a + b.b - 2 a.b`` in double precision.

    The cost is that of one more product, however many patches are alike; direct differences to every candidate would
    take minutes where pictures share a flat background.
    """
    right = others.astype(np.float64)
    right_norms = np.einsum("nd,nd->n", right, right)
    step = max(1, DOUBLE_PRODUCT_VALUES // len(others))
    for start in range(0, len(patches), step):
        left = patches[start : start + step].astype(np.float64)
        squared = -2 * (left @ right.T)
        squared += np.einsum("md,md->m", left, left)[:, None]
        squared += right_norms
        yield slice(start, start + step), squared
