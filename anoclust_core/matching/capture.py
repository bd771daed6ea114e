"""What a night's pictures look like as pictures, whatever they show: brightness, sharpness, and whether all are alike.

A lamp that ages, a lens that is out of focus or a camera that repeats one frame changes every picture, and all of it.
Where that is so, a shift of rarity or a new cluster says nothing about the product. A defect changes a part of a
picture. So every figure is a median over places: many defects, or more of one kind, are no change of the camera.
"""

from __future__ import annotations

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

N_BLOCKS: Final = 8
"""Rows and columns of blocks whose sharpness is measured; fewer where a picture has fewer pixels."""

LOOKS_VERSION: Final = 2
VERSION_NAME: Final = "looks_version"
"""Of the figures of a night, and its name among them: those of another version are on another scale."""

_STRIP_PIXELS: Final = 1 << 18
"""Pixels that are taken for numbers at a time: of a whole frame these are 32 bytes a pixel and more."""

_MIDDLE: Final = 128.0
"""Grey level that a night's pictures are brought to, on average, before they are compared with each other."""

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
        Median grey level of the small copy, 0 to 255.
    sharpness
        Median over ``N_BLOCKS`` x ``N_BLOCKS`` blocks: natural logarithm of the mean absolute Laplacian over the
        standard deviation of grey levels, so that exposure and contrast do not count.
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
    edges, means, squares = _block_means(pixels)
    deviations = np.sqrt(np.maximum(squares - means**2, 0))
    sharpness = float(np.median(np.log((edges + _LEAST) / (deviations + _LEAST))))
    small = _small_copy(pixels).ravel()
    return float(np.median(small)), sharpness, small


def _grey(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Grey levels of a part of a picture: the means of its channels."""
    total = np.add(pixels[:, :, 0], pixels[:, :, 1], dtype=np.uint16)
    total += pixels[:, :, 2]
    return total / 3


def _block_means(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float64], ...]:
    """Means over the blocks of a picture: of the absolute Laplacian, of grey levels and of their squares.

    Some columns at a time, with one beside them on either side for the Laplacian. Columns, because each is added up as
    a whole then, in one order: flat blocks, whose deviation is what rounding leaves, stay what they are.
    """
    height, width = pixels.shape[:2]
    rows, columns = (np.arange(min(N_BLOCKS, side)) * side // min(N_BLOCKS, side) for side in (height, width))
    sums: tuple[list[NDArray[np.float64]], ...] = ([], [], [])
    step = max(1, _STRIP_PIXELS // height)
    for start in range(0, width, step):
        beside = min(1, start)
        own = slice(beside, beside + min(step, width - start))
        grey = _grey(pixels[:, start - beside : start + step + 1])
        edges, grey = np.abs(laplace(grey))[:, own], grey[:, own]
        for found, values in zip(sums, (edges, grey, grey**2), strict=True):
            found.append(np.add.reduceat(values, rows, axis=0))
    heights, widths = (np.diff([*starts.tolist(), side]) for starts, side in ((rows, height), (columns, width)))
    areas = np.outer(heights, widths)
    return tuple(np.add.reduceat(np.concatenate(found, axis=1), columns, axis=1) / areas for found in sums)


def _small_copy(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Grey levels, shape ``(SMALL_SIDE, SMALL_SIDE)``, some rows at a time.

    Pillow shrinks widths first, too, and of tall pictures heights: another order moves the seventh digit.
    """
    height, width = pixels.shape[:2]
    if height + SMALL_SIDE > 2 * width and height > SMALL_SIDE:
        return _shrunk_by_rows(pixels.transpose(1, 0, 2)).T
    return _shrunk_by_rows(pixels)


def _shrunk_by_rows(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Grey levels of a square, widths first."""
    step, box = max(1, _STRIP_PIXELS // pixels.shape[1]), Image.Resampling.BOX
    narrow = []
    for start in range(0, len(pixels), step):
        grey = _grey(pixels[start : start + step]).astype(np.float32)
        narrow.append(np.asarray(Image.fromarray(grey).resize((SMALL_SIDE, len(grey)), box)))
    small = Image.fromarray(np.concatenate(narrow)).resize((SMALL_SIDE, SMALL_SIDE), box)
    return np.asarray(small, dtype=np.float64)


def look_of_night(
    brightness: NDArray[np.floating[Any]], sharpness: NDArray[np.floating[Any]], small: NDArray[np.floating[Any]]
) -> dict[str, float]:
    """Figures of a night from those of its pictures.

    Parameters
    ----------
    brightness, sharpness
        Shape ``(n_images,)``, finite, of `look_of`, at least one picture.
    small
        Shape ``(n_images, n_pixels)``, finite: the small copies.

    Returns
    -------
    figures
        ``brightness`` and ``sharpness``, medians, each with its standard error under ``brightness_error`` and so on;
        from two pictures on ``difference`` and ``difference_error``: natural logarithm of the median difference of two
        small copies, in grey levels of pictures as bright as `_MIDDLE` on average, from a picture to the one most like
        it: less light is no likeness. ``looks_version`` is `LOOKS_VERSION`.

    Raises
    ------
    ArrayContractError
        If there is no picture, or the arrays are not finite or of another number of pictures.
    """
    copies = checked_array("small", small, "(n_images, n_pixels)").astype(np.float64)
    levels = {
        "brightness": checked_array("brightness", brightness, "(n_images,)"),
        "sharpness": checked_array("sharpness", sharpness, "(n_images,)"),
    }
    if copies.ndim != 2 or not copies.size or not np.isfinite(copies).all():
        raise ArrayContractError(f"expected finite small pictures of at least one image, found shape {copies.shape}")
    for name, values in levels.items():
        if values.shape != (len(copies),):
            raise ArrayContractError(
                f"expected {name} of shape (n_images,), one for each of {len(copies)} pictures, found {values.shape}"
            )
    if len(copies) > 1:
        copies = copies * (_MIDDLE / max(float(copies.mean()), 1.0))
        nearest = [
            np.median(np.abs(np.delete(copies, at, axis=0) - copy), axis=1).min() for at, copy in enumerate(copies)
        ]
        levels["difference"] = np.log(np.array(nearest) + _LEAST)
    found = {VERSION_NAME: float(LOOKS_VERSION)}
    for name, values in levels.items():
        found[name], found[f"{name}_error"] = median_and_error(values)
    return found
