"""Small pictures of images, for reports and figures."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anoclust_core.embedding.deep_images import DeepRange
from anoclust_core.embedding.resizing import over_frame, square_of
from anoclust_core.records import EmbeddingSpec
from anoclust_core.reporting.record import Picture, Zoom
from anoclust_core.weighting.regions import patches_inside
from tasks.images.decoding import UnreadableImageError, read_image

ZOOM_SIDE: Final = 320
"""Longest side of a zoom in pixels: a larger part of a frame is shrunk to it."""

ZOOM_PATCHES: Final = 5
"""Patches along a side of a zoom: the rarest, and two on either side."""

ZOOM_LEAST: Final = 96
"""Shortest side of a zoom in pixels: less shows no surroundings."""

_JPEG_QUALITY: Final = 80

_DIGEST_BYTES: Final = 32
"""Of the SHA-256 that stands behind a thumbnail that is kept: whoever shows a JPEG reads no further than its end."""

_ROWS_PIXELS: Final = 1 << 20
"""Pixels that are greyed out at a time."""

_GREY: Final = 205
_CONTRAST_LEFT: Final = 0.3
"""Grey level that what is not looked at is drawn towards, and how much of its contrast it keeps."""


def thumbnail(
    file: Path, *, sha256: str, side: int, deep: Sequence[DeepRange] = (), seen_by: EmbeddingSpec | None = None
) -> Image.Image | None:
    """Small picture of an image; None where its file has moved or changed since it was listed.

    Parameters
    ----------
    file, sha256, deep
        As `read_image` takes them.
    side
        Longest side of the picture, in pixels.
    seen_by
        How it is resized, to show the square that the network sees; None shows the picture.
    """
    try:
        pixels = read_image(file, sha256=sha256, deep=deep)
    except UnreadableImageError:
        return None
    if seen_by is not None:
        box = seen_by.seen_box((pixels.shape[0], pixels.shape[1]))
        seen = square_of(pixels, box, side=seen_by.image_size, interpolation=seen_by.interpolation)
        return Image.fromarray(seen).resize((side, side))
    picture = Image.fromarray(pixels)
    picture.thumbnail((side, side))
    return picture


def sealed(jpeg: bytes) -> bytes:
    """Bytes of a file that keeps a JPEG and knows whether it is as it was written."""
    return jpeg + hashlib.sha256(jpeg).digest()


def whole(file: Path) -> bytes | None:
    """JPEG of a file that `sealed` made; None where there is none, or not as it was written."""
    try:
        kept = file.read_bytes()
    except OSError:
        return None
    jpeg, digest = kept[:-_DIGEST_BYTES], kept[-_DIGEST_BYTES:]
    return jpeg if hashlib.sha256(jpeg).digest() == digest else None


def picture_of(
    file: Path,
    *,
    sha256: str,
    side: int,
    spec: EmbeddingSpec,
    rarity: NDArray[np.floating[Any]],
    looked_at: NDArray[np.bool_] | None = None,
) -> Picture | None:
    """What a report shows of an image; None where its file has moved or changed since it was listed.

    Parameters
    ----------
    file, sha256
        As `read_image` takes them.
    side
        Longest side of the thumbnail, in pixels.
    spec
        How the image is decoded and resized, and whether it is a frame in tiles: then there is a zoom.
    rarity
        Shape of the spec's grid; empty where it is not known. What the report shows covers the whole picture.
    looked_at
        Shape ``(height, width)`` of the picture: its region of interest. All else is greyed out, and has no rarity. A
        picture of another shape, which may be older than the region, is shown as it is.
    """
    try:
        pixels = read_image(file, sha256=sha256, deep=spec.deep)
    except UnreadableImageError:
        return None
    if looked_at is not None and looked_at.shape == pixels.shape[:2]:
        pixels = _greyed_out(pixels, looked_at)
        if rarity.size:
            rarity = np.where(patches_inside(looked_at, spec).reshape(rarity.shape), rarity, np.nan)
    picture = Image.fromarray(pixels)
    if rarity.size:
        rarity = over_frame(rarity, (picture.height, picture.width), spec.seen_box((picture.height, picture.width)))
    zoom = _zoom(picture, rarity) if spec.tiles and rarity.size else None
    picture.thumbnail((side, side))
    return Picture(_jpeg(picture), rarity, zoom, spec.n_tiles)


def _zoom(picture: Image.Image, rarity: NDArray[np.floating[Any]]) -> Zoom:
    """The place of the rarest patch, with two patches around it, at the picture's own resolution."""
    row, column = np.unravel_index(int(np.nan_to_num(rarity, nan=-np.inf).argmax()), rarity.shape)
    height, width = picture.height / rarity.shape[0], picture.width / rarity.shape[1]  # of one patch
    side = max(ZOOM_LEAST, round(ZOOM_PATCHES * max(height, width)))
    across, down = min(side, picture.width), min(side, picture.height)
    left = min(max(round((int(column) + 0.5) * width - across / 2), 0), picture.width - across)
    top = min(max(round((int(row) + 0.5) * height - down / 2), 0), picture.height - down)
    part = picture.crop((left, top, left + across, top + down))
    part.thumbnail((ZOOM_SIDE, ZOOM_SIDE))
    box = (left / picture.width, top / picture.height, across / picture.width, down / picture.height)
    return Zoom(_jpeg(part), box)


def _greyed_out(pixels: NDArray[np.uint8], looked_at: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Picture that is pale and grey where it is not looked at: those places are told from black and from white."""
    greys = np.arange(3 * 255 + 1) / 3  # of every sum of three channels
    pale_of = (_GREY + _CONTRAST_LEFT * (greys - _GREY)).round().astype(np.uint8)
    pale = pixels.copy()
    step = max(1, _ROWS_PIXELS // pixels.shape[1])
    for start in range(0, len(pale), step):  # as numbers, all of a large frame would be eight times its bytes
        rows = pale[start : start + step]
        sums = rows.sum(axis=2, dtype=np.uint16)
        np.copyto(rows, pale_of[sums][:, :, None], where=~looked_at[start : start + step, :, None])
    return pale


def _jpeg(picture: Image.Image) -> bytes:
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=_JPEG_QUALITY)
    return jpeg.getvalue()
