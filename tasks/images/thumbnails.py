"""Small pictures of images, for reports and figures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from PIL import Image

from anoclust_core.embedding.deep_images import DeepRange
from tasks.images.decoding import UnreadableImageError, read_image

_JPEG_QUALITY: Final = 80


def thumbnail(
    file: Path, *, sha256: str, side: int, deep: Sequence[DeepRange] = (), square: bool = False
) -> Image.Image | None:
    """Small picture of an image; None where its file has moved or changed since it was listed.

    Parameters
    ----------
    file, sha256, deep
        As `read_image` takes them.
    side
        Longest side of the picture, in pixels.
    square
        Stretch it to a square.
    """
    try:
        picture = Image.fromarray(read_image(file, sha256=sha256, deep=deep))
    except UnreadableImageError:
        return None
    if square:
        return picture.resize((side, side))
    picture.thumbnail((side, side))
    return picture


def thumbnail_jpeg(file: Path, *, sha256: str, side: int, deep: Sequence[DeepRange] = ()) -> bytes | None:
    """Bytes of a JPEG of `thumbnail`, or None."""
    picture = thumbnail(file, sha256=sha256, side=side, deep=deep)
    if picture is None:
        return None
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=_JPEG_QUALITY)
    return jpeg.getvalue()
