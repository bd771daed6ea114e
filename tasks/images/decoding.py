"""Reading images: decode whatever a camera or a person saved, or say in words why it cannot be used."""

from __future__ import annotations

import hashlib
import io
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from anoclust_core.embedding.deep_images import DeepRange, Outside, choose_range, outside_range
from anoclust_core.errors import DatasetError
from anoclust_core.memory.plan import DECODE_BYTES_PER_PIXEL, readable_bytes
from tasks.images.reasons import damage, too_large, what_it_is
from tasks.images.samples import (
    PNG_HEAD,
    Samples,
    check_plain_tiff,
    is_deep_png,
    is_tiff,
    png_samples,
    special_tiff,
    tiff_samples,
)
from tasks.images.showing import (
    has_no_opaque_pixel,
    marks_of_picture,
    rgb_of_picture,
    rgb_of_samples,
    shows_one_value,
)
from tasks.images.tiffs import UNPACKED_BYTES, TiffHeader, TiffKindError, check_kind, read_header

IMAGE_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".dcm"})
"""File endings that are taken for images, in lower case."""

REFUSED_SUFFIXES: Final = frozenset({".dcm"})
"""Those of them whose files are never read: DICOM is refused with what to do, and not passed over."""

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

DEEP_BYTES_PER_PIXEL: Final = 8
"""Decoding deep pictures, beside twice their samples: what is unpacked at a time, RGB. Measured: 2 to 4."""

ALPHA_BYTES_PER_PIXEL: Final = 8
"""The same of transparent ones, and of white as 0: alpha as numbers, the tests of these, the values again."""

WEBP_BYTES_PER_PIXEL: Final = 18
"""Decoding WebP, whose decoder hands over a copy. Measured: 16."""

_NOT_NOW: Final = "the next run tries again"

_DECODER_ERRORS: Final = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError, AttributeError, RuntimeError,
    AssertionError, struct.error, zlib.error,
)  # fmt: skip
"""Pillow's decoders raise all of these on damaged files."""


class UnreadableImageError(Exception):
    """An image that cannot be used; the message is the reason, in words for a person."""


class UnreadNowError(UnreadableImageError):
    """A file that could not be read this time; its content is not to blame, so the next run tries again."""


@dataclass(frozen=True)
class DecodedPicture:
    """A picture, and for a deep one how far its values lie outside of the category's range."""

    pixels: NDArray[np.uint8]
    outside: Outside | None = None


def read_image(
    path: Path, *, sha256: str, max_pixels: int | None = None, deep: Sequence[DeepRange] = ()
) -> NDArray[np.uint8]:
    """Read one image file as RGB, upright by its EXIF orientation.

    Parameters
    ----------
    path
        File to read.
    sha256
        Digest of the bytes that are expected: the run's keys stand for exactly these.
    max_pixels, deep
        As `decode_image` takes them.

    Returns
    -------
    pixels
        As `decode_image` gives them.

    Raises
    ------
    UnreadableImageError
        If the image cannot be used; `UnreadNowError` if the file could not be read or changed since it was listed.
    """
    return decode_image(read_bytes(path, sha256=sha256), max_pixels=max_pixels, deep=deep)


def read_picture(path: Path, *, sha256: str, max_pixels: int, deep: Sequence[DeepRange]) -> DecodedPicture:
    """Read one image file, and hold its values against the range; parameters and errors as those of `read_image`."""
    pixels, found, used = _shown_picture(read_bytes(path, sha256=sha256), max_pixels, deep)
    if not isinstance(found, Samples) or used not in deep or used is None:
        return DecodedPicture(pixels)
    return DecodedPicture(pixels, outside_range(found.values, used))


def read_bytes(path: Path, *, sha256: str) -> bytes:
    """Read one file whole; raises `UnreadNowError` if it could not be read, or is not what was listed."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnreadNowError(f"cannot be read: {error.strerror or error}; {_NOT_NOW}") from error
    except MemoryError as error:
        raise UnreadNowError(f"needs more memory than is free now; {_NOT_NOW}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise UnreadNowError("changed while the run was reading it; the next run takes it up")
    return data


def decode_image(data: bytes, *, max_pixels: int | None = None, deep: Sequence[DeepRange] = ()) -> NDArray[np.uint8]:
    """Decode the bytes of an image file to RGB.

    Transparency is laid on white; where alpha is 0 everywhere it means nothing, and the colours are taken.

    Parameters
    ----------
    data
        The file.
    max_pixels
        Largest image, of 8 bits a sample, that there is memory for; a larger one waits for a run that has more. None is
        no limit.
    deep
        Which values are black and white in pictures of more than 8 bits, by kind of samples; where none says so, that
        is taken from this picture alone.

    Returns
    -------
    pixels
        Shape ``(height, width, 3)``, uint8, to be read only; a grey image's channels share their memory.

    Raises
    ------
    UnreadableImageError
        If the bytes are no image, or one that cannot be clustered.
    """
    return _shown_picture(data, max_pixels, deep)[0]


def _shown_picture(
    data: bytes, max_pixels: int | None, deep: Sequence[DeepRange]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | Samples, DeepRange | None]:
    """RGB, what it was made from, and the range that was used for it."""
    found = _decoded(data, max_pixels, rgb_of_picture)
    used = None
    if isinstance(found, Samples):
        if found.is_deep:
            used = next((one for one in deep if one.samples == found.kind), None)
            used = used or choose_range(found.kind, [found.values])
        pixels = rgb_of_samples(found, used)
    else:
        pixels = found
    if shows_one_value(pixels):
        raise UnreadableImageError(_one_value(pixels, used))
    return pixels, found, used


def decode_samples(data: bytes, *, max_pixels: int | None = None) -> NDArray[Any]:
    """Decode the bytes of an image file to what it stores: for a range.

    Returns
    -------
    values
        Shape ``(height, width)`` or ``(height, width, 3)``, upright: bytes, or deep values of any kind, finite.

    Raises
    ------
    UnreadableImageError
        As `decode_image`, but that a picture may show one value.
    """
    found = _decoded(data, max_pixels, rgb_of_picture)
    return found.values if isinstance(found, Samples) else found


def decode_mask(data: bytes) -> NDArray[np.bool_]:
    """Decode the bytes of a mask: what is marked has a colour that is not black, and is not transparent.

    Where alpha is 0 everywhere it means nothing, as in pictures: the colours alone mark. If these mark every pixel too,
    nothing is marked.

    Returns
    -------
    marked
        Shape ``(height, width)``, bool, upright.

    Raises
    ------
    UnreadableImageError
        As `decode_samples`.
    """
    found = _decoded(data, None, marks_of_picture)
    if not isinstance(found, Samples):
        return found
    marked = np.asarray((found.values if found.values.ndim == 2 else found.values.any(axis=2)) != 0, np.bool_)
    return marked if found.opacity is None else marked & (found.opacity > 0)


def _decoded(
    data: bytes, max_pixels: int | None, shown: Callable[[Image.Image], NDArray[Any]]
) -> NDArray[Any] | Samples:
    """What a plain picture is shown as, samples of another."""
    with in_words(data):
        found = _open_and_load(data, max_pixels)
        return shown(found) if isinstance(found, Image.Image) else found


@contextmanager
def in_words(data: bytes) -> Iterator[None]:
    """Decode what a file holds, in silence; whatever a decoder raises becomes an `UnreadableImageError`."""
    if not data:
        raise UnreadableImageError("the file is empty")
    try:
        with silence:
            yield
    except UnidentifiedImageError as error:
        raise UnreadableImageError(what_it_is(data)) from error
    except TiffKindError as error:
        raise UnreadableImageError(f"has {error}, {error.advice}") from error
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(too_large(re.sub(r".*\((\d+) pixels\).*", r"\1", str(error)), MAX_PIXELS)) from error
    except MemoryError as error:
        raise UnreadNowError(f"needs more memory than is free now; {_NOT_NOW}") from error
    except _DECODER_ERRORS as error:
        raise UnreadableImageError(damage(error)) from error


def _open_and_load(data: bytes, max_pixels: int | None) -> Image.Image | Samples:
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        header = _special_header(data)
        if header is None:
            raise
        return _load_tiff(data, header, max_pixels)
    _check_header(image, max_pixels)
    header = special_tiff(data, image) if image.format == "TIFF" else None
    if header is not None:
        return _load_tiff(data, header, max_pixels)
    if image.format == "TIFF":
        check_plain_tiff(data, image)
    if is_deep_png(data):
        _check_memory(*image.size, max_pixels, _png_bytes(image))
        return png_samples(data, image)
    image.load()
    if image.format == "TIFF" and image.mode == "RGBA" and has_no_opaque_pixel(image):
        return _load_tiff(data, read_header(data), max_pixels)  # Pillow has divided premultiplied colours by 0
    _turn_upright(image)
    return image


def _load_tiff(data: bytes, header: TiffHeader, max_pixels: int | None) -> Samples:
    check_kind(header)
    _check_size(header.width, header.height, header.pages)
    _check_memory(header.width, header.height, max_pixels, _tiff_bytes(header))
    found = tiff_samples(data, header)
    if found.values.dtype.kind == "f" and not np.isfinite(found.values).all():
        raise UnreadableImageError("holds values that are no numbers (NaN or infinite)")
    return found


def _special_header(data: bytes) -> TiffHeader | None:
    """Header of a TIFF that Pillow cannot open; None of what is none, or is damaged."""
    if not is_tiff(data):
        return None
    try:
        return special_tiff(data, None)
    except TiffKindError:
        raise
    except Exception:  # noqa: BLE001 - tifffile raises anything on damaged files
        return None


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


silence = _Silence()


def _turn_upright(image: Image.Image) -> None:
    """Turn by the EXIF orientation, in place; damaged metadata leaves the picture as it lies."""
    with suppress(*_DECODER_ERRORS):
        ImageOps.exif_transpose(image, in_place=True)


def _check_header(image: Image.Image, max_pixels: int | None) -> None:
    """Refuse by size and kind before any pixel is decoded."""
    # MPO: a camera's JPEG with a preview behind it
    _check_size(*image.size, 1 if image.format == "MPO" else getattr(image, "n_frames", 1))
    if image.mode == "LAB":
        raise UnreadableImageError("has LAB colours; save it as RGB or grey")
    _check_memory(*image.size, max_pixels, _plain_bytes(image))


def _check_size(width: int, height: int, n_frames: int) -> None:
    if width * height > MAX_PIXELS:
        raise UnreadableImageError(f"has {width} x {height} pixels; the limit is {MAX_PIXELS:,} (decompression bomb?)")
    if min(width, height) < MIN_SIDE:
        raise UnreadableImageError(f"has {width} x {height} pixels; the shorter side needs at least {MIN_SIDE}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise UnreadableImageError(f"has {width} x {height} pixels; more than {MAX_ASPECT} times longer than wide")
    if n_frames > 1:
        raise UnreadableImageError(f"holds {n_frames} frames; save each as an image of its own")


def _check_memory(width: int, height: int, max_pixels: int | None, needed: int) -> None:
    """Leave what there is no memory for; ``max_pixels`` counts pixels that cost `DECODE_BYTES_PER_PIXEL`."""
    if max_pixels is None:
        return
    room = max_pixels * DECODE_BYTES_PER_PIXEL
    if needed > room:
        raise UnreadNowError(
            f"has {width} x {height} pixels, which take {readable_bytes(needed)} of memory to decode; there are "
            f"{readable_bytes(room)} for that now; raise --memory, or free some"
        )


def bytes_to_decode(file: Path) -> int:
    """Memory that decoding a file takes at its peak, from its header; 0 where that says nothing: decoding will say why.

    What the file itself takes is included.
    """
    try:
        with silence:
            return file.stat().st_size + _header_bytes(file)
    except Exception:  # noqa: BLE001 - decoders raise anything on damaged files
        return 0


def _header_bytes(file: Path) -> int:
    try:
        with Image.open(file, formats=FORMATS) as image:
            header = special_tiff(file, image) if image.format == "TIFF" else None
            if header is None:
                with file.open("rb") as opened:
                    is_deep = is_deep_png(opened.read(PNG_HEAD))
                return _png_bytes(image) if is_deep else _plain_bytes(image)
    except UnidentifiedImageError:
        header = special_tiff(file, None)
    return _tiff_bytes(header) if header is not None else 0


def pixels_within(memory: int) -> int:
    """Pixels of the largest plain picture that can be decoded in so many bytes: a limit for `decode_image`.

    It may be more than `MAX_PIXELS`: other kinds of pictures take more bytes a pixel.
    """
    return memory // DECODE_BYTES_PER_PIXEL


def _plain_bytes(image: Image.Image) -> int:
    """Bytes that decoding takes, of a picture that Pillow shows rightly."""
    each = WEBP_BYTES_PER_PIXEL if image.format == "WEBP" else DECODE_BYTES_PER_PIXEL
    return image.width * image.height * each


def _png_bytes(image: Image.Image) -> int:
    """The same of a deep PNG."""
    alpha = 0 if len(image.getbands()) in (1, 3) else ALPHA_BYTES_PER_PIXEL
    return image.width * image.height * (4 * len(image.getbands()) + DEEP_BYTES_PER_PIXEL + alpha)


def _tiff_bytes(header: TiffHeader) -> int:
    """The same of a TIFF that is read by its samples, some of which are unpacked at a time, in three copies."""
    pixels = header.width * header.height
    samples = pixels * header.channels * header.sample_bytes
    alpha = 0 if header.alpha == "none" and header.photometric else ALPHA_BYTES_PER_PIXEL
    return 2 * samples + pixels * (DEEP_BYTES_PER_PIXEL + alpha) + 3 * min(samples, UNPACKED_BYTES)


def _one_value(pixels: NDArray[np.uint8], deep: DeepRange | None) -> str:
    """Reason for a picture that shows nothing."""
    value = tuple(pixels[0, 0].tolist())
    named = {(0, 0, 0): "black", (255, 255, 255): "white"}.get(value, f"the colour {value[0]}, {value[1]}, {value[2]}")
    where = f" in the category's range of {deep.low:.6g} to {deep.high:.6g}" if deep is not None else ""
    return f"shows one single value: every pixel is {named}{where}"


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read a ground-truth mask: what it marks, as `decode_mask` tells.

    Raises
    ------
    DatasetError
        If the file is missing or no image.
    """
    try:
        return decode_mask(path.read_bytes())
    except (OSError, UnreadableImageError) as error:
        raise DatasetError(f"mask {path} cannot be used: {error}; repair it, or leave it out of the data") from error
