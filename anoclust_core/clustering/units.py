"""Images that count once: the units of a tree are then groups of near-duplicates, each like one image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import WHOLE, checked_array
from anoclust_core.clustering.checks import check_bounds, checked_descriptors
from anoclust_core.clustering.labels import numbered_by_size
from anoclust_core.errors import ArrayContractError


def units_of(groups: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Number what counts once: groups of images, and each image that is in none.

    Parameters
    ----------
    groups
        Shape ``(n_images,)``: group of each image, negative where it is in none.

    Returns
    -------
    units
        Shape ``(n_images,)``, int64: 0, 1, ... by the first image of each.

    Examples
    --------
    >>> units_of(np.array([-1, 5, -1, 5])).tolist()
    [0, 1, 2, 1]
    """
    given = checked_array("groups", groups, "(n_images,)", kinds=WHOLE).astype(np.int64)
    names = np.where(given < 0, np.arange(len(given)), len(given) + given)
    _, first, codes = np.unique(names, return_index=True, return_inverse=True)
    numbers = np.empty(len(first), np.int64)
    numbers[np.argsort(first, kind="stable")] = np.arange(len(first))
    return numbers[codes]


def first_of_each(units: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Row of the first image of each unit, ascending: the image that stands for it; ``units`` as from `units_of`."""
    given = checked_array("units", units, "(n_images,)", kinds=WHOLE)
    return np.sort(np.unique(given, return_index=True)[1]).astype(np.int64)


def unit_means(descriptors: NDArray[np.floating[Any]], units: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Mean descriptor of each unit.

    Parameters
    ----------
    descriptors
        Shape ``(n_images, dim)``, finite.
    units
        Shape ``(n_images,)``, as from `units_of`.

    Returns
    -------
    means
        Shape ``(n_units, dim)``, float64.

    Raises
    ------
    ArrayContractError
        If the arrays do not fit each other, or a descriptor is not finite.
    """
    values = checked_descriptors(descriptors, min_rows=1)
    given = _checked_units(units, len(values))
    order = np.argsort(given, kind="stable")
    sizes = np.bincount(given)
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    return np.asarray(np.add.reduceat(values[order], starts, axis=0) / sizes[:, None], np.float64)


def join_lone_units(
    labels: NDArray[np.integer[Any]], units: NDArray[np.integer[Any]], leaves: NDArray[np.floating[Any]]
) -> NDArray[np.int64]:
    """Join clusters that are one part, exposed several times, to the nearest other one: one part is no kind.

    Parameters
    ----------
    labels
        Shape ``(n_units,)``: cluster of each unit. A cluster of one image stays, as it would without near-duplicates.
    units
        Shape ``(n_images,)``, as from `units_of`.
    leaves
        Shape ``(n_units, dim)``, finite: mean descriptor of each unit; clusters are near where their means are.

    Returns
    -------
    labels
        Shape ``(n_units,)``, int64, numbered by decreasing size in images; as they were where no other cluster is left.

    Raises
    ------
    ArrayContractError
        If the arrays do not fit each other.
    """
    given = _checked_units(units, None)
    values = checked_descriptors(leaves, min_rows=1)
    found = checked_array("labels", labels, "(n_units,)", kinds=WHOLE).astype(np.int64)
    if not len(found) == len(values) == given.max() + 1:
        raise ArrayContractError(
            f"expected labels and leaves of {given.max() + 1} units, found {len(found)} and {len(values)}"
        )
    sizes = np.bincount(given)
    names, codes, n_units = np.unique(found, return_inverse=True, return_counts=True)
    is_lone = (n_units[codes] == 1) & (sizes > 1)
    others = np.setdiff1d(np.arange(len(names)), codes[is_lone])
    joined = codes.astype(np.int64)
    if len(others):
        means = np.stack([values[codes == other].mean(axis=0) for other in others])
        for unit in np.flatnonzero(is_lone):
            joined[unit] = others[np.argmin(((means - values[unit]) ** 2).sum(axis=1))]
    numbers = numbered_by_size(joined[given])
    return numbers[np.unique(given, return_index=True)[1]]


def tree_of_images(linkage: NDArray[np.float64], units: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Tree of all images from that of their units: the images of a unit are merged first, at height 0.

    Parameters
    ----------
    linkage
        Shape ``(n_units - 1, 4)``, SciPy's layout; with one unit ``(0, 4)``.
    units
        Shape ``(n_images,)``, as from `units_of`, at least two images.

    Returns
    -------
    linkage
        Shape ``(n_images - 1, 4)``, float64, the heights of the units' tree above zeros; its last column counts images.

    Raises
    ------
    ArrayContractError
        If ``linkage`` is no tree of so many units.
    """
    tree = checked_array("linkage", linkage, "(n_units - 1, 4)")
    n_units = len(tree) + 1
    if n_units > 1:
        check_bounds(tree, 1, None)
    given = _checked_units(units, None)
    if given.max(initial=-1) + 1 != n_units:
        raise ArrayContractError(f"expected a tree of {given.max(initial=-1) + 1} units, found one of {n_units}")
    n_images = len(given)
    merges: list[tuple[float, float, float, float]] = []
    node = np.empty(2 * n_units - 1, np.int64)
    size = np.empty(2 * n_units - 1, np.int64)
    for unit in range(n_units):
        first, *others = np.flatnonzero(given == unit).tolist()
        node[unit], size[unit] = first, 1
        for other in others:
            merges.append((min(node[unit], other), max(node[unit], other), 0.0, size[unit] + 1))
            node[unit], size[unit] = n_images + len(merges) - 1, size[unit] + 1
    for at, (first, second, height, _) in enumerate(tree.tolist(), start=n_units):
        one, other = int(first), int(second)
        size[at] = size[one] + size[other]
        merges.append((min(node[one], node[other]), max(node[one], node[other]), height, size[at]))
        node[at] = n_images + len(merges) - 1
    return np.array(merges, np.float64).reshape(-1, 4)


def _checked_units(units: NDArray[np.integer[Any]], n_images: int | None) -> NDArray[np.int64]:
    given = checked_array("units", units, "(n_images,)", kinds=WHOLE, least=1).astype(np.int64)
    if (n_images is not None and len(given) != n_images) or not np.array_equal(
        np.unique(given), np.arange(given.max(initial=-1) + 1)
    ):
        raise ArrayContractError(
            f"expected a unit for each image, numbered from 0 without gaps, found {len(given)} values from "
            f"{given.min(initial=0)} to {given.max(initial=0)} for {n_images or len(given)} images"
        )
    return given
