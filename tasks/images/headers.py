"""A look at a picture's header, while its file is hashed: whether it was always decoded as it is now.

Plain pictures of 8 bits were, and keep their keys. Deep ones need a range; what an earlier version made of those that
it turned black or white must not be taken for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from PIL import Image

from tasks.images.decoding import FORMATS, silence
from tasks.images.samples import (
    PNG_HEAD,
    PNG_SAMPLES,
    is_deep_png,
    is_opaque_png,
    is_tiff,
    orientation_of,
    special_tiff,
)
from tasks.images.showing import has_alpha, has_no_opaque_pixel
from tasks.images.tiffs import TiffHeader, read_header

PLAIN: Final = ""
MENDED: Final = "mended"
"""8 bits or less, and perhaps shown wrongly before `anoclust_core.keys` had a number for decoding."""

_ALPHA_PIXELS: Final = 50_000_000
"""Largest picture whose alpha is looked at; four threads look at once."""

_WIDTH: Final = 256
_HEIGHT: Final = 257
"""TIFF tags: columns and rows of the picture as it is stored."""


def look_at(file: Path) -> str:
    """What kind of picture a file holds: `PLAIN`, `MENDED`, or the kind of a deep one's samples, as ``uint16``.

    What cannot be read is plain.

    Only where there is an alpha channel is the picture decoded: whether that is 0 everywhere, its header does not say.
    """
    try:
        with file.open("rb") as opened:
            head = opened.read(PNG_HEAD)
        if is_deep_png(head):
            return PNG_SAMPLES
        if head.startswith(b"\xff\xd8") or is_opaque_png(head):
            return PLAIN
        with silence:
            return _look_inside(file, may_be_special=is_tiff(head))
    except Exception:  # noqa: BLE001 - decoders raise anything on damaged files; embedding says what is wrong with it
        return PLAIN


def _look_inside(file: Path, *, may_be_special: bool) -> str:
    try:
        image = Image.open(file, formats=FORMATS)
    except OSError:
        if not may_be_special:
            raise
        header = special_tiff(file.read_bytes(), None)
        return PLAIN if header is None else _kind_of(header)
    with image:
        if may_be_special and (header := special_tiff(file, image)) is not None:
            return _kind_of(header)
        if has_alpha(image) and image.width * image.height <= _ALPHA_PIXELS and has_no_opaque_pixel(image):
            return MENDED
    return PLAIN


def _kind_of(header: TiffHeader) -> str:
    return header.samples if header.is_deep else MENDED


@dataclass(frozen=True)
class Geometry:
    """How a picture is stored: its shape ``(height, width)``, and its EXIF orientation, 1 where it lies upright."""

    shape: tuple[int, int]
    orientation: int = 1

    @property
    def upright(self) -> tuple[int, int]:
        """Shape of the picture as it is seen."""
        return self.shape[::-1] if self.orientation >= 5 else self.shape


def _stored_size(image: Image.Image) -> tuple[int, int]:
    """Width and height as they are stored: newer versions of Pillow give those of a TIFF turned upright."""
    tags: Any = getattr(image, "tag_v2", {})
    return (tags[_WIDTH], tags[_HEIGHT]) if image.format == "TIFF" else image.size


def geometry_of(file: Path) -> Geometry | None:
    """Read how a picture is stored from its header; None where the file is gone or cannot be read."""
    try:
        with silence:
            try:
                with Image.open(file, formats=FORMATS) as image:
                    width, height = _stored_size(image)
                    orientation = orientation_of(image)
            except OSError:
                header = read_header(file.read_bytes())
                width, height, orientation = header.width, header.height, header.orientation
    except Exception:  # noqa: BLE001 - decoders raise anything on damaged files; embedding says what is wrong with it
        return None
    return Geometry((height, width), orientation if orientation in range(1, 9) else 1)
