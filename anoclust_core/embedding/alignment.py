"""Whether pictures come from a fixed camera: they agree pixel by pixel, as they lie or after small shifts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, shift

from anoclust_core.arrays import checked_array
from anoclust_core.errors import ArrayContractError

FEWEST: Final = 4
"""Pictures below which nothing is said."""

AGREES: Final = 0.5
"""Correlation with the mean of the others from which on a picture shows the same thing at the same place."""

MOST_SHIFT: Final = 0.25
"""Largest shift that is looked at, as a part of the shorter side: past it too little of both pictures overlaps."""

STILL: Final = 0.5
"""Shift in pixels of the small pictures that counts as none."""

_BLUR: Final = 3.0
"""Pixels; what is smoother, like the light, does not count as agreement."""

_ROUNDS: Final = 3
"""Times that pictures are shifted towards their mean, which gets sharper each time."""

_FINE: Final = 10
"""Parts of a pixel to which a shift is found."""


@dataclass(frozen=True)
class Alignment:
    """How well pictures agree around their mean.

    Attributes
    ----------
    as_they_lie, shifted
        Median correlation, in [-1, 1], of a picture with the mean of the others: before and after each was shifted.
    shifts
        Shape ``(n_images, 2)``, float64: how far each picture lies below and to the right of where the mean has it,
        in pixels.
    agrees
        Shape ``(n_images,)``, bool: pictures that agree with the mean of the others once they are shifted.
    """

    as_they_lie: float
    shifted: float
    shifts: NDArray[np.float64]
    agrees: NDArray[np.bool_]

    @property
    def verdict(self) -> str:
        """``aligned``, ``shifted`` or ``not aligned``."""
        if self.as_they_lie >= AGREES and self.largest <= STILL:
            return "aligned"
        return "shifted" if max(self.shifted, self.as_they_lie) >= AGREES else "not aligned"

    @property
    def largest(self) -> float:
        """Largest shift along either axis, in pixels, of the pictures that agree; 0 if none does."""
        return float(np.abs(self.shifts[self.agrees]).max(initial=0.0))


def align(pictures: NDArray[np.floating[Any]] | NDArray[np.uint8]) -> Alignment:
    """Shift pictures towards their mean, and say how well they agree there.

    Small grey pictures are enough. Of each only what is finer than `_BLUR` pixels counts, so that the same light over
    different parts is no agreement. Shifts are found by phase correlation (scikit-image), three times, each time
    towards the mean of what has been shifted so far. Correlations are taken over the middle of the pictures, which no
    shift has emptied, with the mean of all others.

    Parameters
    ----------
    pictures
        Shape ``(n_images, height, width)``, finite grey levels on any scale, at least `FEWEST` pictures of 16 x 16.

    Returns
    -------
    alignment
        See `Alignment`.

    Raises
    ------
    ArrayContractError
        If there are too few pictures, they are too small, or not finite.
    """
    given = checked_array("pictures", pictures, "(n_images, height, width)", least=(FEWEST, 16, 16))
    if not np.isfinite(given).all():
        raise ArrayContractError(
            f"expected finite pictures, found {np.count_nonzero(~np.isfinite(given)):,} values that are not"
        )
    sharp = np.stack([_high_pass(one) for one in given.astype(np.float64)])
    most = MOST_SHIFT * min(sharp.shape[1:])
    shifts = np.zeros((len(sharp), 2))
    moved = sharp
    for _ in range(_ROUNDS):
        mean = moved.mean(axis=0)
        found = np.stack([_shift_to(mean, one) for one in sharp])
        shifts = np.where((np.abs(found) <= most).all(axis=1, keepdims=True), found, 0.0)
        shifts -= np.median(shifts, axis=0)  # the mean is nowhere in particular
        moved = np.stack([shift(one, by, order=1, mode="nearest") for one, by in zip(sharp, shifts, strict=True)])
    margin = int(np.ceil(np.abs(shifts).max()))
    before, after = _agreements(sharp, margin), _agreements(moved, margin)
    return Alignment(float(np.median(before)), float(np.median(after)), -shifts, after >= AGREES)


def _high_pass(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    sharp: NDArray[np.float64] = picture - gaussian_filter(picture, _BLUR)
    return sharp


def _shift_to(mean: NDArray[np.float64], picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows and columns that a picture has to be moved by to lie on the mean."""
    from skimage.registration import phase_cross_correlation

    if not picture.any() or not mean.any():
        return np.zeros(2)
    found, _, _ = phase_cross_correlation(  # type: ignore[no-untyped-call]
        mean, picture, upsample_factor=_FINE, normalization=None
    )
    return np.asarray(found, dtype=np.float64)


def _agreements(pictures: NDArray[np.float64], margin: int) -> NDArray[np.float64]:
    """Correlation of the middle of every picture with the mean of all others there; 0 where one is flat."""
    middle = pictures[:, margin : pictures.shape[1] - margin, margin : pictures.shape[2] - margin]
    flat = middle.reshape(len(pictures), -1)
    others = (flat.sum(axis=0) - flat) / (len(flat) - 1)
    one, other = flat - flat.mean(axis=1, keepdims=True), others - others.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    products = np.einsum("nd,nd->n", one, other)
    found: NDArray[np.float64] = np.divide(products, norms, out=np.zeros(len(flat)), where=norms > 0)
    return found


def laid_together(pictures: NDArray[np.floating[Any]] | NDArray[np.uint8], found: Alignment) -> NDArray[np.float64]:
    """Shift pictures as `align` has found, and leave out the edges that this empties.

    Parameters
    ----------
    pictures
        Shape ``(n_images, height, width)``, as `align` was given them.
    found
        What it gave.

    Returns
    -------
    laid
        Shape ``(n_images, height - 2 margin, width - 2 margin)``, float64, the margin being the largest shift.

    Raises
    ------
    ArrayContractError
        If there are more or fewer pictures than shifts.
    """
    given = checked_array("pictures", pictures, "(n_images, height, width)", least=(1, 16, 16)).astype(np.float64)
    if len(given) != len(found.shifts):
        raise ArrayContractError(f"expected one picture for each of {len(found.shifts)} shifts, found {len(given)}")
    margin = min(int(np.ceil(np.abs(found.shifts).max(initial=0.0))), (min(given.shape[1:]) - 1) // 2)
    laid = [shift(one, -by, order=3, mode="nearest") for one, by in zip(given, found.shifts, strict=True)]
    return np.stack(laid)[:, margin : given.shape[1] - margin, margin : given.shape[2] - margin]
