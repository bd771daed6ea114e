"""Distances between images: weighted average, and the Hausdorff family.

The Hausdorff distances follow from the nearest distances that the weights need anyway, except ``mean_mean``, which
needs the mean distances that `anoclust_core.pairwise.cpu` gives along with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform

from anoclust_core.arrays import checked_array, checked_iterable, told
from anoclust_core.bags import check_bags, descriptors
from anoclust_core.errors import ArrayContractError, ConfigError

HausdorffVariant = Literal["mean_mean", "max_min_max", "max_min_mean", "min_min", "mean_min_max", "mean_min_mean"]
"""The six distances of [SOHN23] appendix C, named as in its Table 5: over the patches of one image, over those of
the other, then over the two directions where these differ."""

WEIGHT_SUM_TOLERANCE: Final = 1e-3
"""Largest accepted deviation of an image's weights from a sum of 1; weights at rest in single precision stay below."""

_BAGS_AT_ONCE: Final = 64
"""Bags in double precision while they are pooled."""


@dataclass(frozen=True)
class PairStatistics:
    """What the Hausdorff distances of all image pairs follow from; row i, column j is from image i to image j.

    Attributes
    ----------
    smallest, largest, mean
        Shape ``(n_images, n_images)``, float32, in [0, 2], not symmetric: over the patches of i, the smallest, largest
        and mean distance to the nearest patch of j. ``largest`` is the directed Hausdorff distance, [SOHN23] eq. (3).
    mean_of_all
        Shape ``(n_images, n_images)``, float64, in [0, 2], symmetric: mean distance of all patches of i to all of j;
        None where it was not computed.
    """

    smallest: NDArray[np.float32]
    largest: NDArray[np.float32]
    mean: NDArray[np.float32]
    mean_of_all: NDArray[np.float64] | None = None


def weighted_average_distances(descriptors: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    r"""Distances between weighted averages of patches, [SOHN23] eq. (1).

    .. math:: d_{WA}(Z_i, Z_j) = \Big\| \sum_m \alpha^i_m z^i_m - \sum_n \alpha^j_n z^j_n \Big\|

    Parameters
    ----------
    descriptors
        Shape ``(n_images, dim)``, finite, at least one image: the sums, from `anoclust_core.bags.descriptors`.

    Returns
    -------
    distances
        Shape ``(n_images, n_images)``, float64, in embedding units (unit-norm patches: [0, 2]); exactly symmetric with
        a zero diagonal, and 0 between equal descriptors. One image has the distance 0 to itself and no other.

    Raises
    ------
    ArrayContractError
        If ``descriptors`` is not two-dimensional, has no image or no feature, or is not finite.
    """
    descriptors = checked_array("descriptors", descriptors, "(n_images, dim)")
    values = np.asarray(descriptors, dtype=np.float64)
    if values.ndim != 2 or 0 in values.shape or not np.isfinite(values).all():
        raise ArrayContractError(f"descriptors must be finite with shape (n_images, dim); found shape {values.shape}")
    distances: NDArray[np.float64] = squareform(pdist(values), checks=False)
    return distances


def weighted_average_distances_of_bags(
    bags: NDArray[np.floating[Any]], weights: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """Distances between weighted averages of patches, [SOHN23] eq. (1), from the patches and their weights.

    Parameters
    ----------
    bags
        Shape ``(n_images, n_patches, dim)``, unit L2 norm per patch, at least one image.
    weights
        Shape ``(n_images, n_patches)``, not negative, rows sum to 1.

    Returns
    -------
    distances
        Shape ``(n_images, n_images)``, float64, in [0, 2], as in `weighted_average_distances`. Descriptors are pooled
        in double precision and kept in single, as a run keeps them.

    Raises
    ------
    ArrayContractError
        If the bags are not three-dimensional or not of unit norm, or the weights do not fit them.
    """
    weights = checked_array("weights", weights, "(n_images, n_patches)")
    checked = check_bags(bags)
    if weights.shape != checked.shape[:2]:
        raise ArrayContractError(f"weights need one value per patch; found {weights.shape} for bags {checked.shape}")
    off = np.abs(weights.sum(axis=1, dtype=np.float64) - 1).max(initial=0)
    if not ((weights >= 0).all() and off <= WEIGHT_SUM_TOLERANCE):
        raise ArrayContractError(f"weights of an image must not be negative and sum to 1; found sums off by {off:.3g}")
    starts = range(0, len(checked), _BAGS_AT_ONCE)
    parts = [descriptors(checked[s : s + _BAGS_AT_ONCE], weights[s : s + _BAGS_AT_ONCE]) for s in starts]
    return weighted_average_distances(np.concatenate(parts) if parts else np.empty((0, checked.shape[2])))


def pair_statistics(
    blocks: Iterable[tuple[int, NDArray[np.floating[Any]]]],
    *,
    n_images: int,
    mean_distances: NDArray[np.floating[Any]] | None = None,
) -> PairStatistics:
    """Reduce nearest distances, a few rows at a time, to what every Hausdorff distance needs.

    Parameters
    ----------
    blocks
        First row and nearest distances of some rows, shape ``(n_rows_here, n_images, n_patches)``, finite, not
        negative, in any precision; any order, together every row once. From an image to itself they are 0.
    n_images
        At least 1.
    mean_distances
        Shape ``(n_images, n_images)``, finite, symmetric: mean distance of all patches of each pair, which the nearest
        distances do not tell; needed for ``mean_mean``.

    Returns
    -------
    statistics
        Means are taken in double precision.

    Raises
    ------
    ArrayContractError
        If a block does not fit, rows are missing or given twice, or a distance is negative or not finite.
    """
    if n_images < 1:
        raise ArrayContractError(f"distances need at least 1 image; found {n_images}")
    smallest, largest, mean = (np.empty((n_images, n_images), np.float32) for _ in range(3))
    is_given = np.zeros(n_images, np.bool_)
    for part in checked_iterable("blocks", blocks):
        start, block = _checked_block(part)
        rows = slice(start, start + len(block))
        if (
            block.ndim != 3
            or block.shape[1] != n_images
            or block.shape[2] == 0
            or not 0 <= start <= rows.stop <= n_images
        ):
            raise ArrayContractError(
                f"nearest distances of rows must have shape (n_rows, {n_images}, n_patches) and lie within "
                f"{n_images} rows; found {block.shape} from row {start}"
            )
        if is_given[rows].any():
            raise ArrayContractError(f"nearest distances of rows {start} to {rows.stop - 1} are there twice")
        is_given[rows] = True
        for at, row in enumerate(block, start=start):
            values = row.astype(np.float32)
            smallest[at], largest[at] = values.min(axis=1), values.max(axis=1)
            mean[at] = values.mean(axis=1, dtype=np.float64)
    if not is_given.all():
        n_missing = int((~is_given).sum())
        raise ArrayContractError(
            f"nearest distances of {n_missing} of {n_images} rows are missing; found {n_images - n_missing}"
        )
    # NaN fails every comparison, so this finds it too
    if not ((smallest >= 0).all() and (largest < np.inf).all()):
        raise ArrayContractError("nearest distances must be finite and not negative: compute them again")
    return PairStatistics(smallest, largest, mean, _check_mean_distances(mean_distances, n_images))


def _checked_block(part: object) -> tuple[int, NDArray[Any]]:
    """First row and distances of some rows."""
    if not isinstance(part, (tuple, list)) or len(part) != 2 or not isinstance(part[0], (int, np.integer)):
        raise ArrayContractError(f"expected every block to be its first row and an array, found {told(part)}")
    return int(part[0]), checked_array("a block", part[1], "(n_rows, n_images, n_patches)")


def hausdorff_distances(statistics: PairStatistics, *, variant: HausdorffVariant) -> NDArray[np.float64]:
    r"""Distances between images by one of the six variants of the Hausdorff distance in [SOHN23] appendix C.

    With :math:`d_{mn} = \| z^i_m - z^j_n \|` and :math:`d(Z_i, Z_j)` the directed distance of eq. (3):

    =================  ==============================================  =====================================
    variant            directed distance                               of the two directions, eq. (2)
    =================  ==============================================  =====================================
    ``mean_mean``      :math:`\frac{1}{M N} \sum_m \sum_n d_{mn}`      the same
    ``max_min_max``    :math:`\max_m \min_n d_{mn}`                    the larger: the Hausdorff distance
    ``max_min_mean``   :math:`\max_m \min_n d_{mn}`                    the mean
    ``min_min``        :math:`\min_m \min_n d_{mn}`                    the same
    ``mean_min_max``   :math:`\frac{1}{M} \sum_m \min_n d_{mn}`        the larger: modified Hausdorff
    ``mean_min_mean``  :math:`\frac{1}{M} \sum_m \min_n d_{mn}`        the mean
    =================  ==============================================  =====================================

    The formula of ``mean_mean`` gives an image a positive distance to itself. Clusterings ask for 0 there and so does
    this function, for all variants alike; it changes no distance to another image. ``min_min`` is 0 as soon as two
    images share one patch, and breaks the triangle inequality.

    Parameters
    ----------
    statistics
        From `pair_statistics`.
    variant
        One of the six names.

    Returns
    -------
    distances
        Shape ``(n_images, n_images)``, float64, in embedding units, [0, 2]; exactly symmetric with a zero diagonal.

    Raises
    ------
    ConfigError
        If there is no such variant.
    ArrayContractError
        If ``mean_mean`` is asked for and the mean distances were not computed.
    """
    if variant not in _HAUSDORFF:
        raise ConfigError(f"the Hausdorff distances are {', '.join(_HAUSDORFF)}; found {variant!r}")
    distances = _HAUSDORFF[variant](statistics).astype(np.float64)
    np.fill_diagonal(distances, 0)
    return distances


def _larger(directed: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
    return np.maximum(directed, directed.T)


def _halfway(directed: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
    return (directed.astype(np.float64) + directed.T) / 2


def _mean_of_all(statistics: PairStatistics) -> NDArray[np.floating[Any]]:
    if statistics.mean_of_all is None:
        raise ArrayContractError(
            "mean_mean needs the mean distance of every image pair, which nearest distances do not tell; give "
            "pair_statistics the mean_distances of mutual_nearest_and_mean_distances"
        )
    return statistics.mean_of_all


_HAUSDORFF: Final[Mapping[HausdorffVariant, Callable[[PairStatistics], NDArray[np.floating[Any]]]]] = MappingProxyType(
    {
        "mean_mean": _mean_of_all,
        "max_min_max": lambda of: _larger(of.largest),
        "max_min_mean": lambda of: _halfway(of.largest),
        # both directions give the same up to rounding, which must not make the matrix unsymmetric
        "min_min": lambda of: np.minimum(of.smallest, of.smallest.T),
        "mean_min_max": lambda of: _larger(of.mean),
        "mean_min_mean": lambda of: _halfway(of.mean),
    }
)


def _check_mean_distances(
    mean_distances: NDArray[np.floating[Any]] | None, n_images: int
) -> NDArray[np.float64] | None:
    if mean_distances is None:
        return None
    mean_distances = checked_array("mean_distances", mean_distances, "(n_images, n_images)")
    values = np.asarray(mean_distances, dtype=np.float64)
    if values.shape != (n_images, n_images) or not ((values >= 0) & (values < np.inf)).all():
        raise ArrayContractError(
            f"mean distances must be finite with shape ({n_images}, {n_images}); found shape {values.shape}"
        )
    if not np.array_equal(values, values.T):
        raise ArrayContractError("mean distances must be symmetric: both halves come from the same products")
    return values
