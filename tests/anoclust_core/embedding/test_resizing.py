from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from anoclust_core.config import RunConfig
from anoclust_core.embedding import resizing
from anoclust_core.embedding.resizing import any_as_seen, as_seen, over_frame, seen_box, square_of
from anoclust_core.embedding.tiles import check_tiles, tile_boxes
from anoclust_core.errors import ConfigError
from anoclust_core.records import EmbeddingSpec

MODES = ("squash", "pad", "crop")
SHAPES = [(64, 256), (256, 64), (100, 100), (75, 131), (480, 37), (33, 1000)]
SPEC = EmbeddingSpec("x", "x", "0", (2,), 256, "bilinear", (0.5,) * 3, (0.5,) * 3, 1, (16, 16), 3)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tiles", [None, (1, 4), (3, 2)])
def test_boxes_hold_or_fill_the_frame(shape, tiles):
    """The padded box is the least that holds the frame, the cropped one the largest inside; their tiles are squares."""
    height, width = shape
    assert seen_box(shape, resize="squash", tiles=tiles) == (0, height, 0, width)
    rows, columns = tiles or (1, 1)
    for resize in ("pad", "crop"):
        top, bottom, left, right = seen_box(shape, resize=resize, tiles=tiles)
        assert (bottom - top) / rows == pytest.approx((right - left) / columns, abs=1)
        assert abs((top + bottom) - height) <= 1
        assert abs((left + right) - width) <= 1
        if resize == "pad":
            assert max(top, left) <= 0
            assert bottom - top >= height
            assert right - left >= width
        else:
            assert min(top, left) >= 0
            assert bottom <= height
            assert right <= width


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tiles", [None, (1, 4), (3, 2)])
@pytest.mark.parametrize("resize", MODES)
def test_tiles_cover_what_is_seen_once(shape, tiles, resize):
    """Whatever the mode, the tiles lie in the box that is seen, side by side."""
    spec = SPEC.resized_by(resize)
    if tiles:
        spec = spec.in_tiles(tiles)
    top, bottom, left, right = spec.seen_box(shape)
    counts = np.zeros((bottom - top, right - left), int)
    for y0, y1, x0, x1 in tile_boxes(shape, spec):
        counts[y0 - top : y1 - top, x0 - left : x1 - left] += 1
    assert (counts == 1).all()


def ramp(shape: tuple[int, int]) -> np.ndarray:
    """Picture whose red says how far down, and whose green how far right a pixel lies."""
    rows, columns = np.indices(shape)
    return np.dstack([255 * rows / shape[0], 255 * columns / shape[1], 0 * rows]).astype(np.uint8)


@pytest.mark.parametrize("shape", [(64, 256), (256, 64), (75, 131)])
def test_a_padded_square_has_the_frame_in_its_middle(shape):
    """The frame keeps its proportions, and what surrounds it is its mirror image: no value that it does not have."""
    box = seen_box(shape, resize="pad")
    square = square_of(ramp(shape), box, side=128, interpolation="bilinear")
    assert square.shape == (128, 128, 3)
    scale = 128 / max(shape)
    top, left = round(-box[0] * scale), round(-box[2] * scale)
    tall, wide = round((shape[0] - box[0]) * scale) - top, round((shape[1] - box[2]) * scale) - left
    inside = square[top : top + tall, left : left + wide].astype(int)
    expected = np.asarray(Image.fromarray(ramp(shape)).resize((inside.shape[1], inside.shape[0]), 2)).astype(int)
    assert np.abs(inside - expected).max() <= 1
    if top:
        np.testing.assert_array_equal(square[top - 1], square[top])
        np.testing.assert_array_equal(square[top - 5], square[top + 4])
    if left:
        np.testing.assert_array_equal(square[:, left - 5], square[:, left + 4])


def test_a_cropped_square_is_the_middle_of_the_frame():
    """Nothing is scaled before the network's own resize, and nothing copied."""
    pixels = ramp((64, 256))
    part = square_of(pixels, seen_box((64, 256), resize="crop"), side=32, interpolation="bilinear")
    np.testing.assert_array_equal(part, pixels[:, 96:160])
    assert np.shares_memory(part, pixels)


@pytest.mark.parametrize(("shape", "tiles"), [((64, 256), (3, 1)), ((100, 400), (4, 4)), ((403, 100), (1, 2))])
@pytest.mark.parametrize("strip", [1 << 20, 500])
def test_tiles_beyond_the_frame_mirror_it(shape, tiles, strip, monkeypatch):
    """They go on where their neighbours end: what they show is cut out of the frame mirrored again and again."""
    monkeypatch.setattr(resizing, "_MIRRORED_PIXELS", strip)
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    spec, n_beyond = SPEC.resized_by("pad").in_tiles(tiles), 0
    top, bottom, left, right = spec.seen_box(shape)
    around = ((-top, bottom - shape[0]), (-left, right - shape[1]), (0, 0))
    mirrored = np.pad(pixels, around, mode="symmetric")
    for y0, y1, x0, x1 in tile_boxes(shape, spec):
        found = square_of(pixels, (y0, y1, x0, x1), side=32, interpolation="bilinear")
        part = mirrored[y0 - top : y1 - top, x0 - left : x1 - left]
        if y0 >= 0 and x0 >= 0 and y1 <= shape[0] and x1 <= shape[1]:
            assert np.shares_memory(found, pixels)
            np.testing.assert_array_equal(found, part)
        elif y0 > 0 or x0 > 0 or y1 < shape[0] or x1 < shape[1]:
            n_beyond += 1
            assert found.std() > 1
            np.testing.assert_array_equal(found, np.asarray(Image.fromarray(part).resize((32, 32), 2)))
    assert n_beyond


def test_keys_of_padded_tiles_alone_are_others():
    """Their pixels changed; those of padded pictures, and of tiles that are not padded, did not."""
    mirrored = SPEC.resized_by("pad").in_tiles((2, 2)).identity.get("mirrored")
    assert mirrored == "the frame"
    for spec in (SPEC, SPEC.resized_by("pad"), SPEC.in_tiles((2, 2)), SPEC.resized_by("crop").in_tiles((2, 2))):
        assert "mirrored" not in spec.identity


@pytest.mark.parametrize("shape", SHAPES)
def test_squashed_values_are_those_that_pillow_takes(shape):
    """Nearest values of a squashed mask are Pillow's, as they were before there were other ways."""
    mask = np.random.default_rng(0).random(shape) < 0.3
    found = as_seen(mask, shape, seen_box(shape, resize="squash"), (64, 64))
    expected = np.asarray(Image.fromarray(mask).resize((64, 64), Image.Resampling.NEAREST))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("resize", MODES)
@pytest.mark.parametrize("tiles", [None, (1, 4), (2, 2)])
@pytest.mark.parametrize("scale", [1, 0.5, 3])
def test_a_map_follows_its_picture(resize, tiles, scale):
    """A spot of a map, at any resolution, is where the network sees the spot of the picture."""
    shape, spot = (128, 512), (slice(32, 64), slice(224, 288))
    pixels = np.zeros((*shape, 3), np.uint8)
    pixels[spot] = 255
    values = np.asarray(Image.fromarray(pixels[:, :, 0]).resize((int(512 * scale), int(128 * scale)), 0))
    spec = SPEC.resized_by(resize)
    spec = spec.in_tiles(tiles) if tiles else spec
    parts = [
        Image.fromarray(square_of(pixels, box, side=64, interpolation="nearest")).resize((64, 64), 0)
        for box in tile_boxes(shape, spec)
    ]
    rows, columns = tiles or (1, 1)
    seen = np.block([[np.asarray(parts[y * columns + x])[:, :, 0] for x in range(columns)] for y in range(rows)])
    found = as_seen(values, shape, spec.seen_box(shape), (64 * rows, 64 * columns))
    mirrored = np.abs(found.astype(int) - seen) > 0
    inside = as_seen(np.ones(shape), shape, spec.seen_box(shape), found.shape) > 0
    assert (found[~inside] == 0).all()
    assert mirrored[inside].mean() < 0.02


@pytest.mark.parametrize("resize", MODES)
@pytest.mark.parametrize("shape", [(128, 512), (512, 128), (100, 173)])
def test_heat_lies_where_the_picture_is(resize, shape):
    """The hottest place of a grid is put over the picture where the network saw it."""
    spec = SPEC.resized_by(resize)
    box = spec.seen_box(shape)
    for row, column in ((0.5, 0.5), (0.4, 0.55), (0.6, 0.45)):
        mask = np.zeros(shape)
        mask[int(row * shape[0]), int(column * shape[1])] = 1
        grid = any_as_seen(mask, shape, box, spec.grid).astype(np.float32)
        assert grid.any()
        heat = over_frame(grid, shape, box)
        hottest = np.argwhere(heat == heat.max()).mean(axis=0) + 0.5
        cells = np.array(heat.shape)
        assert np.abs(hottest / cells - (row, column)).max() < 1.5 / cells.min()


def test_no_speck_is_lost():
    """A single marked pixel of a large frame is marked in the square; one that is cropped away is not."""
    mask = np.zeros((1000, 4000), np.bool_)
    mask[501, 2003] = True
    for resize in MODES:
        assert any_as_seen(mask, mask.shape, seen_box(mask.shape, resize=resize), (64, 64)).sum() == 1
    assert not as_seen(mask, mask.shape, seen_box(mask.shape, resize="squash"), (64, 64)).any()
    edge = np.roll(mask, -1900, axis=1)
    assert not any_as_seen(edge, mask.shape, seen_box(mask.shape, resize="crop"), (64, 64)).any()


def test_keys_of_squashed_pictures_stay():
    """Only another way of resizing enters a key; the network is the same for all."""
    assert "resize" not in SPEC.identity
    assert SPEC.resized_by("pad").identity["resize"] == "pad"
    assert SPEC.resized_by("crop").network_identity == SPEC.network_identity


@pytest.mark.parametrize("others", [{"tile_size": 100}, {"tiles": "1x4", "overlap": 8}])
def test_squares_and_tiles_of_a_size_do_not_go_together(others):
    """What decides the size of a tile twice is refused with what to do."""
    config = RunConfig.model_validate({"embed": {"resize": "pad", **others}})
    with pytest.raises(ConfigError, match=r"--resize pad cuts frames into squares.*omit --(overlap|tile-size)"):
        check_tiles(config)
