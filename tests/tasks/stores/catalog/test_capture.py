from __future__ import annotations

from datetime import UTC, datetime, time
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from anoclust_core.errors import ConfigError
from anoclust_core.matching.night_dates import zone_of
from tasks.stores.catalog.capture import captured_at, parse_rules

BERLIN = zone_of("Europe/Berlin")
FILE_TIME = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def taken(file: Path, *rules: str, path: str = "a.png", extra: dict[str, str] | None = None) -> str:
    found = captured_at(
        path,
        file,
        extra=extra or {},
        mtime_ns=int(FILE_TIME.timestamp()) * 10**9,
        rules=parse_rules(rules),
        timezone=BERLIN,
        day_starts=time(6),
    ).at
    assert found.tzinfo is UTC
    return f"{found:%Y-%m-%dT%H:%M:%S}"


def photograph(path: Path, when: str | None, zone: str | None = None) -> Path:
    exif = Image.Exif()
    tags = exif.get_ifd(ExifTags.IFD.Exif)
    if when is not None:
        tags[ExifTags.Base.DateTimeOriginal] = when
    if zone is not None:
        tags[ExifTags.Base.OffsetTimeOriginal] = zone
    Image.new("RGB", (16, 16)).save(path, exif=exif)
    return path


def test_sources_in_turn(tmp_path: Path) -> None:
    """The first source that says anything counts; the time of the file is the last resort."""
    file = photograph(tmp_path / "a.jpg", "2026:07:01 08:00:00")
    rules = ("path:%Y-%m-%d", "column:shot_at", "exif")
    assert taken(file, *rules, path="2026-07-02/a.jpg") == "2026-07-02T04:00:00"
    assert taken(file, *rules, extra={"shot_at": "2026-07-03T09:00+00:00"}) == "2026-07-03T09:00:00"
    assert taken(file, *rules, extra={"shot_at": "soon"}) == "2026-07-01T06:00:00"
    assert taken(file) == "2026-03-04T05:06:07"
    assert taken(file, "file", "exif") == "2026-03-04T05:06:07"


@pytest.mark.parametrize(
    ("when", "zone", "expected"),
    [
        ("2026:07:01 08:00:00", None, "2026-07-01T06:00:00"),
        ("2026:07:01 08:00:00", "-05:00", "2026-07-01T13:00:00"),
        ("2026:07:01 08:00:00", "local", "2026-07-01T06:00:00"),
        ("0000:00:00 00:00:00", None, "2026-03-04T05:06:07"),
        ("    :  :     :  :  ", None, "2026-03-04T05:06:07"),
        (None, "+01:00", "2026-03-04T05:06:07"),
    ],
)
def test_time_in_a_photograph(tmp_path: Path, when: str | None, zone: str | None, expected: str) -> None:
    """EXIF's time is local unless it names its zone; a camera whose clock was never set tells nothing."""
    assert taken(photograph(tmp_path / "a.jpg", when, zone), "exif") == expected


@pytest.mark.parametrize("content", [b"", b"no image", b"\xff\xd8\xff\xe1\x00\x10Exif\x00\x00MM\x00*\xff\xff\xff\xff"])
def test_a_damaged_header_tells_nothing(tmp_path: Path, content: bytes) -> None:
    """A file that is no image, or is cut off, has the time of the file."""
    file = tmp_path / "a.jpg"
    file.write_bytes(content)
    assert taken(file, "exif") == "2026-03-04T05:06:07"
    assert taken(tmp_path / "missing.jpg", "exif") == "2026-03-04T05:06:07"


@pytest.mark.parametrize("text", ["", "exiv", "column:", "path:", "path:%d", "path:%Y-%m-%d-%q", "file:x"])
def test_a_source_that_is_none_is_refused(text: str) -> None:
    """The message says what there is."""
    with pytest.raises(ConfigError, match="expected"):
        parse_rules([text])
