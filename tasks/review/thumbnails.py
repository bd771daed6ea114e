"""Small pictures, made once for each content and kept in the store."""

from __future__ import annotations

import io
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from anoclust_core.embedding.deep_images import DeepRange
from anoclust_core.keys import content_key
from tasks.images.category_decoding import read_decoding
from tasks.images.thumbnails import sealed, thumbnail, whole
from tasks.stores.catalog.facts import ImageFact
from tasks.stores.files import write_bytes
from tasks.stores.layout import StoreLayout

SIDE: Final = 288
"""Longest side in pixels: twice that of a picture on a page, for screens with two pixels in the place of one."""

_QUALITY: Final = 82
_VERSION: Final = 1
"""Raised when a thumbnail of the same picture comes to look different."""


class Thumbnails:
    """Thumbnails of a category.

    Parameters
    ----------
    layout, category
        Where they are kept.
    """

    def __init__(self, layout: StoreLayout, category: str) -> None:
        decoding = read_decoding(layout.decoding(category))
        self.deep: tuple[DeepRange, ...] = decoding.deep if decoding else ()
        parts = {"side": SIDE, "decoding": decoding.identity if decoding else None, "version": _VERSION}
        self._folder = layout.thumbnails(category, content_key("thumbnail", parts))

    def kept(self, image: ImageFact) -> bytes | None:
        """JPEG of an image; None where there is none yet."""
        return whole(self._place(image.content))

    def made(self, image: ImageFact) -> bytes | None:
        """Make the JPEG of an image and keep it; None where its file is gone or has changed."""
        picture = thumbnail(Path(image.file or ""), sha256=image.content, side=SIDE, deep=self.deep)
        if picture is None:
            return None
        jpeg = io.BytesIO()
        picture.save(jpeg, "JPEG", quality=_QUALITY)
        self._keep(self._place(image.content), jpeg.getvalue())
        return jpeg.getvalue()

    def _keep(self, place: Path, jpeg: bytes) -> None:
        """Keep a thumbnail where that is possible: on a full or read-only disk it is made again the next time."""
        # on the way it lies where runs look for leftovers of killed processes
        draft = self._folder.parent / f".{place.stem}.{secrets.token_hex(4)}.partial"
        with suppress(OSError):
            write_bytes(draft, sealed(jpeg))
            place.parent.mkdir(parents=True, exist_ok=True)
            draft.replace(place)

    def _place(self, content: str) -> Path:
        return self._folder / content[:2] / f"{content}.jpg"
