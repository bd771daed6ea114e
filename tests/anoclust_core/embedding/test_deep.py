from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from anoclust_core.embedding.deep_images import (
    ENOUGH_IMAGES,
    Decoding,
    DeepRange,
    Outside,
    asked_range,
    choose_range,
    outside_note,
    outside_range,
    parse_range,
    range_note,
    to_bytes,
    turned,
    widened_range,
)
from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.records import EmbeddingSpec


def noise(seed: int, *, mean: float, sd: float, spot: float = 0.0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    values = mean + sd * draw.normal(size=(256, 256))
    if seed % 2:
        y, x = draw.integers(40, 200, 2)
        values[y : y + 21, x : x + 21] += spot
    return values.round()


@pytest.mark.parametrize(
    ("bits", "mean", "sd", "spot"),
    [
        (12, 1800, 30, 300),
        (12, 1800, 30, 100),
        (12, 1800, 30, -300),
        (10, 450, 8, 25),
        (14, 7200, 120, 400),
        (16, 29000, 500, 1600),
    ],
)
def test_well_exposed_pictures_take_the_range_of_their_sensor(bits, mean, sd, spot):
    """They become what their twins of 8 bits are: the low bits are cut off, and there is room for brighter defects."""
    images = [noise(seed, mean=mean, sd=sd, spot=spot).astype(np.uint16) for seed in range(12)]
    deep = choose_range("uint16", images)
    assert (deep.low, deep.high, deep.n_images) == (0, 2**bits - 1, 12)
    for image in images:
        np.testing.assert_array_equal(to_bytes(image, deep), image >> (bits - 8))


@pytest.mark.parametrize(("mean", "sd", "spot"), [(8000, 30, 100), (300, 3, 10), (-700, 5, 20), (40000, 25, -90)])
def test_pictures_in_a_narrow_part_of_the_range_are_stretched(mean, sd, spot):
    """Noise of a few values keeps at least ten levels, and spots of half of the images are not clipped away."""
    images = [noise(seed, mean=mean, sd=sd, spot=spot) for seed in range(12)]
    deep = choose_range("uint16", images)
    shown = [to_bytes(image, deep) for image in images]
    assert shown[0].std() > 10
    assert all(pixels.min() > 0 and pixels.max() < 255 for pixels in shown)


def test_range_leaves_room_for_defects_that_are_still_to_come():
    """A spot three times as far from the surface as any value of the sample is brighter than any of the sample."""
    images = [noise(seed, mean=8000, sd=30) for seed in range(12)]
    deep = choose_range("uint16", images)
    darkest_new, sample = to_bytes(np.full((1, 1), 8000 + 9 * 30.0), deep)[0, 0], to_bytes(images[0], deep)
    assert darkest_new > sample.max()


def test_hot_pixels_do_not_stretch_the_range():
    """Twenty hot pixels and as many that are no numbers move nothing by more than rounding does."""
    images = [noise(seed, mean=8000, sd=30, spot=100) for seed in range(12)]
    before = choose_range("uint16", images)
    for image in images:
        image[0, :20], image[1, :20] = 65535, np.nan
    after = choose_range("uint16", images)
    assert abs(after.high - before.high) < 0.1 * (before.high - before.low)
    assert abs(after.low - before.low) < 0.1 * (before.high - before.low)


def test_values_of_unit_range_are_bytes_divided():
    """Floating-point numbers from 0 to 1, and whole ones up to 255, come to the bytes that they were."""
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for values in (ramp / 255, ramp.astype(np.float32), ramp.astype(np.int32)):
        np.testing.assert_array_equal(to_bytes(values, choose_range("uint16", [values])), ramp)


def test_one_range_keeps_colours():
    """Grey stays grey and the order of channels stays: all of them share one range."""
    colours = np.dstack([noise(0, mean=mean, sd=30) for mean in (8000, 8200, 8400)])
    shown = to_bytes(colours, choose_range("uint16", [colours])).astype(int)
    assert shown[:, :, 0].mean() < shown[:, :, 1].mean() < shown[:, :, 2].mean()
    grey = np.dstack([colours[:, :, 0]] * 3)
    assert np.ptp(to_bytes(grey, choose_range("uint16", [grey])), axis=2).max() == 0


def test_constant_and_empty_samples():
    """A sample of one value has a range all the same; one without any finite value has none, and says so."""
    deep = choose_range("uint16", [np.full((8, 8), 700.0)])
    assert deep.low < 700 < deep.high
    for nothing in ([], [np.empty((0, 3))], [np.full((4, 4), np.nan)]):
        with pytest.raises(ArrayContractError, match="at least one finite value"):
            choose_range("uint16", nothing)


def test_note_tells_the_range_and_how_well_it_is_founded():
    """The sentence names black, white and the number of images, and says where these are few."""
    assert "(uint16): 0 is black and 4,095 white" in range_note(DeepRange("uint16", 0.0, 4095.0, ENOUGH_IMAGES))
    assert "may be widened" not in range_note(DeepRange("uint16", 0.0, 4095.0, ENOUGH_IMAGES))
    assert "taken from 3 of them" in range_note(DeepRange("uint16", -0.12345, 0.5, 3))
    assert "-0.1235 is black" in range_note(DeepRange("uint16", -0.12345, 0.5, 3))
    few = range_note(DeepRange("uint16", 0.0, 1.0, 1))
    assert "from 1 of them; it may be widened until 50 have been seen, and is kept from then on." in few
    assert "may be widened" not in range_note(DeepRange("uint16", 0.0, 1.0, 1, n_seen=ENOUGH_IMAGES))
    assert range_note(DeepRange("uint16", 10.0, 200.0, 0)).endswith(
        "10 is black and 200 white, as asked for with --range."
    )


@pytest.mark.parametrize(
    ("kind", "asked", "expected"),
    [
        ("uint16", "full", (0, 65535, 0)),
        ("uint14", "full", (0, 16383, 0)),
        ("int16", "full", (-32768, 32767, 0)),
        ("float32", "-0.5:1.5", (-0.5, 1.5, 0)),
        ("uint16", "auto", (0, 4095, 12)),
        ("uint16", "0:4095", (0, 4095, 12)),
    ],
)
def test_range_that_is_asked_for(kind, asked, expected):
    """`full` is all values of the kind of samples, `LOW:HIGH` as given; what it is already changes nothing."""
    found = asked_range(DeepRange(kind, 0.0, 4095.0, 12), asked)
    assert (found.low, found.high, found.n_images) == expected
    assert found.is_frozen == (asked != "auto")


@pytest.mark.parametrize("text", ["", "5", "9:1", "1:1", "0:nan", "0:inf", "a:b", "1:2:3", "0..9"])
def test_what_is_no_range_is_refused(text):
    """A range has two finite numbers in their order; floating-point pictures have no full range."""
    with pytest.raises(ConfigError, match="LOW less than HIGH; found"):
        parse_range(text)
    with pytest.raises(ConfigError, match="no largest value; give --range LOW:HIGH"):
        asked_range(DeepRange("float32", 0.0, 1.0, 3), "full")


def test_range_of_few_images_is_widened_where_more_do_not_fit():
    """New images inside leave the range as it is; brighter ones widen it, and it never becomes narrower."""
    dark = [noise(seed, mean=300, sd=8) for seed in range(5)]
    kept = choose_range("uint16", dark)
    assert widened_range(kept, [*dark, noise(6, mean=310, sd=8)]) is kept
    bright = noise(8, mean=2500, sd=60)
    wider = widened_range(kept, [*dark, bright])
    assert (wider.low, wider.high, wider.n_images) == (0, 4095, 6)
    assert outside_range(bright, kept).share == 1
    assert outside_range(bright, wider).share == 0
    stretched = DeepRange("uint16", 8000.0, 9000.0, 5)
    found = widened_range(stretched, [bright])
    assert (found.low, found.high) == (0, 9000)


def test_share_outside_counts_pixels_not_values():
    """A pixel is outside if one of its channels is; the values at both ends are inside."""
    values = np.full((10, 10, 3), 500, np.uint16)
    values[0, :, 1] = 70
    values[1, :5] = 4001
    found = outside_range(values, DeepRange("uint16", 100.0, 4000.0, 60))
    assert found.share == pytest.approx(0.15)
    assert outside_range(np.array([[100, 4000]], np.uint16), DeepRange("uint16", 100.0, 4000.0, 60)).share == 0
    assert (found.low, found.high) == (70, 4001)


def test_images_outside_are_told_in_numbers():
    """The note has their number, the largest share and where it is, and the values that a new range would have."""
    note = outside_note({"a.tif": Outside(0.2, 900.0, 5000.0), "b.tif": Outside(0.6, 1200.0, 7000.0)}, 9)
    assert note is not None
    assert "2 of 9 images have more than 1 % of their pixels outside of the range, up to 60 % in b.tif" in note
    assert "values from 900 to 7,000" in note
    assert outside_note({}, 9) is None


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_as_exif_says(orientation):
    """Arrays are turned as Pillow turns pictures."""
    from PIL import Image, ImageOps

    values = np.arange(15, dtype=np.uint8).reshape(3, 5)
    image = Image.fromarray(values)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.info["exif"] = exif.tobytes()
    np.testing.assert_array_equal(turned(values, orientation), np.asarray(ImageOps.exif_transpose(image)))


def test_one_network_for_every_range():
    """What is black and white in deep pictures decides embeddings, and not the network that is converted once."""
    deeper = EmbeddingSpec("x", "x", "0", (3,), 256, "bilinear", (0.5,) * 3, (0.5,) * 3, 1, (8, 8), 3)
    plain = replace(deeper, layers=(2,), grid=(16, 16), deeper=deeper)
    deep = [plain.decoded_by(Decoding(1, (DeepRange("uint16", 0, high, 60),))) for high in (1023, 4095)]
    assert plain.network_identity == {**plain.identity, "deeper": deeper.identity}  # converted networks stay
    assert all(spec.identity != plain.identity and spec.network_identity == plain.network_identity for spec in deep)
