"""What a picture's header tells of how it is stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from helpers.deep_files import pillow, written
from numpy.typing import NDArray
from PIL import Image

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
