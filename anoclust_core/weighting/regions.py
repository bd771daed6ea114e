r"""Regions of interest: which patches of an image count, and what becomes of the others.

A patch counts where the region covers at least half of it. The others have no weight, are nothing that other images are
compared with, and enter no statistics. Bags keep their length: wherever patches are compared, one outside stands for
the nearest patch inside, so that

.. math:: \min_{n} \| z^i_m - z^j_n \| = \min_{n \in R_j} \| z^i_m - z^j_n \|

and every kernel for whole bags serves regions too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import TRUTHS, checked_array, checked_grid, checked_sequence
from anoclust_core.embedding.resizing import seen_values
from anoclust_core.errors import ArrayContractError
from anoclust_core.records import EmbeddingSpec
from anoclust_core.weighting.weights import area_shares

ENOUGH: Final = 0.5
"""Part of a patch's area that a region has to cover, for the patch to count."""

_ROWS_PIXELS: Final = 1 << 20
"""Pixels of a mask that are taken for numbers at a time: eight bytes each."""

_ROUNDING: Final = 1e-9
"""By how much a sum of shares of pixels may be off."""


def patches_inside(mask: NDArray[np.bool_], spec: EmbeddingSpec, *, never_none: bool = False) -> NDArray[np.bool_]:
    """Which patches of a frame a region has, as the network sees the frame.

    Parameters
    ----------
    mask
        Shape ``(height, width)`` of the frame as it is seen, bool: true where it is looked at.
    spec
        How a frame is resized and cut, and its grid. What is seen beyond the frame lies outside.
    never_none
        Where the region covers half of no patch, take those that it covers most: of a deeper level, whose patches are
        larger, there are some wherever the first level has some.

    Returns
    -------
    inside
        Shape ``(n_patches,)``, bool, row by row.

    Raises
    ------
    ArrayContractError
        If the mask is not two-dimensional or empty.
    """
    mask = checked_array("mask", mask, "(height, width)", kinds=TRUTHS, least=1)
    shape = (mask.shape[0], mask.shape[1])
    seen = mask if spec.resize == "squash" else seen_values(mask, shape, spec.seen_box(shape), spec.grid, fill=False)
    shares = _covered(seen, spec.grid)
    enough = min(ENOUGH, shares.max()) if never_none and mask.any() else ENOUGH
    inside: NDArray[np.bool_] = shares >= enough - _ROUNDING
    return inside


def _covered(seen: NDArray[np.bool_], grid: tuple[int, int]) -> NDArray[np.float64]:
    """Part of each patch that a mask covers, row by row; some rows of the mask at a time, which become numbers."""
    rows, columns = (area_shares(side, cells) for side, cells in zip(seen.shape, grid, strict=True))
    covered = np.zeros((grid[0], seen.shape[1]))
    step = max(1, _ROWS_PIXELS // seen.shape[1])
    for start in range(0, len(seen), step):
        some = slice(start, start + step)
        covered += rows[:, some] @ seen[some].astype(np.float64)
    shares: NDArray[np.float64] = (covered @ columns.T).ravel()
    return shares


def nearest_inside(inside: NDArray[np.bool_], grid: tuple[int, int]) -> NDArray[np.int64]:
    """Place of the patch that stands for each patch: its own inside a region, else the nearest one inside.

    Parameters
    ----------
    inside
        Shape ``(n_patches,)``, bool, row by row; at least one is true.
    grid
        Height and width.

    Returns
    -------
    places
        Shape ``(n_patches,)``, int64.

    Raises
    ------
    ArrayContractError
        If nothing is inside, or the grid has another number of patches.

    Examples
    --------
    >>> nearest_inside([True, False, False, True], (1, 4)).tolist()
    [0, 0, 3, 3]
    """
    inside = checked_array("inside", inside, "(n_patches,)", kinds=TRUTHS, least=1)
    height, width = checked_grid("the patch grid", grid)
    if len(inside) != height * width or not inside.any():
        raise ArrayContractError(
            f"expected {height * width} patches, at least one of them inside; found {len(inside)}, {inside.sum()} of "
            "them inside"
        )
    return _nearest(inside.tobytes(), (height, width))


@lru_cache(maxsize=64)
def _nearest(inside: bytes, grid: tuple[int, int]) -> NDArray[np.int64]:
    from scipy.ndimage import distance_transform_edt  # a run that finds nothing to do never needs it

    is_outside = ~np.frombuffer(inside, np.bool_).reshape(grid)
    rows, columns = distance_transform_edt(is_outside, return_distances=False, return_indices=True)
    places: NDArray[np.int64] = (rows.astype(np.int64) * grid[1] + columns).ravel()
    places.setflags(write=False)
    return places


def least_outside(scores: NDArray[np.floating[Any]], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Scores of patches, those outside as low as the lowest inside: no maximum, no picture shows anything there.

    Parameters
    ----------
    scores
        Shape ``(n_images, n_patches)``, finite.
    inside
        Same shape, bool; every row has a patch inside.

    Returns
    -------
    scores
        Same shape, float64.

    Raises
    ------
    ArrayContractError
        If the shapes differ, a score is not finite, or nothing of an image is inside.
    """
    scores = checked_array("scores", scores, "(n_images, n_patches)")
    inside = checked_inside(inside, (scores.shape[0], scores.shape[1]))
    if not np.isfinite(scores).all():
        raise ArrayContractError("scores must be finite; found NaN or infinity")
    least = np.where(inside, scores, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    found: NDArray[np.float64] = np.where(inside, scores, least).astype(np.float64)
    return found


def weights_inside(weights: NDArray[np.floating[Any]], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    r"""Weights of patches, none outside; what is left is scaled to a sum of 1.

    Of `soft_weights` that is the softmax over the patches inside alone, [SOHN23] eq. (5) with :math:`m' \in R_i`.

    Parameters
    ----------
    weights
        Shape ``(n_images, n_taus, n_patches)``, not negative.
    inside
        Shape ``(n_images, n_patches)``, bool.

    Returns
    -------
    weights
        Shape of ``weights``, float64.

    Raises
    ------
    ArrayContractError
        If the shapes do not fit, or an image has no weight inside.
    """
    weights = checked_array("weights", weights, "(n_images, n_taus, n_patches)")
    inside = checked_inside(inside, (weights.shape[0], weights.shape[2]))
    kept = np.where(inside[:, None], weights, 0).astype(np.float64)
    sums = kept.sum(axis=-1, keepdims=True)
    if not (sums > 0).all():
        raise ArrayContractError("expected weights above 0 inside of every image's region; found an image without")
    found: NDArray[np.float64] = kept / sums
    return found


def checked_inside(inside: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Which patches of images count, as it was given.

    Parameters
    ----------
    inside
        Bool.
    shape
        Images and patches that there are: its shape.

    Raises
    ------
    ArrayContractError
        If it has another shape or kind, or no patch of an image is inside.
    """
    inside = checked_array("inside", inside, "(n_images, n_patches)", kinds=TRUTHS)
    if inside.shape != shape:
        raise ArrayContractError(
            f"expected inside to be of {shape[0]} images, {shape[1]} patches; found {inside.shape}"
        )
    if not inside.any(axis=1).all():
        raise ArrayContractError("expected patches inside of every image, found an image without")
    return inside


@dataclass(frozen=True)
class Regions:
    """Which patches of images count, on one feature level.

    Attributes
    ----------
    grid
        Height and width of the patch grid.
    patches
        By region, shape ``(n_patches,)``, bool: its patches.
    region_of
        By content hash of an image, its region; of others all patches count.
    """

    grid: tuple[int, int]
    patches: Mapping[str, NDArray[np.bool_]]
    region_of: Mapping[str, str]

    def inside(self, contents: Sequence[str]) -> NDArray[np.bool_]:
        """Which patches of images count, shape ``(n_images, n_patches)``."""
        whole = np.ones(self.grid[0] * self.grid[1], np.bool_)
        found = [self.patches[self.region_of[one]] if one in self.region_of else whole for one in contents]
        return np.stack(found) if found else np.empty((0, len(whole)), np.bool_)

    def filled(self, bags: NDArray[Any], contents: Sequence[str]) -> NDArray[Any]:
        """Bags of images, ``(n_images, n_patches, dim)``, in which the nearest patch inside stands for one outside."""
        return filled(bags, self.inside(contents), self.grid)

    def of(self, contents: Iterable[str]) -> Regions:
        """Those of some images alone: what a job on another machine is given."""
        region_of = {one: self.region_of[one] for one in contents if one in self.region_of}
        return Regions(self.grid, {one: self.patches[one] for one in set(region_of.values())}, region_of)


def region_note(regions: Regions | None, contents: Sequence[str]) -> str | None:
    """Say how much of the images is looked at; None where that is all of each.

    Parameters
    ----------
    regions
        On the first level.
    contents
        Content hashes of the images.
    """
    if regions is None:
        return None
    contents = checked_sequence("contents", contents, (str,))
    if len(contents) == 0:
        return None
    counts = regions.inside(list(dict.fromkeys(contents))).sum(axis=1)
    few, many, n_all = int(counts.min()), int(counts.max()), regions.grid[0] * regions.grid[1]
    if few == n_all:
        return None
    how_many = f"{few:,}" if few == many else f"{few:,} to {many:,}"
    return (
        f"Only a part of each picture is looked at, {how_many} of {n_all:,} patches: its region of interest (--roi). "
        "What is grey in the pictures has no weight, no other picture is compared with it, and it counts in no "
        "statistics."
    )


def filled(bags: NDArray[Any], inside: NDArray[np.bool_], grid: tuple[int, int]) -> NDArray[Any]:
    """Bags in which the nearest patch inside stands for each patch outside.

    Parameters
    ----------
    bags
        Shape ``(n_images, n_patches, dim)``.
    inside
        Shape ``(n_images, n_patches)``, bool; every row has a patch inside.
    grid
        Height and width of the patch grid.

    Returns
    -------
    bags
        Same shape and dtype.

    Raises
    ------
    ArrayContractError
        If the shapes do not fit, or nothing of an image is inside.
    """
    bags = checked_array("bags", bags, "(n_images, n_patches, dim)")
    inside = checked_inside(inside, (bags.shape[0], bags.shape[1]))
    if inside.all():
        return bags
    places = np.stack([nearest_inside(row, grid) for row in inside])
    found: NDArray[Any] = bags[np.arange(len(bags))[:, None], places]
    return found
