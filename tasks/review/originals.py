"""Pictures at their own size, as a browser can show them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image

from anoclust_core.embedding.deep_images import DeepRange
from tasks.images.decoding import UnreadableImageError, decode_image, read_bytes
from tasks.images.samples import PNG_HEAD, is_opaque_png
from tasks.stores.catalog.facts import ImageFact

_JPEG: Final = b"\xff\xd8\xff"


@dataclass(frozen=True)
class ShownPicture:
    """A file that a browser shows, and its media type."""

    data: bytes
    kind: str


def original(image: ImageFact, deep: tuple[DeepRange, ...]) -> ShownPicture | None:
    """The file itself where it is a JPEG or a plain PNG, else its pixels as a PNG; None where it is gone or changed.

    Parameters
    ----------
    image
        Which.
    deep
        Which values are black and white in pictures of more than 8 bits.
    """
    try:
        data = read_bytes(Path(image.file or ""), sha256=image.content)
        if data.startswith(_JPEG):
            return ShownPicture(data, "image/jpeg")
        if is_opaque_png(data[:PNG_HEAD]):
            return ShownPicture(data, "image/png")
        pixels = decode_image(data, deep=deep)
    except UnreadableImageError:
        return None
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG", compress_level=1)
    return ShownPicture(png.getvalue(), "image/png")
