"""What every clustering asks of its input; the public functions call these first and trust their arrays then."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import checked_array
from anoclust_core.errors import ArrayContractError, ConfigError


def checked_descriptors(descriptors: NDArray[np.floating[Any]], *, min_rows: int = 2) -> NDArray[np.float64]:
    """Give descriptors as contiguous float64, or say what is wrong with them.

    Parameters
    ----------
    descriptors
        Shape ``(n_images, dim)``, finite, any memory layout.
    min_rows
        Fewest images that make sense.

    Raises
    ------
    ArrayContractError
        If the array is not two-dimensional, has too few rows or no columns, is not finite, or is so large that sums of
        its squares overflow.
    """
    descriptors = checked_array("descriptors", descriptors, "(n_images, dim)")
    if descriptors.ndim != 2 or len(descriptors) < min_rows or descriptors.shape[1] < 1:
        raise ArrayContractError(
            f"expected descriptors of shape (n_images >= {min_rows}, dim >= 1), found {descriptors.shape}; "
            "pass one row per image"
        )
    n_bad = int((~np.isfinite(descriptors)).any(axis=1).sum())
    if n_bad:
        raise ArrayContractError(
            f"expected finite descriptors, found NaN or infinity in {n_bad} of {len(descriptors)} rows; "
            "leave these images out or embed them again"
        )
    values = np.ascontiguousarray(descriptors, dtype=np.float64)
    _refuse_overflow(values, "descriptors")
    return values


def checked_distances(distances: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Give distances between images as contiguous float64, or say what is wrong with them.

    Parameters
    ----------
    distances
        Shape ``(n_images, n_images)``, finite, >= 0, exactly symmetric, zero diagonal; at least two images.

    Raises
    ------
    ArrayContractError
        If the array is anything else, or so large that sums of its squares overflow.
    """
    distances = checked_array("distances", distances, "(n_images, n_images)")
    if distances.ndim != 2 or len(distances) < 2 or distances.shape[0] != distances.shape[1]:
        raise ArrayContractError(
            f"expected distances of shape (n_images >= 2, n_images), found {distances.shape}; "
            "pass the full matrix of all pairs"
        )
    values = np.ascontiguousarray(distances, dtype=np.float64)
    if not np.isfinite(values).all() or values.min() < 0:
        raise ArrayContractError(
            f"expected finite distances of at least 0, found {values.min():.3g} to {values.max():.3g}; "
            "compute them again from finite bags"
        )
    if not np.array_equal(values, values.T) or values.diagonal().any():
        raise ArrayContractError(
            "expected symmetric distances with a zero diagonal, found "
            f"differences up to {np.abs(values - values.T).max():.3g} between the two directions of a pair and up to "
            f"{values.diagonal().max():.3g} of an image to itself; take the larger or the mean of both directions"
        )
    _refuse_overflow(values, "distances")
    return values


def check_n_clusters(n_clusters: int, n_images: int) -> None:
    """Refuse a number of clusters that ``n_images`` cannot have.

    Raises
    ------
    ConfigError
        If there cannot be so many clusters.
    """
    if not 1 <= n_clusters <= n_images:
        raise ConfigError(f"expected 1 to {n_images} clusters for {n_images} images, found {n_clusters}; ask for fewer")


def check_bounds(linkage: NDArray[np.float64], lowest: int, highest: int | None) -> None:
    """Check a tree, and bounds of the number of clusters that it is cut into.

    Raises
    ------
    ArrayContractError
        If ``linkage`` is no tree.
    ConfigError
        If the bounds are not 1 to the number of images, in order.
    """
    check_linkage(linkage)
    n_images = len(linkage) + 1
    if not 1 <= lowest <= (n_images if highest is None else highest) <= n_images:
        raise ConfigError(
            f"{n_images} images cannot be cut into {lowest} to {highest or n_images} clusters; choose other bounds"
        )


def check_cut(linkage: NDArray[np.float64], n_clusters: int) -> int:
    """Give the number of images of a tree that can be cut into so many clusters.

    Raises
    ------
    ArrayContractError
        If ``linkage`` is no tree.
    ConfigError
        If there cannot be so many clusters.
    """
    check_linkage(linkage)
    n_images = len(linkage) + 1
    check_n_clusters(n_clusters, n_images)
    return n_images


def check_linkage(linkage: NDArray[np.float64]) -> None:
    """Refuse a table that is no tree in SciPy's layout.

    Raises
    ------
    ArrayContractError
        If ``linkage`` is no tree.
    """
    linkage = checked_array("linkage", linkage, "(n_images - 1, 4)", lists=False)
    if not _is_tree(linkage):
        raise ArrayContractError(
            f"expected a float64 linkage of shape (n_images - 1, 4) in SciPy's layout, found {linkage.dtype} of shape "
            f"{linkage.shape} that is not a tree; pass what linkage_tree returned"
        )


def _is_tree(linkage: NDArray[np.float64]) -> bool:
    """Whether every cluster but the last is merged exactly once, after it was made, at a finite height."""
    if linkage.ndim != 2 or linkage.shape[1] != 4 or len(linkage) == 0 or not np.isfinite(linkage).all():
        return False
    n_merges = len(linkage)
    children = linkage[:, :2]
    each_once = np.array_equal(np.sort(children, axis=None), np.arange(2 * n_merges))
    return each_once and bool((children.max(axis=1) < n_merges + 1 + np.arange(n_merges)).all())


def _refuse_overflow(values: NDArray[np.float64], what: str) -> None:
    largest = max(float(values.max()), -float(values.min()))
    limit = float(np.sqrt(np.finfo(np.float64).max / (16 * values.size)))
    if largest > limit:
        raise ArrayContractError(
            f"expected {what} whose squared distances fit into float64, found values up to {largest:.3g}; "
            f"scale the {what} down"
        )
