"""What became of one night of one category, and how that is told in a line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from anoclust_core.errors import NOTHING_CAME, AnoclustError
from anoclust_core.wording import counted


@dataclass(frozen=True)
class NightOutcome:
    """Outcome of one night of one category.

    Attributes
    ----------
    category, night
        Which one.
    is_new
        False where nothing had to be done; the first call in a night without an image writes its report all the same.
    counters
        ``seen``, ``new``, ``assigned``, ``unknown``, ``new_clusters``, ``pair_products``, ``quarantined``, ``deferred``
        and ``later``, files of later nights, of this call.
    reclustered
        Why everything was re-clustered, or None.
    report
        The night's report, where it has one.
    seconds, work
        What this call took and really computed.
    repairs
        What was damaged and rebuilt.
    error
        Why it failed.
    quarantine
        Path and reason of every file of the night that cannot be used, where the night was new.
    notes
        What is to be told of how the images were found and chosen; of several nights the first one has it.
    is_empty
        Whether nothing came in the night, in earlier calls neither.
    last_came
        Of an empty night, the last night before it in which images came, of the past 30.
    nothing_came
        Of an empty night, why there was not a single file to look at, where there should have been some.
    line
        What there is to do, in one line, where the night has a report.
    unit
        ``image`` or ``part``: what is new, assigned and unknown.
    """

    category: str
    night: date
    is_new: bool = False
    counters: Mapping[str, int] = field(default_factory=dict)
    reclustered: str | None = None
    report: Path | None = None
    seconds: float = 0.0
    work: Mapping[str, int] = field(default_factory=dict)
    repairs: tuple[str, ...] = ()
    error: AnoclustError | None = None
    quarantine: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    is_empty: bool = False
    last_came: date | None = None
    nothing_came: str | None = None
    line: str | None = None
    unit: str = "image"

    @property
    def exit_code(self) -> int:
        """Exit code of a command for this night alone."""
        if self.error is not None:
            return self.error.exit_code
        return NOTHING_CAME if self.nothing_came else 0

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "category": self.category,
            "night": self.night.isoformat(),
            "is_new": self.is_new,
            **self.counters,
            "reclustered": self.reclustered,
            "report": str(self.report) if self.report else None,
            "seconds": self.seconds,
            "work": dict(self.work),
            "line": self.line,
            "repairs": list(self.repairs),
            "notes": list(self.notes),
            "last_came": self.last_came.isoformat() if self.last_came else None,
            "nothing_came": self.nothing_came,
            "error": str(self.error) if self.error else None,
            "exit_code": self.exit_code,
        }


def outcome_line(outcome: NightOutcome) -> str:
    """Category, night and what came of it.

    Examples
    --------
    >>> outcome_line(NightOutcome("board", date(2026, 11, 20), True, {"new": 12, "unknown": 1}, seconds=8.2))
    'board 2026-11-20: 12 new images, 1 unknown, 8 s'
    >>> outcome_line(NightOutcome("board", date(2026, 11, 20), True, {"new": 1}, line="nothing to do"))
    'board 2026-11-20: nothing to do (1 new image, 0 s)'
    >>> outcome_line(NightOutcome("board", date(2026, 11, 21), last_came=date(2026, 11, 20)))
    'board 2026-11-21: nothing new; the last images came in the night of 2026-11-20'
    """
    title = f"{outcome.category} {outcome.night}"
    if outcome.error is not None:
        return f"{title}: failed: {outcome.error}"
    if outcome.nothing_came:
        return f"{title}: no image came: {outcome.nothing_came}"
    if outcome.is_new:
        counters = outcome.counters
        parts = [counted(counters.get("new", 0), f"new {outcome.unit}")]
        if counters.get("unknown"):
            parts.append(f"{counters['unknown']:,} unknown")
        if counters.get("new_clusters"):
            parts.append(counted(counters["new_clusters"], "new cluster"))
        came = f"{', '.join(parts)}, {outcome.seconds:.0f} s"
        return f"{title}: {outcome.line} ({came})" if outcome.line else f"{title}: {came}"
    since = f"; the last images came in the night of {outcome.last_came}" if outcome.last_came else ""
    return f"{title}: nothing new{since}"


def exit_code_of(outcomes: Iterable[NightOutcome]) -> int:
    """Exit code of a command: that of the first failure, or that no image came to a category in any of its nights."""
    by_category: dict[str, list[NightOutcome]] = {}
    for outcome in outcomes:
        by_category.setdefault(outcome.category, []).append(outcome)
    failed = [one.exit_code for nights in by_category.values() for one in nights if one.error is not None]
    if failed:
        return failed[0]
    silent = [nights for nights in by_category.values() if nights[-1].nothing_came and all(n.is_empty for n in nights)]
    return NOTHING_CAME if silent else 0


def all_later(n_later: int, first_later: date) -> str:
    """Why no image came, where all files are of later nights."""
    return (
        f"all files are of later nights ({n_later:,}, the first of {first_later}); check the date that you asked for, "
        "--captured and --timezone"
    )


def none_left(where: str, last_came: date) -> str:
    """Why no image came, where there is no file any more."""
    return f"{where}; the last images came in the night of {last_came}"


def wait_note(n_later: int, first_later: date) -> str:
    """What is told of files of later nights."""
    return f"{counted(n_later, 'file')} left for later nights, the first of {first_later}."
