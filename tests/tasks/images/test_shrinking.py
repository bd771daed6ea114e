"""Large pictures that are shrunk are told in numbers, with what helps; others without a word."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.builders import config_of
from PIL import Image

from tasks.images.listing import list_datasets


def notes_of(folder: Path, size: tuple[int, int], **settings: object) -> list[str]:
    """What is told of three pictures of a size, ``(width, height)``."""
    for number in range(3):
        Image.new("L", size, 40 * number).save(folder / f"{number}.png")
    (found,) = list_datasets(folder, config_of(settle_seconds=0, **settings))
    return list(found.notes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "strip").mkdir()
    return tmp_path / "strip"


def test_a_strip_is_told_in_numbers(folder: Path) -> None:
    """8,000 pixels on 256: a defect of 31 pixels is one."""
    (note,) = notes_of(folder, (8000, 2000))
    assert note == (
        "Pictures of 8,000 x 2,000 pixels are shrunk to 256 x 256: 31 times. A defect of less than 32 pixels is less "
        "than one pixel then, and is hardly seen. --tiles 2x8 cuts each into 16 tiles that are shrunk 3.9 times; "
        "embedding then takes 16 times as long, and comparing images up to 256 times."
    )


def test_a_recipe_without_tiles_is_told_of_a_larger_side(folder: Path) -> None:
    """Recipe blind works on whole pictures."""
    (note,) = notes_of(folder, (8000, 2000), recipe="blind")
    assert "--tiles" not in note
    assert note.endswith("--image-size 1024 shrinks them 8 times, and takes about 4 times as long.")


def test_tiles_that_are_asked_for_count(folder: Path) -> None:
    """Tiles that are shrunk up to four times are not told, whichever way they are asked for; larger ones are."""
    assert notes_of(folder, (8000, 2000), tiles="2x8") == []
    assert notes_of(folder, (8000, 2000), tile_size=1000) == []
    for asked in ({"tiles": "1x2"}, {"tile_size": 4000}):
        (note,) = notes_of(folder, (8000, 2000), **asked)
        assert note.startswith("Tiles of pictures of 8,000 x 2,000 pixels are shrunk to 256 x 256: 16 times.")


def test_pictures_that_cannot_be_used_do_not_count(folder: Path) -> None:
    """One that is set aside for its shape is not told, however long it is."""
    Image.new("L", (6000, 100), 90).save(folder / "line.png")
    assert notes_of(folder, (640, 480)) == []


def test_no_more_tiles_are_suggested_than_there_may_be(folder: Path) -> None:
    """Where 128 tiles are not enough for four times, as many as there may be are suggested."""
    (note,) = notes_of(folder, (13000, 13000))
    rows, columns = map(int, re.search(r"--tiles (\d+)x(\d+)", note).groups())
    assert 100 <= rows * columns <= 128


def test_up_to_four_times_is_no_news(folder: Path) -> None:
    """1,024 pixels on 256 are what the published figures are of."""
    assert notes_of(folder, (1024, 700)) == []


def test_the_size_that_is_asked_for_counts(folder: Path) -> None:
    """At 1024 the strip is shrunk 8 times, and two tiles are enough; a picture of 2,000 pixels is fine."""
    (note,) = notes_of(folder, (8000, 2000), **{"embed.image_size": 1024})
    assert "8 times" in note
    assert "--tiles 1x2 cuts each into 2 tiles" in note
    assert notes_of(folder, (2000, 1500), **{"embed.image_size": 1024}) == []


def test_a_turned_picture_counts_as_it_is_seen(folder: Path) -> None:
    """The orientation of a photograph swaps its sides."""
    for number in range(3):
        image = Image.new("L", (4000, 1000), 40 * number)
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(folder / f"{number}.jpg", exif=exif)
    (found,) = list_datasets(folder, config_of(settle_seconds=0))
    assert found.notes[0].startswith("Pictures of 1,000 x 4,000 pixels")


def test_what_cannot_be_read_is_told_elsewhere(folder: Path) -> None:
    """A file that is no picture has no size."""
    (folder / "a.png").write_bytes(b"nothing")
    (found,) = list_datasets(folder, config_of(settle_seconds=0))
    assert found.notes == ()
