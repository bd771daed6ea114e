"""What is lost where large pictures are shrunk for the network: told in numbers, before anything is embedded."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Final

import numpy as np

from anoclust_core.config import RunConfig
from anoclust_core.config.setting import MAX_TILES
from anoclust_core.records import ImageRecord
from tasks.images.decoding import MAX_ASPECT, MIN_SIDE
from tasks.images.headers import geometry_of

MOST: Final = 4.0
"""Times that a picture may be shrunk, along either side, without a word."""

_LOOKED_AT: Final = 32
"""Pictures whose headers are read, spread over all."""

_STEP: Final = 32
_LARGEST: Final = 1024
"""Sides that are suggested are multiples of the one, and at most the other."""


def shrinking_note(images: Sequence[ImageRecord], config: RunConfig) -> str | None:
    """Say how far a category's pictures are shrunk, and what helps; None where it is no more than ``MOST`` times.

    Parameters
    ----------
    images
        Of the category; the largest picture among some of them counts, but none of a shape that cannot be used.
    config
        Side that they are embedded at, tiles that they are cut into, and the recipe, which may take no tiles.
    """
    some = np.unique(np.linspace(0, len(images) - 1, min(len(images), _LOOKED_AT)).astype(int)).tolist()
    shapes = [found.upright for at in some if (found := geometry_of(Path(images[at].file))) is not None]
    shapes = [shape for shape in shapes if min(shape) >= MIN_SIDE and max(shape) <= MAX_ASPECT * min(shape)]
    if not shapes:
        return None
    height, width = max(shapes, key=lambda shape: (max(shape), shape))
    longest = longest_side((height, width), config)
    side = config.image_size
    times = longest / side
    if times <= MOST:
        return None
    what = "Tiles of pictures" if config.embed.has_tiles else "Pictures"
    return (
        f"{what} of {width:,} x {height:,} pixels are shrunk to {side} x {side}: {times:.0f} times. A defect of less "
        f"than {ceil(times)} pixels is less than one pixel then, and is hardly seen."
        + (_larger_side(longest, side) if config.recipe == "blind" else _more_tiles(height, width, side))
    )


def longest_side(shape: tuple[int, int], config: RunConfig) -> int:
    """Longest side in pixels of what is shrunk to the network's picture: a picture of a height and width, or a tile."""
    height, width = shape
    rows, columns = config.embed.rows_and_columns or (1, 1)
    if config.embed.resize == "crop":
        return min(ceil(height / rows), ceil(width / columns))
    return min(config.embed.tile_size or max(height, width), max(ceil(height / rows), ceil(width / columns)))


def _larger_side(longest: int, side: int) -> str:
    """What a larger input does, as a recipe without tiles needs it."""
    better = min(_LARGEST, ceil(longest / MOST / _STEP) * _STEP)
    if better <= side:
        return ""
    return (
        f" --image-size {better} shrinks them {longest / better:.0f} times, and takes about {(better / side) ** 2:.0f} "
        "times as long."
    )


def _more_tiles(height: int, width: int, side: int) -> str:
    """What tiles do: as few as shrink a frame no more than ``MOST`` times, or as many as there may be."""
    size = MOST * side
    while ceil(height / size) * ceil(width / size) > MAX_TILES:
        size += side
    rows, columns = ceil(height / size), ceil(width / size)
    n_tiles = rows * columns
    return (
        f" --tiles {rows}x{columns} cuts each into {n_tiles} tiles that are shrunk "
        f"{max(height / rows, width / columns) / side:.1f} times; embedding then takes {n_tiles} times as long, and "
        f"comparing images up to {n_tiles**2:,} times."
    )
