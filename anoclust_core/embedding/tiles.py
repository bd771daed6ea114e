"""Large frames are cut into tiles: how many, where each lies, and how their patches make up the grid of the frame."""

from __future__ import annotations

from math import ceil, gcd, prod

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import checked_array
from anoclust_core.config import EmbedConfig, RunConfig
from anoclust_core.config.setting import MAX_TILES, MOST_TILES
from anoclust_core.embedding.resizing import Box, seen_box
from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.records import EmbeddingSpec


def check_tiles(config: RunConfig) -> None:
    """Refuse settings of tiles that contradict each other or the recipe.

    Raises
    ------
    ConfigError
        If they do.
    """
    asked = config.embed
    if asked.tiles and asked.tile_size:
        raise ConfigError("--tiles and --tile-size both say how frames are cut; use one of the two")
    if asked.overlap and not asked.has_tiles:
        raise ConfigError("--overlap is that of tiles; give --tiles or --tile-size too, or omit it")
    if asked.tile_size and 2 * asked.overlap > asked.tile_size:
        raise ConfigError(
            f"--overlap {asked.overlap} is more than half of --tile-size {asked.tile_size}; lower it to "
            f"{asked.tile_size // 2} or less"
        )
    if asked.resize != "squash" and (asked.overlap or asked.tile_size):
        flag = "--overlap" if asked.overlap else "--tile-size"
        raise ConfigError(
            f"--resize {asked.resize} cuts frames into squares, whose size follows from --tiles alone; give --tiles "
            f"and omit {flag}, or omit --resize"
        )
    compares_all = config.pair.aligned is False and config.pair.reference_patches == "all"
    if compares_all and asked.rows_and_columns and prod(asked.rows_and_columns) > MAX_TILES:
        raise ConfigError(
            f"--tiles {asked.tiles} are {prod(asked.rows_and_columns)} tiles; with --aligned false and "
            f"--reference-patches all the limit is {MAX_TILES}, because comparing two images takes the square of their "
            "number; take fewer tiles, or omit --reference-patches"
        )
    if config.recipe == "blind" and config.pair.aligned:
        raise ConfigError("recipe blind compares no images; omit --aligned, or use another recipe")
    if config.recipe == "blind" and asked.has_tiles:
        raise ConfigError(
            "recipe blind makes its maps from whole pictures; omit --tiles and --tile-size, or use another recipe"
        )


def needs_frame(asked: EmbedConfig) -> bool:
    """Whether a category's largest frame decides how its frames are cut."""
    return asked.tile_size is not None or bool(asked.tiles and asked.overlap)


def tiled_spec(spec: EmbeddingSpec, asked: EmbedConfig, frame: tuple[int, int] | None) -> EmbeddingSpec:
    """Spec of frames that are cut as it is asked for; where one tile is all, that of whole pictures.

    The overlap is brought to whole cells of the patch grid on every level, rounded up: only then is a place of the
    frame one patch, whichever tile it is taken from.

    Parameters
    ----------
    spec
        Of whole pictures, or of other tiles.
    asked
        Tiles, or their size, and their overlap.
    frame
        Height and width of the category's largest frame in pixels; None where it is not known: then only tiles whose
        number is asked for, and that do not overlap, can be had.

    Raises
    ------
    ConfigError
        If there would be too many tiles, or the overlap is more than half a tile, or the network's patches and its
        input do not let tiles overlap.
    """
    spec = spec.untiled
    tiles = asked.rows_and_columns
    if needs_frame(asked):
        if frame is None:
            return spec
        tiles = tiles or _tiles_of_size(frame, asked)
    if tiles in (None, (1, 1)):
        return spec
    return spec.in_tiles(tiles, _shared_pixels(spec, tiles, frame, asked.overlap) if frame and asked.overlap else 0)


def _tiles_of_size(frame: tuple[int, int], asked: EmbedConfig) -> tuple[int, int]:
    """Rows and columns of tiles of about the size that is asked for."""

    def cut(size: int) -> tuple[int, int]:
        rows, columns = (max(1, round((side - asked.overlap) / (size - asked.overlap))) for side in frame)
        return rows, columns

    size = asked.tile_size or max(frame)
    if prod(cut(size)) > MOST_TILES:
        larger = next(one for one in range(size, max(frame) + 1) if prod(cut(one)) <= MAX_TILES)
        raise ConfigError(
            f"--tile-size {size} cuts frames of {frame[1]:,} x {frame[0]:,} pixels into {prod(cut(size)):,} tiles; the "
            f"limit is {MOST_TILES}, and {MAX_TILES} where all patches of two images are compared; try --tile-size "
            f"{larger}"
        )
    return cut(size)


def _shared_pixels(spec: EmbeddingSpec, tiles: tuple[int, int], frame: tuple[int, int], overlap: int) -> int:
    """Pixels of the network's picture that are at least ``overlap`` pixels of the frame, in whole cells."""
    side = spec.image_size
    cells = gcd(*(cells for level in spec.levels for cells in level.grid))
    if side % cells or cells < 2:
        grids = " and ".join(f"{level.grid[0]} x {level.grid[1]}" for level in spec.levels)
        raise ConfigError(
            f"--overlap: at --image-size {side} the patches of {spec.backbone} are {grids}, and tiles cannot overlap "
            "by whole patches; choose an --image-size that is a multiple of 64, or omit --overlap"
        )
    least = 0.0
    for many, length in zip(tiles, frame, strict=True):
        if many > 1:  # tiles of t pixels: many * t - (many - 1) * overlap = length
            least = max(least, overlap * many / (length + (many - 1) * overlap))
    shared = ceil(round(least * cells, 6))
    if 2 * shared > cells:
        raise ConfigError(
            f"--overlap {overlap} is more than half of a tile where {tiles[0]} x {tiles[1]} tiles cover {frame[1]:,} x "
            f"{frame[0]:,} pixels; lower it, or take fewer tiles"
        )
    return shared * side // cells


def tile_boxes(shape: tuple[int, int], spec: EmbeddingSpec) -> list[Box]:
    """Where the tiles of a frame lie, row by row; they cover all that is seen, without overlap each pixel once.

    Parameters
    ----------
    shape
        Height and width of the frame in pixels, whatever the others have: all frames are cut into as many tiles.
    spec
        Rows, columns and overlap, and how a frame is resized.

    Returns
    -------
    boxes
        One a tile, at least one pixel high and wide; where the frame is padded, some reach beyond it.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> tile_boxes((512, 600), SimpleNamespace(tiles=(1, 2), overlap=0, image_size=256, resize="squash"))
    [(0, 512, 0, 300), (0, 512, 300, 600)]
    """
    top, bottom, left, right = seen_box(shape, resize=spec.resize, tiles=spec.tiles)
    rows, columns = (
        [(begin + first, begin + last) for first, last in _spans(end - begin, many, spec.overlap, spec.image_size)]
        for (begin, end), many in zip(((top, bottom), (left, right)), spec.tiles or (1, 1), strict=True)
    )
    return [(top, bottom, left, right) for top, bottom in rows for left, right in columns]


def _spans(length: int, many: int, overlap: int, side: int) -> list[tuple[int, int]]:
    """Begin and end of each tile along one side of a frame."""
    whole = many * side - (many - 1) * overlap
    found = []
    for at in range(many):
        first = at * (side - overlap)
        begin = min(round(length * first / whole), length - 1)
        found.append((begin, max(begin + 1, round(length * (first + side) / whole))))
    return found


def stitched(bags: NDArray[np.floating], spec: EmbeddingSpec) -> NDArray[np.floating]:
    """Bag of a frame from the bags of its tiles: every place of the frame has exactly one patch.

    Where tiles overlap, a cell takes its patch from the tile whose centre is nearest, which has seen most around it;
    between two that are as near, from the upper or left one. So patches at a border are seen with what surrounds them.

    Parameters
    ----------
    bags
        Shape ``(n_tiles, n_tile_patches, dim)``, the tiles row by row as from `tile_boxes`, patches row by row.
    spec
        One level of the frame's spec.

    Returns
    -------
    bag
        Shape ``(n_patches, dim)`` over the frame's grid, row by row; same dtype.

    Raises
    ------
    ArrayContractError
        If the bags are not those of the tiles.
    """
    bags = checked_array("bags", bags, "(n_tiles, n_patches, dim)", least=1)
    height, width = spec.tile_grid
    if bags.shape != (spec.n_tiles, height * width, spec.dim):
        expected = (spec.n_tiles, height * width, spec.dim)
        raise ArrayContractError(f"expected the bags of a frame's tiles, shape {expected}, found {bags.shape}")
    rows, columns = spec.tiles or (1, 1)
    row, y = _owners(spec.grid[0], rows, height)
    column, x = _owners(spec.grid[1], columns, width)
    by_place = bags.reshape(rows, columns, height, width, spec.dim)
    frame: NDArray[np.floating] = by_place[row[:, None], column[None, :], y[:, None], x[None, :]]
    return frame.reshape(spec.n_patches, spec.dim)


def _owners(cells: int, many: int, own: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of every cell along one side of a frame: which tile it is taken from, and where it lies in there."""
    step = (cells - own) // (many - 1) if many > 1 else 0
    begins = np.arange(many) * step
    place = np.arange(cells)
    tile = np.abs(place[:, None] - begins - (own - 1) / 2).argmin(axis=1)
    return tile, place - begins[tile]
