"""Reading images: decode whatever a camera or a person saved, or say in words why it cannot be used."""

from __future__ import annotations

import hashlib
import io
import re
import struct
import warnings
import zlib
from pathlib import Path
from threading import Lock
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from anoclust_core.errors import DatasetError

IMAGE_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
"""File endings that are taken for images, in lower case."""

FORMATS: Final = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
"""Formats that are decoded; the content decides, not the ending."""

MAX_PIXELS: Final = 178_000_000
"""Largest image that is decoded (0.5 GB as RGB), just below Pillow's own limit; more is taken for a bomb."""

MAX_BYTES: Final = 2_000_000_000
"""Largest file that is read: an image of ``MAX_PIXELS`` in 16-bit colour, uncompressed, and then some."""

MIN_SIDE: Final = 8
"""Shortest side in pixels that still shows a surface."""

MAX_ASPECT: Final = 50
"""Longest side over shortest: beyond this, squashing to a square leaves nothing to see."""

_NOT_NOW: Final = "the next run tries again"

_OURS: Final = {
    b"\x89PNG": "PNG",
    b"\xff\xd8": "JPEG",
    b"BM": "BMP",
    rb"II[*+]\x00": "TIFF",
    rb"MM\x00[*+]": "TIFF",
    b"RIFF....WEBP": "WebP",
}
_OTHERS: Final = {
    b"GIF8": "a GIF image; save it as PNG",
    b"....ftyp(heic|heix|hevc|mif1|msf1)": "an HEIC photograph; save it as PNG or JPEG",
    b"....ftypavif": "an AVIF image; save it as PNG or JPEG",
    b"\0\0\0\x0cjP": "a JPEG 2000 image; save it as PNG or TIFF",
    b"\xffO\xffQ": "a JPEG 2000 image; save it as PNG or TIFF",
    b"v/1\x01": "an OpenEXR image; save it as TIFF",
    b"8BPS": "a Photoshop document; save it as PNG or TIFF",
    b".{128}DICM": "a DICOM file; save its picture as PNG or TIFF",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a ZIP archive; unpack it",
    b"\x1f\x8b": "a compressed archive (gzip); unpack it",
    rb"\s*(<\?xml|<svg)": "a drawing or document in XML",
    rb"(?i)\s*(<!doctype html|<html)": "a web page, perhaps the error page of a download",
}
"""How files begin, as patterns, and what they are."""

_DECODER_ERRORS: Final = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError, AttributeError, RuntimeError,
    AssertionError, struct.error, zlib.error,
)  # fmt: skip
"""Pillow's decoders raise all of these on damaged files."""


class UnreadableImageError(Exception):
    """An image that cannot be used; the message is the reason, in words for a person."""


class UnreadNowError(UnreadableImageError):
    """A file that could not be read this time; its content is not to blame, so the next run tries again."""


def read_image(path: Path, *, sha256: str, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Read one image file as RGB, upright by its EXIF orientation.

    Parameters
    ----------
    path
        File to read.
    sha256
        Digest of the bytes that are expected: the run's keys stand for exactly these.
    max_pixels
        Largest image that there is memory for; a larger one waits for a run that has more.

    Returns
    -------
    pixels
        Shape ``(height, width, 3)``, uint8, to be read only; a grey image's channels share their memory.

    Raises
    ------
    UnreadableImageError
        If the image cannot be used; `UnreadNowError` if the file could not be read or changed since it was listed.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnreadNowError(f"cannot be read: {error.strerror or error}; {_NOT_NOW}") from error
    except MemoryError as error:
        raise UnreadNowError(f"needs more memory than is free now; {_NOT_NOW}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise UnreadNowError("changed while the run was reading it; the next run takes it up")
    return decode_image(data, max_pixels=max_pixels)


def decode_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode the bytes of an image file to RGB.

    16-bit grey is scaled by its full range, float grey by its own smallest and largest value; transparency is laid on
    white.

    Returns
    -------
    pixels
        Shape ``(height, width, 3)``, uint8, to be read only; a grey image's channels share their memory.

    Raises
    ------
    UnreadableImageError
        If the bytes are no image, or one that cannot be clustered.
    """
    if not data:
        raise UnreadableImageError("the file is empty")
    try:
        with _silence:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            _check_header(image, max_pixels)
            image.load()
            return _to_rgb(_upright(image))
    except UnidentifiedImageError as error:
        raise UnreadableImageError(_what_it_is(data)) from error
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(_too_large(re.sub(r".*\((\d+) pixels\).*", r"\1", str(error)))) from error
    except MemoryError as error:
        raise UnreadNowError(f"needs more memory than is free now; {_NOT_NOW}") from error
    except _DECODER_ERRORS as error:
        raise UnreadableImageError(_damage(error)) from error


class _Silence:
    """Silences warnings while any thread is inside; ``warnings.catch_warnings`` alone is not made for threads.

    Pillow warns of odd metadata and of large images; both are judged here.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._before = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = warnings.catch_warnings()
                self._before.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._before.__exit__(None, None, None)


_silence = _Silence()


def _what_it_is(data: bytes) -> str:
    """Reason for a file that no decoder takes, by how it begins."""
    for pattern, name in _OURS.items():
        if re.match(pattern, data, re.DOTALL):
            return f"begins like a {name} image, but is cut off, damaged or of a kind that cannot be read"
    no_image = "is not a PNG, JPEG, BMP, TIFF or WebP image"
    for pattern, what in _OTHERS.items():
        if re.match(pattern, data, re.DOTALL):
            return f"{no_image} but {what}"
    if not data.strip(b"\0"):
        return f"{no_image}; it holds nothing but zeros, as after a failed copy"
    try:
        text = data[:1000].decode(errors="strict" if len(data) <= 1000 else "ignore")
    except UnicodeDecodeError:
        text = "\0"
    is_text = all(character.isprintable() or character.isspace() for character in text)
    return f"{no_image} but text" if is_text else f"{no_image}, whatever its ending says"


def _too_large(pixels: str) -> str:
    size = f"{int(pixels):,}" if pixels.isdecimal() else "too many"
    return f"has {size} pixels; the limit is {MAX_PIXELS:,} (decompression bomb?)"


def _damage(error: Exception) -> str:
    """Reason for an image whose decoder fails; the decoder's own words are for programmers."""
    said = str(error).lower()
    if "truncated" in said or "unexpected end" in said:
        return "is damaged: the file is cut off before the picture ends"
    if "decompressed data too large" in said:
        return "holds metadata that unpacks to more than is safe (decompression bomb?)"
    return "is damaged or cut off and cannot be decoded"


def _upright(image: Image.Image) -> Image.Image:
    """Turn by the EXIF orientation; damaged metadata leaves the picture as it lies."""
    try:
        return ImageOps.exif_transpose(image)
    except _DECODER_ERRORS:
        return image


def _check_header(image: Image.Image, max_pixels: int) -> None:
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
    if image.mode == "LAB":
        raise UnreadableImageError("has LAB colours; save it as RGB or grey")
    if width * height > max_pixels:
        raise UnreadNowError(
            f"has {width} x {height} pixels, more than there is memory to decode now; raise --memory, or free some"
        )


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I;16") or image.mode == "I":
        grey = np.asarray(image).astype(np.int64)
        if grey.min() < 0 or grey.max() > 65535:
            found = f"from {grey.min()} to {grey.max()}"
            raise UnreadableImageError(f"has grey values {found}; only 0 to 65535 can be read (16 bits)")
        return _three_channels((grey // 257).astype(np.uint8))
    if image.mode == "F":
        return _three_channels(_stretch(np.asarray(image)))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))
    if image.mode == "L":
        return _three_channels(np.asarray(image))
    return np.asarray(image.convert("RGB"))


def _three_channels(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey as RGB, without a copy: the three channels are one in memory."""
    return np.broadcast_to(grey[:, :, None], (*grey.shape, 3))


def _stretch(grey: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Float grey to bytes, from its own smallest to its largest value."""
    if not np.isfinite(grey).all():
        raise UnreadableImageError("holds values that are no numbers (NaN or infinite)")
    low, high = float(grey.min()), float(grey.max())
    span = high - low or 1.0
    if span > np.finfo(np.float32).max:
        raise UnreadableImageError(f"has values from {low:.3g} to {high:.3g}, which is no picture")
    stretched: NDArray[np.uint8] = np.rint((grey - low) / span * 255).astype(np.uint8)
    return stretched


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read a ground-truth mask: True where a pixel is not 0.

    Raises
    ------
    DatasetError
        If the file is missing or no image.
    """
    try:
        pixels = decode_image(path.read_bytes())
    except (OSError, UnreadableImageError) as error:
        raise DatasetError(f"mask {path} cannot be used: {error}; mend it, or leave it out of the data") from error
    return np.asarray(pixels.max(axis=2) > 0, dtype=np.bool_)
