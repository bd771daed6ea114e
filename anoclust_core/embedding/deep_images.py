"""Deep pictures, of more than 8 bits a sample: which of their values is black and which is white, for a category."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import checked_array, checked_arrays
from anoclust_core.errors import ArrayContractError

ENOUGH_IMAGES: Final = 20
"""Deep images from which on a range is taken as it is; one of fewer is told with their number."""

PERCENTILES: Final = (0.1, 99.9)
"""Between them lie the values that count: single hot or dead pixels do not, a spot on half of the images does."""

SENSOR_TOPS: Final = (1, 255, 1023, 4095, 16383, 65535)
"""Largest values of sensors of 8 to 16 bits, and of values that were divided by it."""

FAIR_SHARE: Final = 1 / 24
"""Part of a sensor's range from which on pictures are taken to use it: eleven of 256 steps."""

MARGIN: Final = 0.5
"""Room below and above the percentiles where that share is not reached, as a part of what lies between them."""

_ROWS_BYTES: Final = 1 << 22
"""Bytes of single-precision numbers that are worked on at a time."""


@dataclass(frozen=True)
class DeepRange:
    """What is black and what is white in the deep pictures of a category that have one kind of samples.

    Attributes
    ----------
    samples
        Kind of samples, as ``uint16``, ``uint12`` or ``float32``.
    low, high
        Values that become 0 and 255; ``low`` is less than ``high``. One range for all channels, so that colours stay.
    n_images
        Deep images that it was taken from.
    """

    samples: str
    low: float
    high: float
    n_images: int


@dataclass(frozen=True)
class Decoding:
    """How the pictures of a category are decoded that are not plain pictures of 8 bits.

    By a version of the rules, see `anoclust_core.keys`, and for deep ones by a range a kind of samples, in their order.
    """

    version: int
    deep: tuple[DeepRange, ...] = ()


def choose_range(kind: str, samples: Sequence[NDArray[Any]]) -> DeepRange:
    """Choose what is black and what is white from a sample of deep pictures.

    Percentiles of all values together say what counts. Where that fills a fair part of the range of a sensor, from 0 to
    the least of `SENSOR_TOPS` that holds it, the sensor's range is taken: there is room for defects that are brighter
    or darker than anything seen yet. Else the percentiles are widened by `MARGIN` on both sides.

    Parameters
    ----------
    kind
        Kind of samples.
    samples
        Values of one picture each, any shape and kind of number; what is not finite does not count.

    Raises
    ------
    ArrayContractError
        If the samples are no arrays of real numbers, or hold no finite value.
    """
    pictures = checked_arrays("samples", samples, "(..., n_values)")
    finite = [values[np.isfinite(values)].astype(np.float64) for values in (picture.ravel() for picture in pictures)]
    together = np.concatenate(finite) if finite else np.empty(0)
    if not together.size:
        raise ArrayContractError("expected samples to hold at least one finite value, to take a range from; found none")
    low, high = (float(value) for value in np.percentile(together, PERCENTILES))
    top = next((top for top in SENSOR_TOPS if low >= 0 and high <= top), None)
    if top is not None and high - low >= FAIR_SHARE * top:
        return DeepRange(kind, 0.0, float(top), len(samples))
    span = high - low
    if not span:  # all but single pixels are the same: the whole span counts
        low, high = float(together.min()), float(together.max())
        span = high - low or max(abs(low), 1.0)
    return DeepRange(kind, low - MARGIN * span, high + MARGIN * span, len(samples))


def to_bytes(values: NDArray[Any], deep: DeepRange) -> NDArray[np.uint8]:
    """Scale the values of a deep picture to bytes; what lies outside of the range is black or white.

    Parameters
    ----------
    values
        Shape ``(height, width)`` or ``(height, width, channels)``, any kind of real number, finite.
    deep
        The category's range.

    Returns
    -------
    pixels
        The same shape, uint8. A step of 8 bits holds as many values as the next one, as if low bits were cut off.

    Raises
    ------
    ArrayContractError
        If the values are no such array, or not all finite.
    """
    values = checked_array("values", values, "(..., height, width)")
    found = np.empty(values.shape, np.uint8)
    rows = max(1, _ROWS_BYTES // max(1, 8 * values[:1].size))
    # a picture of whole numbers from 0 to 2**n - 1 loses its low bits, no more: 4,096 values are 256 steps of 16
    steps = 256 / (deep.high - deep.low + (deep.high in SENSOR_TOPS[1:] and deep.low == 0))
    for start in range(0, len(values), rows):
        part = values[start : start + rows].astype(np.float64)
        if not np.isfinite(part).all():
            raise ArrayContractError("expected values to be finite; found NaN or infinity")
        np.clip((part - deep.low) * steps, 0, 255, out=part)
        found[start : start + rows] = part
    return found


def turned(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn a picture, or a map of it, upright by its EXIF orientation.

    Parameters
    ----------
    values
        Shape ``(height, width, ...)``.
    orientation
        As EXIF has it: 1 to 8; anything else leaves the picture as it lies.

    Raises
    ------
    ArrayContractError
        If the values are no such array.
    """
    values = checked_array("values", values, "(..., height, width)")
    turns = {
        2: lambda v: v[:, ::-1],
        3: lambda v: v[::-1, ::-1],
        4: lambda v: v[::-1],
        5: lambda v: v.swapaxes(0, 1),
        6: lambda v: v[::-1].swapaxes(0, 1),
        7: lambda v: v[::-1, ::-1].swapaxes(0, 1),
        8: lambda v: v[:, ::-1].swapaxes(0, 1),
    }
    upright: NDArray[Any] = turns[orientation](values) if orientation in turns else values
    return upright


def range_note(deep: DeepRange) -> str:
    """Sentence that tells a category's range, and how well it is founded.

    Examples
    --------
    >>> range_note(DeepRange("uint12", 0.0, 4095.0, 30))
    'Deep pictures (uint12): 0 is black and 4,095 white, a range taken from 30 of them and kept for the category.'
    """
    images = "1 of them" if deep.n_images == 1 else f"{deep.n_images} of them"
    few = f"; {ENOUGH_IMAGES} or more would make it sure" if deep.n_images < ENOUGH_IMAGES else ""
    return (
        f"Deep pictures ({deep.samples}): {_number(deep.low)} is black and {_number(deep.high)} white, a range taken "
        f"from {images} and kept for the category{few}."
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == round(value) else f"{value:.4g}"
