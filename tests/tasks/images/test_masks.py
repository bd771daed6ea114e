"""Masks as pictures: of what is looked at, and of where the defects are; both are read alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.deep_files import bmp4, pillow, png, written
from numpy.typing import NDArray
from PIL import Image

from anoclust_core.errors import DatasetError
from tasks.images.decoding import read_mask
from tasks.images.regions import read_region_file

SQUARE = np.zeros((10, 20), np.bool_)
SQUARE[2:8, 4:12] = True
MARKED = 255 * SQUARE.astype(np.uint8)
ALL = np.full(SQUARE.shape, 255, np.uint8)


def numbered(numbers: NDArray[np.generic], palette: list[int]) -> Image.Image:
    picture = Image.fromarray(numbers.astype(np.uint8), "P")
    picture.putpalette(palette)
    return picture


MASKS: dict[str, bytes] = {
    "grey": pillow(MARKED, "PNG"),
    "TIFF": pillow(MARKED),
    "labels": pillow(SQUARE.astype(np.uint8), "PNG"),
    "16 bits": png(SQUARE.astype(np.uint16)),
    "16 bits of colours": png(np.dstack([0 * ALL, SQUARE, 0 * ALL]).astype(np.uint16)),
    "float": written(SQUARE.astype(np.float64), photometric="minisblack"),
    "one bit": pillow(SQUARE, "PNG"),
    "colour": pillow(np.dstack([0 * ALL, MARKED // 2, 0 * ALL]), "PNG"),
    "palette": pillow(numbered(~SQUARE, [255, 255, 255, 0, 0, 0]), "PNG"),  # the number of a colour is not its colour
    "palette with transparency": pillow(numbered(SQUARE, [9, 9, 9, 255, 0, 0]), "PNG", transparency=0),
    "black that is transparent": pillow(Image.fromarray(MARKED), "PNG", transparency=0),
    "white where it is transparent": pillow(np.dstack([ALL, ALL, ALL, MARKED]), "PNG"),
    "nothing but black where it is transparent": pillow(np.dstack([MARKED] * 4), "PNG"),
    "black and white on nothing transparent": pillow(np.dstack([MARKED, MARKED, MARKED, ALL]), "PNG"),
    "grey with transparency": pillow(Image.fromarray(np.dstack([ALL, MARKED]), "LA"), "PNG"),
    "WebP with transparency": pillow(np.dstack([ALL, ALL, ALL, MARKED]), "WEBP", lossless=True),
    "TIFF with transparency": pillow(np.dstack([ALL, ALL, ALL, MARKED])),
    "16 bits with transparency": png(np.dstack([ALL, ALL, ALL, MARKED]).astype(np.uint16) * 257),
    "BMP whose alpha is 0 everywhere": bmp4(MARKED, 0),
}


@pytest.mark.parametrize("kind", MASKS)
def test_a_mask_marks_what_is_neither_black_nor_transparent(tmp_path: Path, kind: str) -> None:
    """Whatever kind of picture it is, and whether it says what is looked at or where a defect is."""
    path = tmp_path / "mask.png"
    path.write_bytes(MASKS[kind])
    assert np.array_equal(read_region_file(path).mask, SQUARE)
    assert np.array_equal(read_mask(path), SQUARE)


def test_a_mask_in_which_nothing_can_be_seen_marks_nothing(tmp_path: Path) -> None:
    """A picture that is transparent all over has no defect, whatever colour it has below."""
    for colour in (0, 255):
        (tmp_path / "mask.png").write_bytes(pillow(np.dstack([ALL // 255 * colour] * 3 + [0 * ALL]), "PNG"))
        assert not read_mask(tmp_path / "mask.png").any()
        with pytest.raises(DatasetError, match="is black: nothing would be looked at"):
            read_region_file(tmp_path / "mask.png")
