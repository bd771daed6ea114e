"""What a picture's header tells of how it is stored."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from helpers.deep_files import chunk, pillow, png, written
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from anoclust_core.embedding.deep_images import turned
from tasks.images.anomaly_maps import laid_like
from tasks.images.decoding import decode_image, decode_samples
from tasks.images.headers import Geometry, geometry_of

ORIENTATION = 0x0112
GREY = np.arange(16 * 40, dtype=np.uint16).reshape(16, 40)
COLOURS = np.stack([GREY % 256] * 3, axis=2).astype(np.uint8)


def tagged(values: NDArray[Any], orientation: int, **options: Any) -> bytes:
    """A TIFF that says how it is seen."""
    return written(values, extratags=[(ORIENTATION, 3, 1, orientation, True)], **options)


TIFFS: dict[str, Callable[[int], bytes]] = {
    "8 bits": lambda orientation: pillow(Image.fromarray(COLOURS), tiffinfo={ORIENTATION: orientation}),
    "LZW": lambda orientation: pillow(
        Image.fromarray(COLOURS), tiffinfo={ORIENTATION: orientation}, compression="tiff_lzw"
    ),
    "16 bits": lambda orientation: tagged(GREY, orientation),
    "half precision": lambda orientation: tagged(GREY.astype(np.float16), orientation),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", TIFFS)
def test_geometry_of_a_tiff_is_that_of_its_pixels(tmp_path: Path, kind: str, orientation: int) -> None:
    """However the camera was held: the stored shape is the file's, the upright one the decoded picture's."""
    file = tmp_path / "a.tif"
    file.write_bytes(TIFFS[kind](orientation))
    with tifffile.TiffFile(file) as opened:
        stored = opened.pages.first.imagelength, opened.pages.first.imagewidth
    geometry = geometry_of(file)
    assert geometry == Geometry(stored, orientation)
    assert geometry.upright == decode_image(file.read_bytes()).shape[:2]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("kind", TIFFS)
def test_maps_and_masks_lie_on_a_turned_tiff(tmp_path: Path, kind: str, orientation: int) -> None:
    """Made of the stored pixels they are turned with them; made of the picture as it is seen they stay."""
    file = tmp_path / "a.tif"
    file.write_bytes(TIFFS[kind](orientation))
    seen = decode_samples(file.read_bytes())
    values = seen if seen.ndim == 2 else seen[:, :, 0]
    stored = (GREY % 256).astype(np.uint8) if kind in ("8 bits", "LZW") else GREY
    np.testing.assert_array_equal(laid_like(stored, str(file), "the map"), values)
    np.testing.assert_array_equal(laid_like(turned(stored, orientation), str(file), "the map"), values)


EXIF = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # nothing but orientation 6
PROFILE = f"\nexif\n{len(EXIF) + 6}\n{(b'Exif' + bytes(2) + EXIF).hex()}\n".encode()
XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
ORIENTED = {
    "eXIf": chunk(b"eXIf", EXIF),
    "raw profile": chunk(b"tEXt", b"Raw profile type exif\0" + PROFILE),
    "packed raw profile": chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(PROFILE)),
    "XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
}


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An entry for every PNG that Pillow decodes."""
    found: list[str] = []
    load = PngImagePlugin.PngImageFile.load

    def counted(self: PngImagePlugin.PngImageFile) -> object:
        found.append(self.mode)
        return load(self)

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", counted)
    return found


@pytest.mark.parametrize(
    "values", [COLOURS, COLOURS[:, :, 0], COLOURS.astype(np.uint16) * 257], ids=["colours", "grey", "deep"]
)
def test_geometry_of_a_png_decodes_nothing(tmp_path: Path, loads: list[str], values: NDArray[Any]) -> None:
    """However large the picture is: only the heads of its chunks are read, with a text among them too."""
    data = png(values, bits=8 * values.dtype.itemsize, extra=chunk(b"tEXt", b"Software\0camera"))
    (tmp_path / "a.png").write_bytes(data)
    assert geometry_of(tmp_path / "a.png") == Geometry((16, 40))
    (tmp_path / "a.png").write_bytes(data[:-20])  # cut off: decoding will say so
    assert geometry_of(tmp_path / "a.png") == Geometry((16, 40))
    assert loads == []


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("place", ["before", "behind"])
@pytest.mark.parametrize("kind", ORIENTED)
def test_orientation_of_a_png_is_found_wherever_it_stands(tmp_path: Path, kind: str, place: str, bits: int) -> None:
    """Before the picture's data or behind them; the picture is decoded the same way round."""
    values = COLOURS.astype(np.uint16) * 257 if bits == 16 else COLOURS
    data = png(values, bits=bits, extra=ORIENTED[kind] if place == "before" else b"")
    if place == "behind":
        data = data[:-12] + ORIENTED[kind] + data[-12:]  # IEND has twelve bytes
    (tmp_path / "a.png").write_bytes(data)
    assert geometry_of(tmp_path / "a.png") == Geometry((16, 40), 6)
    assert decode_image(data).shape == (40, 16, 3)


def test_orientation_in_a_png_of_many_pieces(tmp_path: Path, loads: list[str]) -> None:
    """EXIF before many chunks of data is found without decoding them; the picture is whole afterwards."""
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    (tmp_path / "a.png").write_bytes(pillow(Image.fromarray(noise), "PNG", exif=exif))
    assert geometry_of(tmp_path / "a.png") == Geometry((300, 400), 3)
    assert loads == []
    np.testing.assert_array_equal(decode_image((tmp_path / "a.png").read_bytes()), noise[::-1, ::-1])
