from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers.builders import surface
from PIL import Image, ImageFile

from tasks.images.decoding import UnreadableImageError, UnreadNowError, decode_image, read_image


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def png_of_size(width: int, height: int) -> bytes:
    """Write a PNG header of any size with hardly any data behind it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


RGB = surface(1, "hole")
RAMP = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_keep_every_pixel(kind):
    """PNG, BMP and TIFF give exactly the pixels that were saved."""
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(RGB), kind)), RGB)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_formats_keep_the_picture(kind):
    """JPEG and WebP give RGB bytes close to what was saved."""
    smooth = np.repeat(np.linspace(0, 255, 64, dtype=np.uint8)[None, :, None], 64, axis=0).repeat(3, axis=2)
    pixels = decode_image(encoded(Image.fromarray(smooth), kind, quality=95))
    assert (pixels.shape, pixels.dtype) == ((64, 64, 3), np.uint8)
    assert np.abs(pixels.astype(int) - smooth).mean() < 3


def test_grey_becomes_rgb():
    """An 8-bit grey image has three equal channels with its own values, which are there once."""
    grey = RGB[:, :, 0]
    pixels = decode_image(encoded(Image.fromarray(grey), "PNG"))
    np.testing.assert_array_equal(pixels, np.stack([grey] * 3, axis=2))
    assert np.shares_memory(pixels[:, :, 0], pixels[:, :, 2])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_by_its_full_range(kind):
    """16-bit grey keeps its order of brightness: 0 is black, 65535 white, and nothing is clipped between."""
    pixels = decode_image(encoded(Image.fromarray(RAMP), kind))[:, :, 0]
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert (np.diff(pixels.ravel().astype(int)) >= 0).all()
    assert len(np.unique(pixels)) == 256


def test_float_grey_is_stretched():
    """A float TIFF alone is stretched over what its values span, and half of that on both sides; one value is none."""
    values = np.linspace(-3.0, 7.5, 64 * 64, dtype=np.float32).reshape(64, 64)
    pixels = decode_image(encoded(Image.fromarray(values), "TIFF"))[:, :, 0]
    assert np.abs(pixels[[0, -1], [0, -1]].astype(int) - (64, 192)).max() <= 1
    with pytest.raises(UnreadableImageError, match="shows one single value"):
        decode_image(encoded(Image.fromarray(np.full((16, 16), 0.5, np.float32)), "TIFF"))


def test_transparency_is_laid_on_white():
    """Fully transparent pixels are white whatever colour hides below; opaque ones keep theirs."""
    rgba = np.zeros((16, 16, 4), np.uint8)
    rgba[:8] = (200, 10, 30, 255)
    pixels = decode_image(encoded(Image.fromarray(rgba), "PNG"))
    assert (pixels[:8] == (200, 10, 30)).all()
    assert (pixels[8:] == 255).all()


@pytest.mark.parametrize("mode", ["P", "CMYK", "1", "L", "LA"])
def test_every_colour_mode_becomes_rgb(mode):
    """Palette, CMYK, black-and-white and grey with alpha all give RGB bytes of the picture's size."""
    image = Image.fromarray(RGB).convert(mode)
    pixels = decode_image(encoded(image, "TIFF" if mode == "CMYK" else "PNG"))
    assert (pixels.shape, pixels.dtype) == ((64, 64, 3), np.uint8)
    np.testing.assert_array_equal(pixels, np.asarray(image.convert("RGB")))


def test_exif_orientation_is_applied():
    """A photograph that the camera marked as lying on its side is turned upright."""
    wide = Image.fromarray(np.repeat(np.arange(32, dtype=np.uint8)[None, :] * 8, 16, axis=0))
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = decode_image(encoded(wide.convert("RGB"), "PNG", exif=exif))
    assert pixels.shape == (32, 16, 3)
    assert pixels[0, 0, 0] < pixels[-1, 0, 0]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_of_every_format_is_upright(kind, orientation):
    """Whichever of the eight ways a camera was held, the picture comes out as it was seen."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    seen = Image.fromarray(np.kron(np.arange(6, dtype=np.uint8).reshape(2, 3) * 40, np.ones((16, 16), np.uint8)))
    stored = seen.transpose(undo[orientation]) if orientation > 1 else seen
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}
    pixels = decode_image(encoded(stored.convert("RGB"), kind, exif=exif, **options))
    assert np.abs(pixels.astype(int) - np.asarray(seen.convert("RGB"))).mean() < 2


def test_many_threads_decode_in_silence():
    """Pillow's warnings of odd metadata stay inside, however many threads decode at once, and are back afterwards."""
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\xff\xff\0\0"
    odd = encoded(Image.fromarray(RGB), "JPEG", exif=exif)
    with ThreadPoolExecutor(8) as pool:
        assert all(pixels.shape == RGB.shape for pixels in pool.map(decode_image, [odd] * 200))
    with pytest.raises(UserWarning, match="still heard"):
        warnings.warn("still heard", stacklevel=1)


def animation(kind: str) -> bytes:
    frames = [Image.fromarray(surface(seed)) for seed in range(3)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:])


JPEG = encoded(Image.fromarray(RGB), "JPEG")
BAD = {
    "empty": (b"", "empty"),
    "text named .png": (b"not an image at all\n" * 20, "is not a PNG, JPEG"),
    "truncated JPEG": (JPEG[: len(JPEG) // 2], "damaged"),
    "truncated PNG": (encoded(Image.fromarray(RGB), "PNG")[:500], "damaged"),
    "PNG header only": (encoded(Image.fromarray(RGB), "PNG")[:8], "not a PNG|damaged"),
    "one pixel": (encoded(Image.new("RGB", (1, 1)), "PNG"), "1 x 1 pixels; the shorter side"),
    "a line": (png_of_size(30_000, 1), "30000 x 1 pixels"),
    "too long": (png_of_size(8_000, 8), "longer than wide"),
    "bomb": (png_of_size(60_000, 60_000), "too large|decompression bomb"),
    "bomb within Pillow's own limit": (png_of_size(13_360, 13_360), "the limit is 178,000,000"),
    "animated PNG": (animation("PNG"), "3 frames; save each"),
    "animated WebP": (animation("WEBP"), "3 frames; save each"),
    "pages of a TIFF": (animation("TIFF"), "3 frames; save each"),
    "a GIF named .png": (encoded(Image.fromarray(RGB).convert("P"), "GIF"), "is not a PNG, JPEG"),
    "not finite": (encoded(Image.fromarray(np.full((16, 16), np.nan, np.float32)), "TIFF"), "NaN"),
    "data shorter than the header says": (png_of_size(64, 64), "damaged"),
}


@pytest.mark.parametrize(("data", "reason"), BAD.values(), ids=BAD.keys())
def test_unusable_image_is_refused_with_a_reason(data, reason):
    """A file that cannot be clustered is refused with one line that says why in words."""
    with pytest.raises(UnreadableImageError, match=reason) as caught:
        decode_image(data)
    assert "\n" not in str(caught.value)
    assert "object at 0x" not in str(caught.value)
    assert not isinstance(caught.value, UnreadNowError)


def test_any_cut_of_an_image_is_refused_or_read():
    """A file cut anywhere either gives the whole picture or is refused; nothing else happens."""
    for data in (JPEG, encoded(Image.fromarray(RGB), "PNG"), encoded(Image.fromarray(RGB), "WEBP")):
        for length in range(0, len(data), max(1, len(data) // 60)):
            try:
                assert decode_image(data[:length]).shape == RGB.shape
            except UnreadableImageError as error:
                assert str(error)


def test_expected_content_is_read(tmp_path):
    """A file with the digest that the run stands for is decoded."""
    data = encoded(Image.fromarray(RGB), "PNG")
    (tmp_path / "a.png").write_bytes(data)
    pixels = read_image(tmp_path / "a.png", sha256=hashlib.sha256(data).hexdigest())
    np.testing.assert_array_equal(pixels, RGB)


def test_changed_file_is_for_the_next_run(tmp_path):
    """A file that changed since it was listed is put off to the next run, not taken for damaged."""
    (tmp_path / "a.png").write_bytes(encoded(Image.fromarray(RGB), "PNG"))
    with pytest.raises(UnreadNowError, match="changed while the run was reading it"):
        read_image(tmp_path / "a.png", sha256="0" * 64)


def test_vanished_file_is_for_the_next_run(tmp_path):
    """A file that is gone is put off as well, with the system's reason and without a path of this machine."""
    with pytest.raises(UnreadNowError, match=r"^cannot be read: No such file"):
        read_image(Path(tmp_path / "gone.png"), sha256="0" * 64)


def test_camera_jpeg_with_a_preview_is_read():
    """A camera's JPEG that carries a preview behind the picture (MPO) is the picture."""
    pixels = surface(1)
    picture, preview = Image.fromarray(pixels), Image.fromarray(pixels[::4, ::4])
    data = encoded(picture, "MPO", save_all=True, append_images=[preview])
    assert decode_image(data).shape == (*pixels.shape[:2], 3)


def test_lack_of_memory_is_no_fault_of_the_image(monkeypatch):
    """An image that did not fit into memory is tried again by the next run, not quarantined for good."""
    data = encoded(Image.fromarray(surface(1)), "BMP")

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(UnreadNowError, match="memory"):
        decode_image(data)
