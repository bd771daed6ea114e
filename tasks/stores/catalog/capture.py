"""When an image was taken: from its path, a manifest column, its EXIF data or its file's time, as configured."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from itertools import product
from pathlib import Path
from typing import Final, Literal, NamedTuple

from PIL import ExifTags, Image

from anoclust_core.errors import ConfigError
from anoclust_core.matching.night_dates import check_pattern, time_in_path, time_in_text

Source = Literal["path", "column", "exif", "file"]

_TAKEN: Final = (
    (ExifTags.Base.DateTimeOriginal, ExifTags.Base.OffsetTimeOriginal),
    (ExifTags.Base.DateTimeDigitized, ExifTags.Base.OffsetTimeDigitized),
)
"""EXIF's time of the picture and the zone of it."""

_FIRST_YEAR, _LAST_YEAR = 1800, 9000
"""Years that an image may be of: nights around them can be reckoned with in every time zone."""

_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST: Final = datetime(_LAST_YEAR, 1, 1, tzinfo=UTC) - _NEVER
"""What a file's time is at most: a broken clock may put it where no calendar goes."""

_EXIF_ERRORS: Final = (OSError, SyntaxError, ValueError, LookupError, TypeError, ArithmeticError, EOFError)
"""What Pillow raises on headers that are damaged."""

_USUAL_DAYS: Final = ("%Y-%m-%d", "%Y_%m_%d", "%Y.%m.%d", "%Y/%m/%d", "%Y%m%d", "%d.%m.%Y", "%d-%m-%Y")
_USUAL_CLOCKS: Final = (
    *(f"{between}{clock}" for clock in ("%H%M%S", "%H-%M-%S", "%H_%M_%S", "%H.%M.%S") for between in "_-T ./"),
    "%H%M%S",
    "/*_%H%M%S",
    "",
)
"""Ways in which names usually tell the day and the time of day, the most exact ones first."""

_PLAUSIBLE: Final = range(1990, 2100)
"""Years of pictures: other numbers are no dates."""


@dataclass(frozen=True)
class CaptureRule:
    """One way to tell when an image was taken: where to look, and for what.

    ``detail`` is the pattern of a path, as in `time_in_path`, or the name of a manifest column; empty for the others.
    ``is_asked`` is False for the time of the file where nobody has asked for it: the last resort.
    """

    source: Source
    detail: str = ""
    is_asked: bool = True

    def __str__(self) -> str:
        """As a person writes it."""
        return f"{self.source}:{self.detail}" if self.detail else self.source


class Captured(NamedTuple):
    """When an image was taken, in UTC, and the rule that says so."""

    at: datetime
    rule: CaptureRule


def parse_rules(texts: Sequence[str]) -> tuple[CaptureRule, ...]:
    """Read ways to tell when an image was taken: ``path:%Y-%m-%d``, ``column:shot_at``, ``exif``, ``file``.

    They are tried in that order; the file's time, which every file has, comes last by itself.

    Raises
    ------
    ConfigError
        If one is none of these.

    Examples
    --------
    >>> [rule.source for rule in parse_rules(["column:shot_at", "exif"])]
    ['column', 'exif', 'file']
    """
    try:
        rules = [_parse(text.strip()) for text in texts]
    except ConfigError as error:
        raise ConfigError(f"--captured: {error}") from None
    return tuple(rules) if CaptureRule("file") in rules else (*rules, CaptureRule("file", is_asked=False))


def captured_at(
    path: str,
    file: Path,
    *,
    extra: Mapping[str, str],
    mtime_ns: int,
    rules: Sequence[CaptureRule],
    timezone: tzinfo,
    day_starts: time,
) -> Captured:
    """Moment at which an image was taken: what the first rule says that says anything.

    Parameters
    ----------
    path
        As the user knows it; what patterns look at.
    file
        Where its bytes are; opened for ``exif`` only.
    extra
        Its manifest columns; ISO 8601 or EXIF's form.
    mtime_ns
        When the file was last changed, in nanoseconds since 1970.
    rules
        As in `parse_rules`.
    timezone, day_starts
        For times that name no zone, and paths and texts that name a day only.
    """
    for rule in rules:
        if rule.source == "path":
            found = time_in_path(path, rule.detail, timezone=timezone, day_starts=day_starts)
        elif rule.source == "column":
            found = time_in_text(extra.get(rule.detail, ""), timezone=timezone, day_starts=day_starts)
        elif rule.source == "exif":
            found = _time_in_exif(file, timezone=timezone, day_starts=day_starts)
        else:
            break
        if found is not None and _FIRST_YEAR <= found.year <= _LAST_YEAR:
            return Captured(found, rule)
    last = next((rule for rule in rules if rule.source == "file"), CaptureRule("file", is_asked=False))
    return Captured(_NEVER + min(max(timedelta(microseconds=mtime_ns // 1000), timedelta(0)), _LONGEST), last)


def fitting_pattern(path: str) -> str | None:
    """Pattern of a usual kind that reads a path's day, and its time of day if it can; None where none does.

    Examples
    --------
    >>> fitting_pattern("board/line7_20261120-073000_12.png"), fitting_pattern("board/2026-11-20/7.png")
    ('%Y%m%d-%H%M%S', '%Y-%m-%d')
    >>> fitting_pattern("board/0017.png")
    """
    for clock, day in product(_USUAL_CLOCKS, _USUAL_DAYS):
        found = time_in_path(path, f"{day}{clock}", timezone=UTC, day_starts=time(0))
        if found is not None and found.year in _PLAUSIBLE:
            return f"{day}{clock}"
    return None


def _parse(text: str) -> CaptureRule:
    source, _, detail = text.partition(":")
    if source == "path":
        check_pattern(detail)
        return CaptureRule("path", detail)
    if source == "column" and detail:
        return CaptureRule("column", detail)
    if text == "exif":
        return CaptureRule("exif")
    if text == "file":
        return CaptureRule("file")
    raise ConfigError(
        f"expected path:PATTERN, column:NAME, exif or file as the source of capture times, found {text!r}; for "
        "example, path:%Y-%m-%d reads the day from a folder's name"
    )


def _time_in_exif(file: Path, *, timezone: tzinfo, day_starts: time) -> datetime | None:
    """Time in the header; pixels are not decoded. None where there is none that can be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged headers, too many pixels: neither matters here
            with Image.open(file) as image:
                header = image.getexif()
                tags = header.get_ifd(ExifTags.IFD.Exif)
    except _EXIF_ERRORS:
        return None
    candidates = [(tags.get(when), tags.get(zone)) for when, zone in _TAKEN]
    candidates.append((header.get(ExifTags.Base.DateTime), tags.get(ExifTags.Base.OffsetTime)))
    for when, zone in candidates:
        if isinstance(when, str):
            offset = zone.strip().rstrip("\0") if isinstance(zone, str) else ""
            moment = time_in_text(when.strip().rstrip("\0") + offset, timezone=timezone, day_starts=day_starts)
            if moment is None:
                moment = time_in_text(when, timezone=timezone, day_starts=day_starts)
            if moment is not None:
                return moment
    return None
