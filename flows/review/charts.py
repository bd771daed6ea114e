"""Small charts as numbers for templates to draw: no style and no script, which the page's policy forbids inline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

MOST_NIGHTS: Final = 60
"""Nights of a chart: more bars would be thinner than a pixel in a row."""

LEAST_NIGHTS: Final = 14
"""Nights that a chart has room for at least: a few bars do not fill it, so that charts of several weeks compare."""

HEIGHT: Final = 100.0
"""Height of a chart in its own units; its width is one unit a night."""


@dataclass(frozen=True)
class Bar:
    """One night of a chart: its place from the left in nights, its height from 0 to `HEIGHT`, and what it shows."""

    at: int
    height: float
    count: int
    night: date


@dataclass(frozen=True)
class Chart:
    """Counts by night as bars; days without a night are gaps.

    Attributes
    ----------
    bars
        Of nights with images.
    n_nights
        Width, in days.
    highest
        Count of the highest bar.
    first, last
        Days at the ends.
    unit
        ``image`` or ``part``: what is counted.
    """

    bars: Sequence[Bar]
    n_nights: int
    highest: int
    first: date
    last: date
    unit: str = "image"

    @property
    def told(self) -> str:
        """The same in words."""
        counts = ", ".join(f"{bar.count:,}" for bar in self.bars[-7:])
        days = f"{self.first:%d %b} to {self.last:%d %b}"
        return f"{self.unit}s a night, {days}: at most {self.highest:,}; the last ones {counts}"


def by_night(nights: Sequence[date], counts: Sequence[int], *, unit: str = "image") -> Chart | None:
    """Draw counts of nights; None where there are none.

    Parameters
    ----------
    nights, counts
        One each, in order of the nights; only the last `MOST_NIGHTS` days are drawn.
    unit
        What is counted, ``image`` or ``part``.

    Examples
    --------
    >>> chart = by_night([date(2026, 11, 1), date(2026, 11, 3)], [4, 2])
    >>> [(bar.at, bar.height) for bar in chart.bars], chart.n_nights
    ([(11, 100.0), (13, 50.0)], 14)
    """
    if not nights:
        return None
    first = max(nights[0], nights[-1] - timedelta(days=MOST_NIGHTS - 1))
    shown = [(night, count) for night, count in zip(nights, counts, strict=True) if night >= first]
    highest = max(count for _, count in shown)
    n_nights = max(LEAST_NIGHTS, (nights[-1] - first).days + 1)
    last = n_nights - 1
    bars = [
        Bar(last - (nights[-1] - night).days, HEIGHT * count / (highest or 1), count, night) for night, count in shown
    ]
    return Chart(bars, n_nights, highest, nights[-1] - timedelta(days=last), nights[-1], unit)
