"""Rarity of patches: one score per patch from its nearest distances to the images of a reference.

[SOHN23] takes the expectation over the other images and, in sec. 5.3, tries the maximum and the minimum. The reference
is all images, eq. (5), or a random part of them, eq. (7), see `anoclust_core.weighting.reference`. Images may be
scored all at once or a few at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import TRUTHS, check_share, checked_array
from anoclust_core.errors import ArrayContractError

Nearest: TypeAlias = NDArray[np.floating[Any]]
Counts: TypeAlias = NDArray[np.integer[Any]]
IsReference: TypeAlias = NDArray[np.bool_] | None
Rarity: TypeAlias = NDArray[np.float64]
"""Each as `expected_rarity` takes or gives it, if a function says nothing else."""


def expected_rarity(nearest: Nearest, counts: Counts, *, is_reference: IsReference = None) -> Rarity:
    r"""Mean distance of each patch to its nearest patch in the other images, the expectation in [SOHN23] eq. (5), (7).

    .. math:: s^i_m = \frac{1}{|Z \setminus \{i\}|} \sum_{j \in Z, j \neq i} \min_n \| z^i_m - z^j_n \|

    Parameters
    ----------
    nearest
        Shape ``(n_rows, n_contents, n_patches)``, finite: nearest distances of some images to every distinct content of
        the reference Z, to the image's own with distance 0.
    counts
        Shape ``(n_contents,)``, each at least 1: how many images of the reference have each content.
    is_reference
        Shape ``(n_rows,)``: whether the image itself is in the reference; all are by default, as in eq. (5). With a
        random subset, eq. (7), some are not.

    Returns
    -------
    rarity
        Shape ``(n_rows, n_patches)``, float64, in embedding units. Summed in float64 in the order of the contents, so
        that the way the distances came about does not matter.

    Raises
    ------
    ArrayContractError
        If the shapes do not match, a distance is not finite, or an image has no other one to be measured against.
    """
    own = _check(nearest, counts, is_reference)
    n_images = int(counts.sum())
    shares = {is_own: counts.astype(np.float64) / (n_images - is_own) for is_own in set(own)}
    return _by_row(nearest, lambda at, row: shares[own[at]] @ row)


def maximum_rarity(nearest: Nearest, counts: Counts, *, is_reference: IsReference = None) -> Rarity:
    r"""Largest distance of each patch to its nearest patch in another image, the variant max of [SOHN23] sec. 5.3.

    .. math:: s^i_m = \max_{j \in Z, j \neq i} \min_n \| z^i_m - z^j_n \|

    A normal part that only some images show is rare by this score ([SOHN23] appendix B). How many copies a content has
    does not matter here.

    Raises
    ------
    ArrayContractError
        As `expected_rarity`.
    """
    _check(nearest, counts, is_reference)
    # an image's own distance is 0 and so never more than that to another one
    return _by_row(nearest, lambda _, row: row.max(axis=0))


def minimum_rarity(nearest: Nearest, counts: Counts, *, is_reference: IsReference = None) -> Rarity:
    r"""Smallest distance of each patch to a patch in another image, the variant min of [SOHN23] sec. 5.3, eq. (10).

    .. math:: s^i_m = \min_{j \in Z, j \neq i} \min_n \| z^i_m - z^j_n \|

    The image itself does not count, copies of it do: with one among the images nothing in it is rare ([SOHN23] appendix
    B), every score is 0 and all its patches get one weight.

    Raises
    ------
    ArrayContractError
        As `expected_rarity`, or if an image of the reference has no distance 0 to its own content.
    """
    own = _check(nearest, counts, is_reference)
    return _by_row(nearest, lambda at, row: _nearest_images(row, counts, own[at], 1)[:, -1])


def trimmed_rarity(nearest: Nearest, counts: Counts, *, share: float, is_reference: IsReference = None) -> Rarity:
    r"""Mean distance of each patch to the nearest share of the other images.

    With T other images and their distances in ascending order :math:`d_{(1)} \le \dots \le d_{(T)}`, K = share T, and
    k its whole part:

    .. math:: s^i_m = \frac{1}{K} \Big( \sum_{t=1}^{k} d_{(t)} + (K - k)\, d_{(k+1)} \Big)

    A part of an image counts as that part of its distance, so the score moves steadily with the share. Below one image
    (K < 1) it is the minimum; with share 1 it is the expectation to the last digit. Each patch has its own nearest
    images, and copies of a file are images of their own, as in `expected_rarity`.

    Parameters
    ----------
    nearest, counts, is_reference
        As in `expected_rarity`.
    share
        Part of the other images, in (0, 1]; the rarity never falls with it.

    Raises
    ------
    ArrayContractError
        As `minimum_rarity`.
    ConfigError
        If ``share`` is not in (0, 1].
    """
    check_share("the share of images that rarity is measured against", share, usual=1)
    if share == 1:
        return expected_rarity(nearest, counts, is_reference=is_reference)
    own = _check(nearest, counts, is_reference)
    n_images = int(counts.sum())

    def trimmed_mean(at: int, row: NDArray[np.float64]) -> NDArray[np.float64]:
        n_others = n_images - own[at]
        wanted = max(share * n_others, 1.0)
        n_whole = min(int(wanted), n_others - 1)
        others = _nearest_images(row, counts, own[at], n_whole + 1)
        mean: NDArray[np.float64] = (others[:, :-1].sum(axis=1) + (wanted - n_whole) * others[:, -1]) / wanted
        return mean

    return _by_row(nearest, trimmed_mean)


def rarity_against_normals(nearest: Nearest) -> Rarity:
    r"""Distance of each patch to the nearest patch of any normal image, the minimum in [SOHN23] eq. (6).

    .. math:: s^i_m = \min_{z \in Z_{tr}} \| z^i_m - z \|

    Parameters
    ----------
    nearest
        Shape ``(n_rows, n_normals, n_patches)``, finite, at least one normal: all of them or some, [SOHN23] appendix
        A.2; `anoclust_core.weighting.reference.draw` gives a subset that stays.

    Raises
    ------
    ArrayContractError
        If there is no normal image or a distance is not finite.
    """
    nearest = checked_array("nearest", nearest, "(n_images, n_normals, n_patches)", lists=False)
    if nearest.ndim != 3 or nearest.shape[1] == 0:
        raise ArrayContractError(f"rarity against normals needs at least one normal image; found shape {nearest.shape}")
    return _by_row(nearest, lambda _, row: row.min(axis=0))


def _check(nearest: Nearest, counts: Counts, is_reference: IsReference) -> list[int]:
    """Check all but the distances themselves; tell of each row whether its image is in the reference, as 1 or 0."""
    nearest = checked_array("nearest", nearest, "(n_images, n_references, n_patches)", lists=False)
    counts = checked_array("counts", counts, "(n_references,)", lists=False)
    if is_reference is not None:
        is_reference = checked_array("is_reference", is_reference, "(n_images,)", kinds=TRUTHS, lists=False)
    if nearest.ndim != 3 or counts.shape != (nearest.shape[1],):
        raise ArrayContractError(f"one count per reference content is needed; found {counts.shape} for {nearest.shape}")
    own = np.ones(len(nearest), np.bool_) if is_reference is None else is_reference
    if own.shape != (len(nearest),):
        raise ArrayContractError(f"is_reference needs one value per image; found {own.shape} for {len(nearest)} images")
    if not np.issubdtype(counts.dtype, np.integer) or (counts < 1).any():
        raise ArrayContractError(f"every reference content needs a whole count of at least 1; found {counts}")
    n_images, least = int(counts.sum()), 2 if is_reference is None or own.any() else 1
    if n_images < least:
        raise ArrayContractError(f"rarity among the images needs at least {least} of them; found {n_images}")
    return [int(is_own) for is_own in own]


def _by_row(nearest: Nearest, score: Callable[[int, NDArray[np.float64]], NDArray[np.float64]]) -> Rarity:
    """Score each image by its position and distances ``(n_contents, n_patches)``: one at a time in double precision."""
    rarity = np.empty((len(nearest), nearest.shape[2]))
    for at, row in enumerate(nearest):
        if not np.isfinite(row).all():
            raise ArrayContractError("nearest distances must be finite; found NaN or infinity: compute them again")
        rarity[at] = score(at, row.astype(np.float64))
    return rarity


def _nearest_images(row: NDArray[np.float64], counts: Counts, own: int, n_others: int) -> NDArray[np.float64]:
    """Distances of each patch to so many nearest other images and, if it is there, its own: the farthest comes last."""
    images = np.repeat(row, counts, axis=0).T.copy()  # each patch in one piece: partitioning it is faster
    images.partition(own + n_others - 1, axis=1)
    nearest = images[:, : own + n_others]
    if own and nearest.min(axis=1).any():
        raise ArrayContractError("an image of the reference needs distance 0 to its own content; check is_reference")
    return nearest
