"""Nights: which production day a moment belongs to, and the moment that a text names.

A night is named by the date that its production day begins on: with ``day_starts`` 06:00, an image taken at 05:59 on
the 21st belongs to the 20th. All moments have a time zone; what is kept is in UTC.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from anoclust_core.errors import ConfigError

_ONE_DAY: Final = timedelta(days=1)

_NUMBERS: Final = {
    "%Y": r"(?P<Y>\d{4})",
    "%y": r"(?P<y>\d{2})",
    "%m": r"(?P<m>\d{2})",
    "%d": r"(?P<d>\d{2})",
    "%H": r"(?P<H>\d{2})",
    "%M": r"(?P<M>\d{2})",
    "%S": r"(?P<S>\d{2})",
}
"""Numbers in a pattern of a path, in the way of strptime, and what they match."""

_LAST_OF_THIS_CENTURY: Final = 68
"""Years of two digits are 1969 to 2068, as strptime reads them."""

_DIRECTIVES: Final = {**_NUMBERS, "%%": "%", "*": "[^/]*"}


def zone_of(name: str) -> tzinfo:
    """Time zone by its name in the IANA database, such as ``Europe/Berlin`` or ``UTC``.

    Raises
    ------
    ConfigError
        If there is none of that name.
    """
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError) as error:
        raise ConfigError(f"there is no time zone {name!r}; use a name such as Europe/Berlin or UTC") from error


def in_utc(moment: datetime) -> datetime:
    """Give a moment in UTC.

    Raises
    ------
    ConfigError
        If it has no time zone: nobody could tell later when that was.

    Examples
    --------
    >>> in_utc(datetime.fromisoformat("2026-07-01T08:00+02:00")).isoformat()
    '2026-07-01T06:00:00+00:00'
    """
    if moment.utcoffset() is None:
        raise ConfigError(f"expected a time with its zone, found {moment.isoformat()}; add the zone, or use UTC")
    return moment.astimezone(UTC)


def night_begins(night: date, *, timezone: tzinfo, day_starts: time) -> datetime:
    """First moment of a night, in UTC.

    Where clocks are put back and show ``day_starts`` twice, it is the first time; where they skip it, it is as long
    after midnight as on other days.

    Examples
    --------
    >>> night_begins(date(2026, 11, 20), timezone=zone_of("Europe/Berlin"), day_starts=time(6)).isoformat()
    '2026-11-20T05:00:00+00:00'
    """
    return datetime.combine(night, day_starts.replace(fold=0, tzinfo=timezone)).astimezone(UTC)


def night_of(captured_at: datetime, *, timezone: tzinfo, day_starts: time) -> date:
    """Night that a moment belongs to: the last one that began by then.

    Every moment has exactly one, on days of 23 and 25 hours too.

    Parameters
    ----------
    captured_at
        Moment with a time zone, any.
    timezone
        Where the product is made.
    day_starts
        Time of day, there, at which a night begins.

    Raises
    ------
    ConfigError
        If the moment has no time zone.

    Examples
    --------
    >>> taken = datetime.fromisoformat("2026-11-21T05:59:00+01:00")
    >>> night_of(taken, timezone=zone_of("Europe/Berlin"), day_starts=time(6)).isoformat()
    '2026-11-20'
    """
    moment = in_utc(captured_at)
    night = moment.astimezone(timezone).date() + _ONE_DAY
    while night_begins(night, timezone=timezone, day_starts=day_starts) > moment:
        night -= _ONE_DAY
    return night


def check_pattern(pattern: str) -> None:
    """Refuse a pattern that no path could tell a day by.

    Raises
    ------
    ConfigError
        If it has a directive that is not known, one twice, or not a year (``%Y`` or ``%y``), ``%m`` and ``%d``.
    """
    directives = re.findall(r"%.?", pattern.replace("%%", ""))
    unknown = [found for found in directives if found not in _DIRECTIVES]
    twice = len(directives) != len(set(directives))
    years = {"%Y", "%y"} & set(directives)
    if unknown or twice or len(years) != 1 or not {"%m", "%d"} <= set(directives):
        raise ConfigError(
            f"expected a pattern with %Y (or %y, a year of two digits), %m and %d, perhaps %H, %M and %S, each once, "
            f"such as %Y-%m-%d/*_%H%M%S; found {pattern!r}"
        )


def time_in_path(path: str, pattern: str, *, timezone: tzinfo, day_starts: time) -> datetime | None:
    """Moment that a path names by a pattern such as ``%Y-%m-%d/*_%H%M%S``, in UTC; None where it names none.

    The pattern may be found anywhere in the path, the last time counts. ``*`` is any text without a slash. A path that
    names the day only is the first moment of that night.

    Raises
    ------
    ConfigError
        If the pattern is none.

    Examples
    --------
    >>> time_in_path("a/2026-11-20/7.png", "%Y-%m-%d", timezone=UTC, day_starts=time(6)).isoformat()
    '2026-11-20T06:00:00+00:00'
    >>> time_in_path("a/201126_0730.png", "%d%m%y_%H%M", timezone=UTC, day_starts=time(6)).isoformat()
    '2026-11-20T07:30:00+00:00'
    """
    check_pattern(pattern)
    parts = re.split(r"(%.|\*)", pattern)
    expression = "".join(_DIRECTIVES.get(part) or re.escape(part) for part in parts)
    # digits that go on are another number
    before = r"(?<!\d)" if pattern[:2] in _NUMBERS else ""
    after = r"(?!\d)" if pattern[-2:] in _NUMBERS else ""
    matches = list(re.finditer(f"{before}(?={expression}{after})", path))
    for match in reversed(matches):
        number = {name: int(text) for name, text in match.groupdict().items()}
        try:
            day = date(number["Y"] if "Y" in number else _full_year(number["y"]), number["m"], number["d"])
            if "H" not in number:
                return night_begins(day, timezone=timezone, day_starts=day_starts)
            clock = time(number["H"], number.get("M", 0), number.get("S", 0), tzinfo=timezone)
            return datetime.combine(day, clock).astimezone(UTC)
        except (ValueError, OverflowError):
            continue
    return None


def _full_year(two_digits: int) -> int:
    return two_digits + (2000 if two_digits <= _LAST_OF_THIS_CENTURY else 1900)


def time_in_text(text: str, *, timezone: tzinfo, day_starts: time) -> datetime | None:
    """Moment that a text in ISO 8601 or EXIF's form names, in UTC; None where it names none.

    A text that names the day only is the first moment of that night.

    Examples
    --------
    >>> time_in_text("2026:11:20 07:30:00", timezone=zone_of("Europe/Berlin"), day_starts=time(6)).isoformat()
    '2026-11-20T06:30:00+00:00'
    >>> time_in_text("2026-11-20", timezone=UTC, day_starts=time(6)).isoformat()
    '2026-11-20T06:00:00+00:00'
    >>> time_in_text("yesterday", timezone=UTC, day_starts=time(6))
    """
    cleaned = re.sub(r"^(\d{4}):(\d{2}):(\d{2})", r"\1-\2-\3", text.strip().rstrip("\0"))
    with suppress(ValueError, OverflowError):  # it has a clock, or is no time at all
        return night_begins(date.fromisoformat(cleaned), timezone=timezone, day_starts=day_starts)
    try:
        moment = datetime.fromisoformat(cleaned)
        return (moment if moment.utcoffset() is not None else moment.replace(tzinfo=timezone)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
