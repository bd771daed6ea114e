from __future__ import annotations

import hashlib
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from helpers.deep_files import KINDS, REFUSED, Kind, bmp4, grey_tiff, pillow, png, written
from PIL import Image

from anoclust_core.embedding.deep_images import ENOUGH_IMAGES, Decoding, DeepRange, choose_range
from anoclust_core.errors import StoreError
from anoclust_core.records import ImageRecord
from tasks.images import decoding
from tasks.images.category_decoding import KeptDecoding, read_decoding, read_kept, sampled_range, write_kept
from tasks.images.decoding import (
    DEEP_BYTES_PER_PIXEL,
    UnreadableImageError,
    UnreadNowError,
    decode_image,
    decode_samples,
    pixels_within,
    read_mask,
)
from tasks.images.headers import MENDED, PLAIN, look_at


def of_kind(name: str) -> bytes:
    return next(kind for kind in KINDS if kind.name == name).write(1, True)


def named(kind: Kind) -> str:
    return kind.name


@pytest.mark.parametrize("kind", KINDS, ids=named)
def test_every_kind_looks_like_its_twin_of_8_bits(kind, tmp_path):
    """Whatever holds the values, in the range of twelve such pictures each shows what its twin of 8 bits shows."""
    files = [kind.write(seed, seed % 2 == 1) for seed in range(12)]
    samples = [decode_samples(data) for data in files]
    (tmp_path / "a").write_bytes(files[1])
    deep = [choose_range(look_at(tmp_path / "a"), samples)] if samples[0].dtype != np.uint8 else []
    for seed, data in enumerate(files):
        twin = kind.twin(seed, spot=seed % 2 == 1).astype(int)
        pixels = decode_image(data, deep=deep).astype(int)
        assert pixels.shape == (*twin.shape[:2], 3)
        found = np.abs(pixels - (twin if twin.ndim == 3 else twin[:, :, None])).max()
        assert found <= kind.tolerance


def test_one_frozen_range_shows_every_container_like_its_twin(tmp_path):
    """A range of 50 pictures that is kept shows 12 bits alike in 25 kinds of files and more; others have a reason."""
    images = []
    for seed in range(ENOUGH_IMAGES):
        path = tmp_path / f"{seed}.png"
        path.write_bytes(data := KINDS[0].write(seed, seed % 2 == 1))
        images.append(ImageRecord(path.name, str(path), hashlib.sha256(data).hexdigest(), "cluster"))
    deep = sampled_range("uint16", images, max_pixels=10**6)
    assert deep is not None
    assert deep.is_frozen
    write_kept(tmp_path / "kept.json", KeptDecoding(Decoding(1, (deep,))))
    kept = read_decoding(tmp_path / "kept.json")
    assert kept is not None
    alike = set()
    for kind in KINDS:
        data, twin = kind.write(99, True), kind.twin(99, spot=True)
        (tmp_path / "one").write_bytes(data)
        if look_at(tmp_path / "one") in ("uint16", MENDED) and decode_samples(data).max() < 4096:
            shown = decode_image(data, deep=kept.deep)
            assert np.abs(shown.astype(int) - (twin if twin.ndim == 3 else twin[:, :, None])).max() <= kind.tolerance
            alike.add(kind.name)
    assert len(alike) >= 25
    assert len({kind.name for kind in KINDS} | REFUSED.keys()) >= 75


@pytest.mark.parametrize(("data", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_read_is_refused_with_a_reason(data, reason):
    """A kind that cannot be shown rightly is refused in words, and never becomes black, white or noise."""
    with pytest.raises(UnreadableImageError, match=reason) as caught:
        decode_image(data)
    assert not isinstance(caught.value, UnreadNowError)


@pytest.mark.parametrize("packed", ["jpeg", "lzma"])
def test_a_further_channel_that_only_pillow_can_unpack(packed):
    """Nobody can look whether it holds anything, and the picture is shown as ever."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 4)).astype(np.uint8)
    assert decode_image(pillow(Image.fromarray(noise, "RGBX"), compression=packed)).shape == (64, 64, 3)


def test_any_cut_of_a_deep_picture_is_refused_or_whole():
    """A deep file cut anywhere is refused with a reason, or it was only cut behind its picture."""
    for kind in KINDS:
        data = kind.write(3, True)
        whole = decode_samples(data)
        for length in range(0, len(data), max(1, len(data) // 12)):
            try:
                assert decode_samples(data[:length]).shape == whole.shape
            except UnreadableImageError as error:
                assert str(error)


def test_partly_clear_deep_picture_is_laid_on_white():
    """Half transparent is half white, as in 8 bits; premultiplied colours come to the same."""
    values = np.full((16, 16, 3), 4000, np.uint16)
    values[:8] = (1000, 2000, 3000)
    alpha = np.full((16, 16), 65535, np.uint16)
    alpha[:, 8:] = 32768
    deep = [DeepRange("uint16", 0.0, 4095.0, 1)]
    straight = decode_image(png(np.dstack([values, alpha])), deep=deep)
    assert straight[0, 0].tolist() == [62, 125, 187]
    assert straight[0, 15].tolist() == [158, 190, 221]
    part = (values * (alpha / 65535)[:, :, None]).round().astype(np.uint16)
    stored = written(np.dstack([part, alpha]), photometric="rgb", extrasamples=["assocalpha"])
    assert np.abs(decode_image(stored, deep=deep).astype(int) - straight).max() <= 1


def test_hot_pixels_and_outliers_do_not_darken_the_picture():
    """Single pixels far above all others become white, and the picture is what it was without them."""
    kind = KINDS[0]
    plain = [decode_samples(kind.write(seed, seed % 2 == 1)) for seed in range(12)]
    hot = [values.copy() for values in plain]
    for values in hot:
        values[3, 5] = 65535
    assert choose_range("uint16", hot) == choose_range("uint16", plain) == DeepRange("uint16", 0.0, 4095.0, 12)
    wild = [np.where(values == values.max(), np.float32(1e30), values.astype(np.float32)) for values in plain]
    assert choose_range("float32", wild).high == 4095


def test_memory_of_wide_samples_is_planned():
    """Eight bytes a sample need more memory than three bytes a pixel: what the plan has no room for waits."""
    wide = written(np.random.default_rng(0).normal(size=(300, 300, 3)), photometric="rgb")
    room = 300 * 300
    with pytest.raises(UnreadNowError, match=r"take 11\.0 MiB of memory to decode; there are 1\.1 MiB"):
        decode_image(wide, max_pixels=room)
    decode_image(wide)  # imports what reading takes, before memory is measured
    tracemalloc.start()
    try:
        decode_image(wide, deep=[DeepRange("float64", -3.0, 3.0, 1)])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    fixed = 16 << 20  # blocks that are worked on at a time
    assert peak < room * (2 * 24 + DEEP_BYTES_PER_PIXEL) + fixed


def test_the_limit_of_pixels_is_no_limit_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large picture of wide samples is decoded by whoever gives it enough memory, or asks for no limit of it."""
    wide = written(np.random.default_rng(0).normal(size=(300, 300, 3)), photometric="rgb")
    monkeypatch.setattr(decoding, "MAX_PIXELS", 300 * 300)
    assert decode_image(wide, max_pixels=pixels_within(1 << 30)).shape == (300, 300, 3)
    monkeypatch.setattr(decoding, "_tiff_bytes", lambda _: 1 << 50)
    assert decode_image(wide).shape == decode_samples(wide).shape == (300, 300, 3)
    with pytest.raises(UnreadNowError, match="raise --memory"):
        decode_image(wide, max_pixels=pixels_within(1 << 30))


LOOKS = {
    "deep grey PNG": (png(np.arange(4096, dtype=np.uint16).reshape(64, 64)), "uint16"),
    "deep TIFF": (pillow(np.arange(4096, dtype=np.uint16).reshape(64, 64)), "uint16"),
    "float TIFF": (pillow(np.zeros((64, 64), np.float32)), "float32"),
    "12 bits packed": (grey_tiff(np.arange(4096).reshape(64, 64), 12), "uint12"),
    "colour map of bytes": (of_kind("TIFF, colour map of bytes"), MENDED),
    "colour map of 16 bits": (of_kind("TIFF, colour map of 16 bits"), PLAIN),
    "alpha 0": (bmp4(np.arange(64 * 64, dtype=np.uint8).reshape(64, 64), 0), MENDED),
    "alpha 255": (bmp4(np.arange(64 * 64, dtype=np.uint8).reshape(64, 64), 255), PLAIN),
    "grey PNG": (pillow(np.zeros((64, 64), np.uint8), "PNG"), PLAIN),
    "JPEG": (pillow(np.zeros((64, 64), np.uint8), "JPEG"), PLAIN),
    "text": (b"no picture", PLAIN),
}


@pytest.mark.parametrize(("data", "kind"), LOOKS.values(), ids=LOOKS.keys())
def test_a_look_tells_what_is_not_plain(tmp_path, data, kind):
    """The header tells deep pictures, and those that were shown wrongly once; every other one keeps its keys."""
    (tmp_path / "a").write_bytes(data)
    assert look_at(tmp_path / "a") == kind


def test_range_is_taken_from_contents_not_from_names(tmp_path):
    """A sample of the deep images gives the range: renamed or listed in another order they give the same one."""
    images = []
    for seed in range(90):
        data = KINDS[0].write(seed, seed % 2 == 1)
        path = tmp_path / f"{seed}.png"
        path.write_bytes(data)
        images.append(ImageRecord(path.name, str(path), hashlib.sha256(data).hexdigest(), "cluster"))
    found = sampled_range("uint16", images, max_pixels=10**6)
    assert found == DeepRange("uint16", 0.0, 4095.0, 64)
    assert sampled_range("uint16", images[::-1], max_pixels=10**6) == found
    assert sampled_range("uint16", [], max_pixels=10**6) is None


def test_kept_decoding_is_read_back_and_damage_is_told(tmp_path):
    """What a category keeps is read back as it was; a changed file is told with what to do, never used."""
    path = tmp_path / "decoding" / "part.json"
    assert read_decoding(path) is None
    kept = Decoding(1, (DeepRange("float32", -0.25, 1.5, 7), DeepRange("uint16", 0.0, 4095.0, 20)))
    write_kept(path, KeptDecoding(kept))
    assert read_decoding(path) == kept
    seen = KeptDecoding(Decoding(1, (DeepRange("uint16", 0.0, 4095.0, 20, n_seen=2),)), {"uint16": ("a", "b")})
    write_kept(tmp_path / "few.json", seen)
    assert read_kept(tmp_path / "few.json") == seen
    path.write_text(path.read_text().replace("1.5", "2.5"))
    with pytest.raises(StoreError, match=r"damaged: its checksum does not match.*backup; or delete it"):
        read_decoding(path)
    path.write_text(json.dumps({"version": 1, "deep": []}))
    with pytest.raises(StoreError, match="it has no checksum"):
        read_decoding(path)


def test_deep_mask_is_true_where_it_is_not_0(tmp_path):
    """A mask of 16 bits may be empty, or mark with any value but 0."""
    marked = np.zeros((16, 16), np.uint16)
    Path(tmp_path / "empty.png").write_bytes(png(marked))
    marked[3:5, 4:9] = 1
    Path(tmp_path / "some.png").write_bytes(png(marked))
    assert not read_mask(tmp_path / "empty.png").any()
    np.testing.assert_array_equal(read_mask(tmp_path / "some.png"), marked > 0)


def test_clear_palette_and_premultiplied_picture_show_their_colours():
    """Alpha that is 0 everywhere means nothing in any mode of 8 bits."""
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    stored = written(np.dstack([ramp] * 3 + [0 * ramp]), photometric="rgb", extrasamples=["assocalpha"])
    np.testing.assert_array_equal(decode_image(stored)[:, :, 1], ramp)
    half = Image.fromarray(np.dstack([ramp] * 3 + [np.where(ramp < 128, 0, 255).astype(np.uint8)]), "RGBA")
    assert (decode_image(pillow(half, "PNG"))[:8] == 255).all()
