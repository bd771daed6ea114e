from __future__ import annotations

from datetime import UTC, datetime, time
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from anoclust_core.errors import CaptureError, ConfigError
from anoclust_core.matching.night_dates import zone_of
from tasks.stores.catalog.capture import CaptureRule, captured_at, fitting_pattern, parse_rules
from tasks.stores.nights.capture_check import check_capture

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
    assert taken(file, *rules, extra={"shot_at": "2026-07-03"}) == "2026-07-03T04:00:00"
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


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("board/line7_20261120-073000_12.png", "%Y%m%d-%H%M%S"),
        ("board/2026-11-20/cam_073000.png", "%Y-%m-%d/*_%H%M%S"),
        ("board/2026/11/20/7.png", "%Y/%m/%d"),
        ("board/20.11.2026/7.png", "%d.%m.%Y"),
        ("board/20261120073000.png", "%Y%m%d%H%M%S"),
        ("board/0017.png", None),
        ("board/20269999.png", None),
    ],
)
def test_a_pattern_is_found_for_a_path(path: str, pattern: str | None) -> None:
    """Names of usual kinds are read as exactly as they can be."""
    assert fitting_pattern(path) == pattern


def told(new: list[str], *texts: str, known: tuple[str, ...] = ()) -> list[str]:
    """What is told where each new image got its time by a rule, named by its source; ``last`` is the last resort."""
    rules = parse_rules(texts)

    def named(source: str) -> CaptureRule:
        last = source == "last"
        return next(rule for rule in rules if (rule.is_asked, rule.source) == (not last, "file" if last else source))

    paths = [(f"{number}.png", named(source)) for number, source in enumerate(new)]
    return check_capture("board", paths, rules, known=map(named, known))


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("path:%Y%m%d", "write a pattern that fits a part of that path, such as --captured path:%Y-%m-%d"),
        ("column:shot_at", "see that the manifest has times such as 2026-11-20T07:30 in the column shot_at"),
        ("exif", "see why the pictures have no time of their own"),
    ],
)
def test_images_that_do_not_say_when_they_were_taken_are_refused(text: str, advice: str) -> None:
    """No way that was asked for fits any: the message says what to do, and how to go by the files' times after all."""
    with pytest.raises(CaptureError, match=f"--captured {text},file to go by") as refused:
        told(["last", "last"], text)
    assert advice in str(refused.value)
    assert told(["file", "file"], text, "file") == [] or text.startswith("path:")


def test_some_images_that_do_not_fit_are_no_reason_to_refuse() -> None:
    """Another new image, or a file that is known, fits: the pattern is right, and the others are counted."""
    (note,) = told(["path", "last"], "path:%Y%m%d")
    assert "fits 1 of 2 new images" in note
    (note,) = told(["last"], "path:%Y%m%d", known=("last", "path"))
    assert "fits 0 of 1 new images" in note
    assert told(["path", "path"], "path:%Y%m%d") == []
    assert told([], "path:%Y%m%d") == []


def test_a_pattern_that_never_fits_is_told_where_another_way_does() -> None:
    """The nights are as asked for, but the pattern does nothing."""
    (note,) = told(["exif"], "path:%Y%m%d", "exif")
    assert "--captured path:%Y%m%d fits none of 1 new images (first: 0.png)" in note
    assert "their nights were told by exif" in note
    assert told(["exif"], "path:%Y%m%d", "exif", known=("path",)) == []
    assert told(["file"], "file") == []
