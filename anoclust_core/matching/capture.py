"""What a night's pictures look like as pictures, whatever they show: brightness, sharpness, and whether all are alike.

A lamp that ages, a lens that is out of focus or a camera that repeats one frame changes every picture. Where that is
so, a shift of rarity or a new cluster says nothing about the product.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import laplace

from anoclust_core.arrays import checked_array
from anoclust_core.errors import ArrayContractError
from anoclust_core.matching.drift import median_and_error

SMALL_SIDE: Final = 16
"""Side of the pictures, in pixels, by which likeness is told."""

_LEAST: Final = 1e-3
"""Likeness that counts as none: a thousandth of a grey level."""


def look_of(pixels: NDArray[np.uint8]) -> tuple[float, float, NDArray[np.float64]]:
    """Brightness and sharpness of a picture, and a small grey copy of it.

    Parameters
    ----------
    pixels
        Shape ``(height, width, 3)``, uint8.

    Returns
    -------
    brightness
        Mean grey level, 0 to 255.
    sharpness
        Natural logarithm of the mean absolute Laplacian over the standard deviation of grey levels, so that exposure
        and contrast do not count.
    small
        Shape ``(SMALL_SIDE**2,)``, float64 grey levels.

    Raises
    ------
    ArrayContractError
        If ``pixels`` is no picture.
    """
    pixels = checked_array("pixels", pixels, "(height, width, 3)", dtype=np.uint8)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise ArrayContractError(f"expected a picture of shape (height, width, 3), found {pixels.shape}")
    grey = pixels.astype(np.float64).mean(axis=2)
    edges = float(np.abs(laplace(grey)).mean())
    sharpness = float(np.log((edges + _LEAST) / (grey.std() + _LEAST)))
    small = Image.fromarray(grey.astype(np.float32)).resize((SMALL_SIDE, SMALL_SIDE), Image.Resampling.BOX)
    return float(grey.mean()), sharpness, np.asarray(small, dtype=np.float64).ravel()


def look_of_night(looks: Sequence[tuple[float, float, NDArray[np.floating[Any]]]]) -> dict[str, float]:
    """Figures of a night from those of its pictures.

    Parameters
    ----------
    looks
        Of `look_of`, one a picture, at least one.

    Returns
    -------
    figures
        ``brightness`` and ``sharpness``, medians, each with its standard error under ``brightness_error`` and so on;
        from two pictures on ``difference`` and ``difference_error``: natural logarithm of the distance, in grey levels,
        from a picture to the one most like it.

    Raises
    ------
    ArrayContractError
        If there is no picture.
    """
    if not looks:
        raise ArrayContractError("expected at least one picture")
    found = {}
    levels = {"brightness": [one[0] for one in looks], "sharpness": [one[1] for one in looks]}
    if len(looks) > 1:
        small = np.stack([one[2] for one in looks])
        squares = np.einsum("nd,nd->n", small, small)
        distances = np.maximum(squares[:, None] + squares - 2 * small @ small.T, 0) / small.shape[1]
        np.fill_diagonal(distances, np.inf)
        levels["difference"] = np.log(np.sqrt(distances.min(axis=1)) + _LEAST).tolist()
    for name, values in levels.items():
        found[name], found[f"{name}_error"] = median_and_error(np.array(values))
    return found
