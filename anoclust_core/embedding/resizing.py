"""How a picture becomes the square that a network sees, and how maps of it follow: squashed, padded or cropped."""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anoclust_core.arrays import checked_array

Box = tuple[int, int, int, int]
"""Top, bottom, left and right of a part of a frame, in pixels: ``pixels[top:bottom, left:right]``."""

Resize = Literal["squash", "pad", "crop"]
"""How a picture that is no square becomes one."""

RESAMPLING: Final = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
"""Interpolations by the names that timm has for them."""

_MIRRORED_PIXELS: Final = 1 << 20
"""Pixels of a mirrored tile that are laid out at a time: beyond a long strip there are tiles larger than it."""

_FINE: Final = 8
"""Values of a map along each side of a patch, at least, once it is cut as its picture is."""


def seen_box(shape: tuple[int, int], *, resize: Resize, tiles: tuple[int, int] | None = None) -> Box:
    """Part of a frame that the network sees, be it that it reaches beyond the frame.

    Parameters
    ----------
    shape
        Height and width of the frame in pixels.
    resize
        ``squash``: the frame. ``crop``: the largest part in its middle whose tiles are squares. ``pad``: the least that
        holds the frame and whose tiles are squares.
    tiles
        Rows and columns of the tiles that it is cut into; None is one.

    Examples
    --------
    >>> seen_box((100, 400), resize="crop"), seen_box((100, 400), resize="pad")
    ((0, 100, 150, 250), (-150, 250, 0, 400))
    """
    height, width = shape
    if resize == "squash":
        return 0, height, 0, width
    rows, columns = tiles or (1, 1)
    sides = height / rows, width / columns
    side = min(sides) if resize == "crop" else max(sides)
    tall, wide = max(1, round(rows * side)), max(1, round(columns * side))
    top, left = (height - tall) // 2, (width - wide) // 2
    return top, top + tall, left, left + wide


def square_of(pixels: NDArray[np.uint8], box: Box, *, side: int, interpolation: str) -> NDArray[np.uint8]:
    """Part of a frame; where it reaches beyond the frame, a square with the frame mirrored into what is missing.

    What is mirrored looks as the frame does, so that it is no rarer than the frame: no patch of it needs a weight of
    its own. A tile that reaches beyond the frame goes on where its neighbour ends: it is the whole frame that is
    mirrored, as often as it takes, and not the tile's own part of it.

    Parameters
    ----------
    pixels
        Shape ``(height, width, 3)``, uint8: the frame.
    box
        From `seen_box`, or a tile of it.
    side
        Side in pixels of a square that has to be made.
    interpolation
        As the backbone's training resized its pictures.

    Returns
    -------
    part
        Shape ``(height, width, 3)``, uint8; a view of the frame where the box lies inside, else ``(side, side, 3)``.

    Raises
    ------
    ArrayContractError
        If the pixels are not RGB bytes.
    """
    pixels = checked_array("pixels", pixels, "(height, width, 3)", dtype=np.uint8, least=1)
    top, bottom, left, right = box
    height, width = pixels.shape[:2]
    if top >= 0 and left >= 0 and bottom <= height and right <= width:
        return pixels[top:bottom, left:right]
    if top > 0 or left > 0 or bottom < height or right < width:
        return _mirrored_tile(pixels, box, side=side, interpolation=interpolation)
    y0, y1 = _inside(top, bottom, height, side)
    x0, x1 = _inside(left, right, width, side)
    small = Image.fromarray(np.ascontiguousarray(pixels)).resize((x1 - x0, y1 - y0), RESAMPLING[interpolation])
    padded: NDArray[np.uint8] = np.pad(np.asarray(small), ((y0, side - y1), (x0, side - x1), (0, 0)), mode="symmetric")
    return padded


def _mirrored_tile(pixels: NDArray[np.uint8], box: Box, *, side: int, interpolation: str) -> NDArray[np.uint8]:
    """Square of a tile that reaches beyond the frame, or lies beyond it."""
    rows, columns = _reflected(box[0], box[1], pixels.shape[0]), _reflected(box[2], box[3], pixels.shape[1])
    first, last = int(rows.min()), int(rows.max())
    narrow = _squeezed(pixels[first : last + 1], columns, side=side, interpolation=interpolation)
    upright = narrow.transpose(1, 0, 2)
    return np.ascontiguousarray(
        _squeezed(upright, rows - first, side=side, interpolation=interpolation).transpose(1, 0, 2)
    )


def _reflected(begin: int, end: int, length: int) -> NDArray[np.int64]:
    """Pixel of a side of the frame that is shown at each place from begin to end, mirrored beyond both ends."""
    places = np.arange(begin, end) % (2 * length)
    return np.where(places < length, places, 2 * length - 1 - places)


def _squeezed(
    pixels: NDArray[np.uint8], columns: NDArray[np.int64], *, side: int, interpolation: str
) -> NDArray[np.uint8]:
    """Some columns of a picture, brought to ``side`` of them; Pillow, too, does one axis after the other."""
    found = np.empty((len(pixels), side, 3), np.uint8)
    step = max(1, _MIRRORED_PIXELS // len(columns))
    for start in range(0, len(pixels), step):
        rows = np.ascontiguousarray(pixels[start : start + step][:, columns])
        small = Image.fromarray(rows).resize((side, len(rows)), RESAMPLING[interpolation])
        found[start : start + step] = np.asarray(small)
    return found


def _inside(begin: int, end: int, length: int, side: int) -> tuple[int, int]:
    """First and last pixel of a square's side that show the frame: at least one."""
    first = round((max(begin, 0) - begin) * side / (end - begin))
    first = min(first, side - 1)
    return first, max(first + 1, round((min(end, length) - begin) * side / (end - begin)))


def as_seen(
    values: NDArray[Any], shape: tuple[int, int], box: Box, size: tuple[int, int], *, fill: float = 0
) -> NDArray[Any]:
    """Values of a map of a frame where the network sees them, without blending any.

    Parameters
    ----------
    values
        Shape ``(height, width)``: covers the frame at any resolution.
    shape
        Height and width of the frame in pixels.
    box
        From `seen_box`.
    size
        Height and width of what is returned; it covers the box.
    fill
        Value beyond the frame.

    Returns
    -------
    seen
        Of that size, same dtype: at every place the value that lies at its centre.

    Raises
    ------
    ArrayContractError
        If the values are no such array, or empty.
    """
    values = checked_array("values", values, "(height, width)", least=1)
    rows = _places(values.shape[0], shape[0], box[0], box[1], size[0])
    columns = _places(values.shape[1], shape[1], box[2], box[3], size[1])
    return _taken(values, rows, columns, fill)


def seen_values(
    values: NDArray[Any], shape: tuple[int, int], box: Box, grid: tuple[int, int], *, fill: float = 0
) -> NDArray[Any]:
    """Part of a map of a frame that a network sees, fine enough that borders lie where they belong on its patch grid.

    Parameters
    ----------
    values, shape, box, fill
        As `as_seen` takes them.
    grid
        Height and width of the patch grid.

    Returns
    -------
    seen
        Two-dimensional, same dtype: of the map's own resolution, or eight values a patch each way where that is more.

    Raises
    ------
    ArrayContractError
        As `as_seen`.
    """
    values = checked_array("values", values, "(height, width)", least=1)
    top, bottom, left, right = box
    height = max(round(values.shape[0] * (bottom - top) / shape[0]), _FINE * grid[0])
    width = max(round(values.shape[1] * (right - left) / shape[1]), _FINE * grid[1])
    return as_seen(values, shape, box, (height, width), fill=fill)


def any_as_seen(values: NDArray[Any], shape: tuple[int, int], box: Box, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Where a network sees anything that a mask of a frame marks: a speck of one pixel is not lost.

    Parameters
    ----------
    values, shape, box, size
        As `as_seen` takes them.

    Returns
    -------
    marked
        Of that size: whether any pixel of the place's area is not 0.

    Raises
    ------
    ArrayContractError
        As `as_seen`.
    """
    values = checked_array("values", values, "(height, width)", least=1)
    marked = _any_along(values != 0, shape[0], box[0], box[1], size[0])
    across: NDArray[np.bool_] = _any_along(marked.T, shape[1], box[2], box[3], size[1]).T
    return across


def over_frame(values: NDArray[Any], shape: tuple[int, int], box: Box) -> NDArray[Any]:
    """Values of a grid of patches as a map that covers the frame: the inverse of `as_seen`.

    Parameters
    ----------
    values
        Shape ``(height, width)``: the grid, which covers the box.
    shape, box
        As `as_seen` takes them.

    Returns
    -------
    map
        Same dtype, two-dimensional, in cells of about the size of a patch; what the network does not see has the least
        value of the grid.

    Raises
    ------
    ArrayContractError
        If the values are no such array, or empty.
    """
    values = checked_array("values", values, "(height, width)", least=1)
    if box == (0, shape[0], 0, shape[1]):
        return values
    tall, wide = box[1] - box[0], box[3] - box[2]
    size = max(1, round(values.shape[0] * shape[0] / tall)), max(1, round(values.shape[1] * shape[1] / wide))
    rows = _places(values.shape[0], tall, -box[0], shape[0] - box[0], size[0])
    columns = _places(values.shape[1], wide, -box[2], shape[1] - box[2], size[1])
    return _taken(values, rows, columns, values.min())


def _places(n_values: int, length: int, begin: int, end: int, size: int) -> NDArray[np.int64]:
    """Which of the values along a length lies at the centre of each of ``size`` parts from begin to end; -1 is none."""
    centres = (begin + (np.arange(size) + 0.5) * ((end - begin) / size)) * (n_values / length)
    found: NDArray[np.int64] = np.floor(centres).astype(np.int64)
    found[(found < 0) | (found >= n_values)] = -1
    return found


def _taken(values: NDArray[Any], rows: NDArray[np.int64], columns: NDArray[np.int64], fill: Any) -> NDArray[Any]:
    found = values[rows[:, None], columns[None, :]]
    found[(rows < 0)[:, None] | (columns < 0)[None, :]] = fill
    return found


def _any_along(marked: NDArray[np.bool_], length: int, begin: int, end: int, size: int) -> NDArray[np.bool_]:
    """Whether anything is marked in each of ``size`` parts, from begin to end of a length along the first axis."""
    n_values = len(marked)
    edges = (begin + np.arange(size + 1) * ((end - begin) / size)) * (n_values / length)
    first = np.clip(np.floor(edges[:-1] + 1e-9), 0, n_values).astype(int)
    last = np.clip(np.ceil(edges[1:] - 1e-9), first, n_values).astype(int)
    counts = np.concatenate([np.zeros((1, marked.shape[1]), np.int32), np.cumsum(marked, axis=0, dtype=np.int32)])
    found: NDArray[np.bool_] = counts[last] > counts[first]
    return found
