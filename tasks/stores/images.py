"""Reading images: decode whatever a camera or a person saved, or say in words why it cannot be used."""

from __future__ import annotations

import hashlib
import io
import warnings
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

IMAGE_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
"""File endings that are taken for images, in lower case."""

FORMATS: Final = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
"""Formats that are decoded; the content decides, not the ending."""

MAX_PIXELS: Final = 178_000_000
"""Largest image that is decoded (0.5 GB as RGB), just below Pillow's own limit; more is taken for a bomb."""

MIN_SIDE: Final = 8
"""Shortest side in pixels that still shows a surface."""

MAX_ASPECT: Final = 50
"""Longest side over shortest: beyond this, squashing to a square leaves nothing to see."""


class UnreadableImageError(Exception):
    """An image that cannot be used; the message is the reason, in words for a person."""


class UnreadNowError(UnreadableImageError):
    """A file that could not be read this time; its content is not to blame, so the next run tries again."""


def read_image(path: Path, *, sha256: str) -> NDArray[np.uint8]:
    """Read one image file as RGB, upright by its EXIF orientation.

    Parameters
    ----------
    path
        File to read.
    sha256
        Digest of the bytes that are expected: the run's keys stand for exactly these.

    Returns
    -------
    pixels
        Shape ``(height, width, 3)``, uint8.

    Raises
    ------
    UnreadableImageError
        If the image cannot be used; `UnreadNowError` if the file could not be read or changed since it was listed.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnreadNowError(f"cannot be read: {error.strerror or error}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise UnreadNowError("changed while the run was reading it; the next run takes it up")
    return decode_image(data)


def decode_image(data: bytes) -> NDArray[np.uint8]:
    """Decode the bytes of an image file to RGB.

    16-bit grey is scaled by its full range, float grey by its own smallest and largest value; transparency is laid on
    white.

    Returns
    -------
    pixels
        Shape ``(height, width, 3)``, uint8.

    Raises
    ------
    UnreadableImageError
        If the bytes are no image, or one that cannot be clustered.
    """
    if not data:
        raise UnreadableImageError("the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata and of large images; both are judged here
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            _check_header(image)
            image.load()
            upright = ImageOps.exif_transpose(image)
            return _to_rgb(upright)
    except UnidentifiedImageError as error:
        raise UnreadableImageError("is not a PNG, JPEG, BMP, TIFF or WebP image, whatever its ending says") from error
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(f"is too large to decode safely: {error}") from error
    except MemoryError as error:
        raise UnreadNowError("needs more memory than is free now; the next run tries again") from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError) as error:
        # Pillow's decoders raise all of these on damaged files
        raise UnreadableImageError(f"is damaged and cannot be decoded: {error}") from error


def _check_header(image: Image.Image) -> None:
    """Refuse by size and kind before any pixel is decoded."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise UnreadableImageError(f"has {width} x {height} pixels; the limit is {MAX_PIXELS:,} (decompression bomb?)")
    if min(width, height) < MIN_SIDE:
        raise UnreadableImageError(f"has {width} x {height} pixels; the shorter side needs at least {MIN_SIDE}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise UnreadableImageError(f"has {width} x {height} pixels; more than {MAX_ASPECT} times longer than wide")
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:  # MPO: a camera's JPEG with a preview behind it
        raise UnreadableImageError(f"holds {image.n_frames} frames; save each as an image of its own")  # type: ignore[attr-defined]


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I;16") or image.mode == "I":
        grey = np.asarray(image).astype(np.int64)
        if grey.min() < 0 or grey.max() > 65535:
            raise UnreadableImageError(f"has grey values from {grey.min()} to {grey.max()}; 16 bits hold 0 to 65535")
        return np.repeat((grey // 257).astype(np.uint8)[:, :, None], 3, axis=2)
    if image.mode == "F":
        return np.repeat(_stretch(np.asarray(image))[:, :, None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))
    return np.asarray(image.convert("RGB"))


def _stretch(grey: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Float grey to bytes, from its own smallest to its largest value."""
    if not np.isfinite(grey).all():
        raise UnreadableImageError("holds NaN or infinite values")
    low, high = float(grey.min()), float(grey.max())
    span = high - low or 1.0
    stretched: NDArray[np.uint8] = np.rint((grey - low) / span * 255).astype(np.uint8)
    return stretched
