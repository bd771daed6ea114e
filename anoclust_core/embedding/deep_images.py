"""Deep pictures, of more than 8 bits a sample: which of their values is black and which is white, for a category."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import checked_array, checked_arrays
from anoclust_core.errors import ArrayContractError, ConfigError

ENOUGH_IMAGES: Final = 50
"""Deep images from which on a range never changes; until so many were seen, it is widened where new ones do not fit."""

OUTSIDE_SHARE: Final = 0.01
"""Part of an image's pixels outside of the range from which on the image is told."""

PERCENTILES: Final = (0.1, 99.9)
"""Between them lie the values that count: single hot or dead pixels do not, a spot on half of the images does."""

SENSOR_TOPS: Final = (1, 255, 1023, 4095, 16383, 65535)
"""Largest values of sensors of 8 to 16 bits, and of values that were divided by it."""

FAIR_SHARE: Final = 1 / 24
"""Part of a sensor's range from which on pictures are taken to use it: eleven of 256 steps."""

MARGIN: Final = 0.5
"""Room below and above the percentiles where that share is not reached, as a part of what lies between them."""

_SAMPLE_VALUES: Final = 1 << 16
"""Values of a picture that its percentiles are taken from, at the least where it has as many."""

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
        Deep images that it was taken from; 0 where it was asked for with ``--range``.
    n_seen
        Deep images that it was held against since it was taken. It does not change a picture, so it enters no key.
    """

    samples: str
    low: float
    high: float
    n_images: int
    n_seen: int = 0

    @property
    def is_frozen(self) -> bool:
        """Whether new images can no longer widen it."""
        return not self.n_images or max(self.n_images, self.n_seen) >= ENOUGH_IMAGES


@dataclass(frozen=True)
class Decoding:
    """How the pictures of a category are decoded that are not plain pictures of 8 bits.

    By a version of the rules, see `anoclust_core.keys`, and for deep ones by a range a kind of samples, in their order.
    """

    version: int
    deep: tuple[DeepRange, ...] = ()

    @property
    def identity(self) -> dict[str, object]:
        """Everything that enters a key."""
        deep = [{name: value for name, value in asdict(one).items() if name != "n_seen"} for one in self.deep]
        return {"version": self.version, "deep": deep}

    def asked(self, asked: str) -> Decoding:
        """Decoding by what a setting asks for, as `asked_range` reads it."""
        return replace(self, deep=tuple(asked_range(one, asked) for one in self.deep))


@dataclass(frozen=True)
class Outside:
    """How far a deep picture lies outside of its range.

    Attributes
    ----------
    share
        Part of its pixels of which some channel lies outside, in [0, 1].
    low, high
        Values that nearly all of its samples lie between: `PERCENTILES`.
    """

    share: float
    low: float
    high: float


def asked_range(taken: DeepRange, asked: str) -> DeepRange:
    """Range that a setting asks for.

    Parameters
    ----------
    taken
        Range of the category, as it was taken from its images.
    asked
        ``auto``: this one; ``full``: all values that the kind of samples has; or ``LOW:HIGH``.

    Raises
    ------
    ConfigError
        If the full range of floating-point numbers is asked for, or the text is no range.

    Examples
    --------
    >>> asked_range(DeepRange("uint12", 40.0, 900.0, 60), "full")
    DeepRange(samples='uint12', low=0.0, high=4095.0, n_images=0, n_seen=0)
    """
    if asked == "auto":
        return taken
    low, high = _full(taken.samples) if asked == "full" else parse_range(asked)
    if (low, high) == (taken.low, taken.high):  # the same keys: nothing is embedded again
        return replace(taken, n_seen=max(taken.n_seen, ENOUGH_IMAGES))
    return DeepRange(taken.samples, low, high, 0)


def parse_range(text: str) -> tuple[float, float]:
    """Read ``LOW:HIGH``: two finite numbers, the first less than the second.

    Raises
    ------
    ConfigError
        If the text is not that.

    Examples
    --------
    >>> parse_range("0:4095"), parse_range("-1.5:2e3")
    ((0.0, 4095.0), (-1.5, 2000.0))
    """
    parts = text.split(":")
    try:
        low, high = (float(part) for part in parts)
        is_range = bool(np.isfinite([low, high]).all()) and low < high
    except ValueError:
        is_range = False
    if not is_range:
        raise ConfigError(f"a range is auto, full or LOW:HIGH such as 0:4095, LOW less than HIGH; found {text!r}")
    return low, high


def _full(kind: str) -> tuple[float, float]:
    """Least and largest value that a kind of samples has."""
    found = re.fullmatch(r"(u?)int(\d+)", kind)
    if found is None:
        raise ConfigError(
            f"--range full: pictures of kind {kind} have no largest value; give --range LOW:HIGH, the values that are "
            "black and white"
        )
    bits = int(found[2])
    return (0.0, float(2**bits - 1)) if found[1] else (-float(2 ** (bits - 1)), float(2 ** (bits - 1) - 1))


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
    together = _together(samples)
    low, high = (float(value) for value in np.percentile(together, PERCENTILES))
    top = next((top for top in SENSOR_TOPS if low >= 0 and high <= top), None)
    if top is not None and high - low >= FAIR_SHARE * top:
        return DeepRange(kind, 0.0, float(top), len(samples))
    span = high - low
    if not span:  # all but single pixels are the same: the whole span counts
        low, high = float(together.min()), float(together.max())
        span = high - low or max(abs(low), 1.0)
    return DeepRange(kind, low - MARGIN * span, high + MARGIN * span, len(samples))


def _together(samples: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """All finite values of some pictures."""
    pictures = checked_arrays("samples", samples, "(..., n_values)")
    finite = [values[np.isfinite(values)].astype(np.float64) for values in (picture.ravel() for picture in pictures)]
    together = np.concatenate(finite) if finite else np.empty(0)
    if not together.size:
        raise ArrayContractError("expected samples to hold at least one finite value, to take a range from; found none")
    return together


def widened_range(kept: DeepRange, samples: Sequence[NDArray[Any]]) -> DeepRange:
    """Widen a range that was taken from few images, where more of them do not fit into it.

    Parameters
    ----------
    kept
        The category's range up to now.
    samples
        As `choose_range` takes them: of all images that can be read now.

    Returns
    -------
    deep
        The same range where the samples' percentiles lie inside; else the least that holds both it and the one that
        `choose_range` takes from the samples. It never becomes narrower.

    Raises
    ------
    ArrayContractError
        As `choose_range`.
    """
    low, high = np.percentile(_together(samples), PERCENTILES)
    if kept.low <= low and high <= kept.high:
        return kept
    new = choose_range(kept.samples, samples)
    return replace(new, low=min(kept.low, new.low), high=max(kept.high, new.high))


def outside_range(values: NDArray[Any], deep: DeepRange) -> Outside:
    """How many pixels of a deep picture lie outside of the range, and so show black or white and no more.

    Parameters
    ----------
    values
        Shape ``(height, width)`` or ``(height, width, channels)``, any kind of real number, finite.
    deep
        The category's range.

    Raises
    ------
    ArrayContractError
        If the values are no such array, empty or not all finite.
    """
    values = checked_array("values", values, "(..., height, width)", least=1)
    n_outside = 0
    for _, part in _finite_rows(values):
        is_outside = (part < deep.low) | (part > deep.high)
        n_outside += int(np.count_nonzero(is_outside.any(axis=2) if part.ndim == 3 else is_outside))
    flat = values.reshape(-1)
    low, high = np.percentile(flat[:: max(1, flat.size // _SAMPLE_VALUES)].astype(np.float64), PERCENTILES)
    return Outside(n_outside / (values.shape[0] * values.shape[1]), float(low), float(high))


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
    # a picture of whole numbers from 0 to 2**n - 1 loses its low bits, no more: 4,096 values are 256 steps of 16
    steps = 256 / (deep.high - deep.low + (deep.high in SENSOR_TOPS[1:] and deep.low == 0))
    for start, rows in _finite_rows(values):
        part = rows.astype(np.float64)
        np.clip((part - deep.low) * steps, 0, 255, out=part)
        found[start : start + len(part)] = part
    return found


def _finite_rows(values: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    """A picture in parts of few rows, each with its first row: one in double precision may be too large as a whole."""
    n_rows = max(1, _ROWS_BYTES // max(1, 8 * values[:1].size))
    for start in range(0, len(values), n_rows):
        part = values[start : start + n_rows]
        if not np.isfinite(part).all():
            raise ArrayContractError("expected values to be finite; found NaN or infinity")
        yield start, part


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
    >>> range_note(DeepRange("uint12", 0.0, 4095.0, 64))
    'Deep pictures (uint12): 0 is black and 4,095 white, a range taken from 64 of them and kept for the category.'
    >>> range_note(DeepRange("uint16", 0.0, 65535.0, 0))
    'Deep pictures (uint16): 0 is black and 65,535 white, as asked for with --range.'
    """
    shown = f"Deep pictures ({deep.samples}): {_number(deep.low)} is black and {_number(deep.high)} white"
    if not deep.n_images:
        return f"{shown}, as asked for with --range."
    images = "1 of them" if deep.n_images == 1 else f"{deep.n_images} of them"
    kept = " and kept for the category"
    if not deep.is_frozen:
        kept = f"; it may be widened until {ENOUGH_IMAGES} have been seen, and is kept from then on"
    return f"{shown}, a range taken from {images}{kept}."


def widened_note(before: DeepRange, now: DeepRange) -> str:
    """Sentence that tells that a range was widened, and what follows."""
    return (
        f"Deep pictures ({now.samples}): new ones do not fit the range from {_number(before.low)} to "
        f"{_number(before.high)}, which was taken from {before.n_images}; it was widened to {_number(now.low)} to "
        f"{_number(now.high)}, and these pictures are embedded again."
    )


def outside_note(outside: Mapping[str, Outside], n_images: int) -> str | None:
    """Sentence that tells how many images lie outside of the range; None where none does.

    Parameters
    ----------
    outside
        By the path of the image: those with more than `OUTSIDE_SHARE` of their pixels outside.
    n_images
        Images that could have been among them.

    Examples
    --------
    >>> print(outside_note({"a.tif": Outside(0.4, 390.0, 900.0)}, 12).partition(";")[0])
    1 of 12 images has more than 1 % of its pixels outside of the range, up to 40 % in a.tif (values from 390 to 900)
    """
    if not outside:
        return None
    worst = min(outside, key=lambda path: (-outside[path].share, path))
    low, high = min(one.low for one in outside.values()), max(one.high for one in outside.values())
    have, their = ("has", "its") if len(outside) == 1 else ("have", "their")
    return (
        f"{len(outside):,} of {n_images:,} images {have} more than {100 * OUTSIDE_SHARE:.0f} % of {their} pixels "
        f"outside of the range, up to {100 * outside[worst].share:.0f} % in {worst} (values from {_number(low)} to "
        f"{_number(high)}); these pixels are black or white, and the images are clustered nevertheless. If the light "
        "or the camera has changed for good, set the range with --range LOW:HIGH; then all images are embedded again."
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == round(value) else f"{value:.4g}"
