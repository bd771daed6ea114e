"""Decoded pictures as what is looked at: RGB bytes, laid on white; and what a mask marks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anoclust_core.embedding.deep_images import DeepRange, to_bytes
from tasks.images.samples import Samples

_ROWS: Final = 64
"""Rows of samples that are laid on white, and of pixels that are compared, at a time."""

_ROWS_PIXELS: Final = 1 << 18
"""Pixels of Pillow's pictures that are converted at a time."""


def rgb_of_picture(image: Image.Image) -> NDArray[np.uint8]:
    """RGB bytes, some rows at a time: Pillow takes four bytes for a pixel, and as a whole would be copied twice."""
    if has_alpha(image):
        return _on_white(image)
    if image.mode == "L":
        return _three_channels(_by_rows(image, lambda rows: rows, 1)[:, :, 0])
    return _by_rows(image, lambda rows: rows.convert("RGB"), 3)


def _by_rows(image: Image.Image, shown: Callable[[Image.Image], Image.Image], channels: int) -> NDArray[np.uint8]:
    """Shape ``(height, width, channels)``: what some rows at a time are shown as."""
    pixels = np.empty((image.height, image.width, channels), np.uint8)
    for start, rows in _rows_of(image):
        pixels[start : start + rows.height] = np.asarray(shown(rows)).reshape(rows.height, image.width, channels)
    return pixels


def _rows_of(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Parts of few rows, each with its first row."""
    step = max(1, _ROWS_PIXELS // image.width)
    for start in range(0, image.height, step):
        yield start, image.crop((0, start, image.width, min(start + step, image.height)))


def _on_white(image: Image.Image) -> NDArray[np.uint8]:
    """Lay a transparent picture on white; alpha that is 0 everywhere is none: the colours are what was meant."""
    if has_no_opaque_pixel(image):
        if image.mode == "La":  # premultiplied colours as they are
            return _three_channels(_by_rows(image, lambda rows: rows.getchannel(0), 1)[:, :, 0])
        is_premultiplied = image.mode == "RGBa"
        channels = _by_rows(image, lambda rows: rows if is_premultiplied else rows.convert("RGBA"), 4)
        return channels[:, :, :3]

    def on_white(rows: Image.Image) -> Image.Image:
        white = Image.new("RGBA", rows.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rows.convert("RGBA")).convert("RGB")

    return _by_rows(image, on_white, 3)


def has_alpha(image: Image.Image) -> bool:
    """Whether a picture may be transparent."""
    return image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info


def has_no_opaque_pixel(image: Image.Image) -> bool:
    """Whether the alpha of a picture that may be transparent is 0 everywhere."""
    return all(rows.convert("RGBA").getchannel("A").getextrema() == (0, 0) for _, rows in _rows_of(image))


def rgb_of_samples(found: Samples, deep: DeepRange | None) -> NDArray[np.uint8]:
    """Samples as RGB bytes, laid on white."""
    pixels = to_bytes(found.values, deep) if deep is not None else found.values
    if found.opacity is not None:
        opacity = found.opacity if pixels.ndim == 2 else found.opacity[:, :, None]
        for start in range(0, len(pixels), _ROWS):
            rows = slice(start, start + _ROWS)
            pixels[rows] = np.rint(pixels[rows] * opacity[rows] + 255 * (1 - opacity[rows]))
    return _three_channels(pixels) if pixels.ndim == 2 else pixels


def _three_channels(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey as RGB, without a copy: the three channels are one in memory."""
    return np.broadcast_to(grey[:, :, None], (*grey.shape, 3))


def marks_of_picture(image: Image.Image) -> NDArray[np.bool_]:
    """Pixels that a mask of 8 bits marks, ``(height, width)``."""
    if not has_alpha(image):
        return np.asarray(rgb_of_picture(image).any(axis=2))
    rgba = _by_rows(image, lambda rows: rows.convert("RGBA"), 4)
    coloured, opaque = rgba[:, :, :3].any(axis=2), rgba[:, :, 3] != 0
    marked = coloured & opaque if opaque.any() else coloured & (not coloured.all())
    return np.asarray(marked)


def shows_one_value(pixels: NDArray[np.uint8]) -> bool:
    """Whether all pixels are the same; a sixteenth of the rows tells most pictures at once."""
    grey = pixels[:, :, :1] if pixels.strides[2] == 0 else pixels
    if not bool((grey[::16] == grey[0, 0]).all()):
        return False
    return all(bool((grey[start : start + _ROWS] == grey[0, 0]).all()) for start in range(0, len(grey), _ROWS))
