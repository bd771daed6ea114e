"""Where tiles lie, how many there are, and which of them each patch of the frame is taken from."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
from helpers.builders import config_of
from hypothesis import given, settings
from hypothesis import strategies as st

from anoclust_core.config.setting import MAX_TILES
from anoclust_core.embedding.tiles import check_tiles, needs_frame, stitched, tile_boxes, tiled_spec
from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.records import EmbeddingSpec
from tasks.stores.stage_keys import settings_key

quick = settings(max_examples=40, deadline=None, database=None)

DEEPER = EmbeddingSpec("b", "b", "w", (4,), 256, "bicubic", (0.5,) * 3, (0.5,) * 3, 3, (8, 8), 2)
ONE = replace(DEEPER, layers=(3,), grid=(16, 16), dim=3, deeper=DEEPER)
"""Of one picture: 16 x 16 patches on the first level, 8 x 8 on the deeper one, as the installed network has them."""

small = st.integers(1, 5)
overlaps = st.sampled_from([0, 32, 64, 96, 128])


def tiled(frame: tuple[int, int] | None = None, **asked: object) -> EmbeddingSpec:
    return tiled_spec(ONE, config_of(**asked).embed, frame)


@quick
@given(small, small, st.integers(40, 900), st.integers(40, 900))
def test_tiles_cover_a_frame_exactly(rows: int, columns: int, height: int, width: int) -> None:
    """Without overlap every pixel of a frame, of any size, lies in exactly one tile."""
    seen = np.zeros((height, width), int)
    boxes = tile_boxes((height, width), ONE.in_tiles((rows, columns)))
    for top, bottom, left, right in boxes:
        seen[top:bottom, left:right] += 1
    assert len(boxes) == rows * columns
    assert (seen == 1).all()


@quick
@given(small, small, overlaps, st.integers(8, 900), st.integers(8, 900))
def test_overlapping_tiles_leave_nothing_out(rows: int, columns: int, overlap: int, height: int, width: int) -> None:
    """With overlap every pixel lies in some tile, however small the frame is, and no tile is empty."""
    seen = np.zeros((height, width), bool)
    for top, bottom, left, right in tile_boxes((height, width), ONE.in_tiles((rows, columns), overlap)):
        assert bottom > top
        assert right > left
        seen[top:bottom, left:right] = True
    assert seen.all()


@quick
@given(small, small, overlaps)
def test_a_patch_comes_from_the_place_that_it_stands_for(rows: int, columns: int, overlap: int) -> None:
    """On both levels a cell of the frame has the patch of its own place, seen by the tile whose centre is nearest."""
    spec = ONE.in_tiles((rows, columns), overlap)
    assert spec.untiled == ONE
    for level, one in zip(spec.levels, ONE.levels, strict=True):
        cell = 256 // one.grid[0]
        boxes = tile_boxes((rows * 256 - (rows - 1) * overlap, columns * 256 - (columns - 1) * overlap), spec)
        y, x = (np.arange(one.grid[0]) + 0.5) * cell, (np.arange(one.grid[1]) + 0.5) * cell
        seen = np.full((len(boxes), *one.grid, level.dim), -1.0)
        for at, (top, _, left, _) in enumerate(boxes):
            seen[at, :, :, 0] = top + y[:, None]
            seen[at, :, :, 1] = left + x[None, :]
        found = stitched(seen.reshape(len(boxes), -1, level.dim), level).reshape(*level.grid, level.dim)
        rows_of, columns_of = ((np.arange(cells) + 0.5) * cell for cells in level.grid)
        expected = np.stack(np.meshgrid(rows_of, columns_of, indexing="ij"), axis=-1)
        np.testing.assert_array_equal(found[:, :, :2], expected)


@quick
@given(st.integers(2, 4), overlaps.filter(bool))
def test_a_patch_is_seen_with_what_surrounds_it(many: int, overlap: int) -> None:
    """No patch at the border of two tiles comes from a tile that sees less than half of the overlap beyond it."""
    spec = ONE.in_tiles((1, many), overlap)
    bags = np.broadcast_to(np.arange(16)[None, None, :, None], (many, 16, 16, 3)).reshape(many, 256, 3)
    column_in_tile = stitched(bags, spec).reshape(*spec.grid, 3)[0, :, 0]
    inner = column_in_tile[8:-8]
    half = overlap // 16 // 2
    assert inner.min() >= half
    assert inner.max() <= 15 - half + 1


def test_bags_of_other_tiles_are_refused() -> None:
    """Three bags are not those of four tiles."""
    with pytest.raises(ArrayContractError, match="frame's tiles"):
        stitched(np.zeros((3, 256, 3)), ONE.in_tiles((2, 2)))


@pytest.mark.parametrize(
    ("asked", "frame", "tiles", "overlap"),
    [
        ({"tiles": "2x3"}, None, (2, 3), 0),
        ({"tiles": "1x1"}, None, None, 0),
        ({"tile_size": 512}, (2000, 8000), (4, 16), 0),
        ({"tile_size": 5000}, (2000, 4000), None, 0),
        ({"tile_size": 500, "overlap": 100}, (900, 1300), (2, 3), 64),
        ({"tiles": "2x2", "overlap": 1}, (1000, 1000), (2, 2), 32),
        ({"tiles": "1x4", "overlap": 60}, (500, 2000), (1, 4), 32),
        ({"tile_size": 512}, None, None, 0),
    ],
)
def test_tiles_that_are_asked_for(
    asked: dict[str, object], frame: tuple[int, int] | None, tiles: tuple[int, int] | None, overlap: int
) -> None:
    """Their number is as asked for, or follows from the frame; the overlap is rounded up to whole patches."""
    spec = tiled(frame, **asked)
    assert (spec.tiles, spec.overlap) == (tiles, overlap)
    assert spec.deeper is not None
    assert (spec.deeper.tiles, spec.deeper.overlap) == (tiles, overlap)
    assert spec.untiled == ONE
    assert (spec == ONE) == (tiles is None)


def test_only_sizes_and_overlaps_ask_for_the_frame() -> None:
    """Plain tiles need no look at the images."""
    assert not needs_frame(config_of(tiles="2x2").embed)
    assert needs_frame(config_of(tile_size=512).embed)
    assert needs_frame(config_of(tiles="2x2", overlap=8).embed)


@pytest.mark.parametrize("text", ["0x3", "3x", "x3", "3", "2x-1", "2x2x2", "1.5x2", "two", "1000x1"])
def test_wrong_tiles(text: str) -> None:
    """What is no number of rows and columns, or far too many, is refused in words."""
    with pytest.raises(ValueError, match=r"ROWSxCOLUMNS|take fewer tiles"):
        config_of(tiles=text)


def test_one_way_to_write_tiles() -> None:
    """``02X3`` is 2x3, and the same run."""
    assert config_of(tiles=" 02X3 ") == config_of(tiles="2x3")
    assert config_of(tiles="none") == config_of()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"tiles": "2x2", "tile_size": 500}, "use one of the two"),
        ({"overlap": 10}, "give --tiles or --tile-size"),
        ({"tile_size": 100, "overlap": 51}, "lower it to 50 or less"),
        ({"recipe": "blind", "tiles": "2x2"}, "recipe blind makes its maps from whole pictures"),
        ({"recipe": "blind", "tile_size": 500}, "recipe blind"),
    ],
)
def test_settings_that_contradict_each_other(asked: dict[str, object], words: str) -> None:
    """They are refused before any image is read, with what to change."""
    with pytest.raises(ConfigError, match=words):
        check_tiles(config_of(**asked))
    check_tiles(config_of(tiles="2x2", overlap=50))


@pytest.mark.parametrize(
    ("asked", "frame", "words"),
    [
        (
            {"tiles": "4x4", "overlap": 400},
            (1000, 1000),
            r"more than half of a tile where 4 x 4 tiles cover 1,000 x 1,000",
        ),
        ({"tile_size": 32}, (1000, 1000), r"into 961 tiles; the limit is 512, and 128 .* --tile-size 87"),
    ],
)
def test_tiles_that_do_not_fit_the_frame(asked: dict[str, object], frame: tuple[int, int], words: str) -> None:
    """What only the size of the frames tells is refused with numbers, and the number that is suggested works."""
    with pytest.raises(ConfigError, match=words) as error:
        tiled(frame, **asked)
    if "tile_size" in asked:
        suggested = int(str(error.value).rpartition(" ")[2])
        assert 100 < tiled(frame, tile_size=suggested).n_tiles <= MAX_TILES


def test_patches_that_cannot_be_shared() -> None:
    """Where patches are no whole pixels of the network's picture, tiles are refused an overlap, not torn apart."""
    odd = replace(ONE, image_size=250)
    with pytest.raises(ConfigError, match="multiple of 64"):
        tiled_spec(odd, config_of(tiles="2x2", overlap=10).embed, (500, 500))
    assert tiled_spec(odd, config_of(tiles="2x2").embed, None).grid == (32, 32)


def test_without_tiles_every_key_is_as_it_was() -> None:
    """Tiles enter the identity of a spec only where there are some, and then every number of them, and the overlap."""
    assert not {"tiles", "overlap"} & ONE.identity.keys()
    config = config_of()
    specs = [ONE, ONE.in_tiles((2, 2)), ONE.in_tiles((1, 4)), ONE.in_tiles((4, 1)), ONE.in_tiles((2, 2), 32)]
    assert len({settings_key(config, spec) for spec in specs}) == len(specs)
    assert len({repr(spec.deeper.identity) for spec in specs if spec.deeper}) == len(specs)
    assert {repr(spec.network_identity) for spec in specs} == {repr(ONE.network_identity)}
    assert asdict(ONE)["tiles"] is None
