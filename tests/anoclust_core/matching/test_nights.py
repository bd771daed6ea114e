from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import pytest
from helpers.partitions import quick
from hypothesis import given
from hypothesis import strategies as st

from anoclust_core.errors import ConfigError
from anoclust_core.matching.night_dates import in_utc, night_begins, night_of, time_in_path, time_in_text, zone_of

BERLIN = zone_of("Europe/Berlin")
zones = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu"]
).map(zone_of)
moments = st.datetimes(datetime(2005, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))
clocks = st.builds(time, st.integers(0, 23), st.sampled_from([0, 15, 30, 59]))


@quick
@given(moments, zones, clocks)
def test_a_moment_is_within_its_night(moment, zone, clock) -> None:
    """It began by then and the next one had not, in every zone, on days on which clocks change too."""
    night = night_of(moment, timezone=zone, day_starts=clock)
    assert night_begins(night, timezone=zone, day_starts=clock) <= moment
    assert moment < night_begins(night + timedelta(days=1), timezone=zone, day_starts=clock)


@quick
@given(st.integers(-120, 120), st.sampled_from([date(2026, 3, 29), date(2026, 10, 25)]), clocks)
def test_later_is_never_an_earlier_night(minutes, change, clock) -> None:
    """Around a change of the clocks nights follow each other, whenever they begin."""
    middle = datetime.combine(change, time(1), UTC) + timedelta(minutes=minutes)
    times = [middle + timedelta(minutes=10 * step) for step in range(12)]
    nights = [night_of(moment, timezone=BERLIN, day_starts=clock) for moment in times]
    assert nights == sorted(nights)


@pytest.mark.parametrize(
    ("night", "hours"), [(date(2026, 3, 28), 23), (date(2026, 10, 24), 25), (date(2026, 11, 20), 24)]
)
def test_length_of_a_night(night: date, hours: int) -> None:
    """A night has 23 or 25 hours where the clocks change in it."""
    begin, end = (night_begins(night + timedelta(days=d), timezone=BERLIN, day_starts=time(6)) for d in (0, 1))
    assert end - begin == timedelta(hours=hours)


def test_early_shift_belongs_to_the_day_before() -> None:
    """With a day that starts at six, 05:59 is still last night; the zone of the moment does not matter."""
    for text, expected in (("05:59:59+01:00", 20), ("06:00:00+01:00", 21), ("05:00:00+00:00", 21)):
        moment = datetime.fromisoformat(f"2026-11-21T{text}")
        assert night_of(moment, timezone=BERLIN, day_starts=time(6)) == date(2026, 11, expected)


def test_a_moment_without_zone_is_refused() -> None:
    """Nobody could tell when it was."""
    for call in (in_utc, lambda moment: night_of(moment, timezone=BERLIN, day_starts=time(6))):
        with pytest.raises(ConfigError, match="time with its zone"):
            call(datetime(2026, 1, 1))


@pytest.mark.parametrize("name", ["Europe/Berlinn", "", "../etc/passwd", "/etc/passwd", "a\0b"])
def test_an_unknown_zone_is_refused(name: str) -> None:
    """The message names one that exists."""
    with pytest.raises(ConfigError, match="no time zone"):
        zone_of(name)


@pytest.mark.parametrize(
    ("path", "pattern", "expected"),
    [
        ("2026-07-01/a.png", "%Y-%m-%d", "2026-07-01T04:00:00"),
        ("line7/cam_20260701T083000.png", "_%Y%m%dT%H%M%S", "2026-07-01T06:30:00"),
        ("2026/07/01/cam 2/0830.png", "%Y/%m/%d/*/%H%M", "2026-07-01T06:30:00"),
        ("2026-07-01/2026-07-02.png", "%Y-%m-%d", "2026-07-02T04:00:00"),
        ("2026-07-01/2026-02-31.png", "%Y-%m-%d", "2026-07-01T04:00:00"),
        ("120260701/a.png", "%Y%m%d", None),
        ("202607011/a.png", "%Y%m%d", None),
        ("a.png", "%Y-%m-%d", None),
        ("100%/2026.07.01.png", "%%/%Y.%m.%d", "2026-07-01T04:00:00"),
        ("2026x07x01.png", "%Y.%m.%d", None),
        ("260701/a_0830.png", "%y%m%d/*_%H%M", "2026-07-01T06:30:00"),
        ("010769.png", "%d%m%y", "1969-07-01T05:00:00"),
        ("010768.png", "%d%m%y", "2068-07-01T04:00:00"),
        ("20260701.png", "%y%m%d", None),
    ],
)
def test_time_in_a_path(path: str, pattern: str, expected: str | None) -> None:
    """A path is read like a clock on the wall there; a day alone is the beginning of its night."""
    found = time_in_path(path, pattern, timezone=BERLIN, day_starts=time(6))
    assert (found and f"{found:%Y-%m-%dT%H:%M:%S}") == expected


@pytest.mark.parametrize("pattern", ["", "%Y", "%Y-%m-%d-%d", "%Y-%y-%m-%d", "%Y-%m-%d %Z", "%Y-%m-%d%"])
def test_a_pattern_that_tells_no_day_is_refused(pattern: str) -> None:
    """The message shows one that does."""
    with pytest.raises(ConfigError, match="expected a pattern"):
        time_in_path("a", pattern, timezone=UTC, day_starts=time(0))


@pytest.mark.parametrize("text", ["", "0000:00:00 00:00:00", "2026-13-01", "0001-01-01T00:00+14:00"])
def test_a_text_without_a_time_tells_nothing(text: str) -> None:
    """No error: the next source is asked."""
    assert time_in_text(text, timezone=BERLIN, day_starts=time(6)) is None


@pytest.mark.parametrize("text", ["2026-11-20", "2026:11:20", " 20261120 "])
def test_a_text_without_a_clock_is_the_night_of_that_day(text: str) -> None:
    """As for paths: midnight would be of the night before."""
    found = time_in_text(text, timezone=BERLIN, day_starts=time(6))
    assert found == night_begins(date(2026, 11, 20), timezone=BERLIN, day_starts=time(6))
    assert night_of(found, timezone=BERLIN, day_starts=time(6)) == date(2026, 11, 20)
    midnight = time_in_text("2026-11-20 00:00", timezone=BERLIN, day_starts=time(6))
    assert night_of(midnight, timezone=BERLIN, day_starts=time(6)) == date(2026, 11, 19)
