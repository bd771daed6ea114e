"""What a night gives a person to do, in one line that is the same wherever it is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from anoclust_core.wording import counted

if TYPE_CHECKING:
    from anoclust_core.reporting.night_record import NightCluster, NightReport

NOTHING: Final = "nothing to do"

MOST_NAMED: Final = 4
"""Things that the line names; of more it says how many."""


@dataclass(frozen=True)
class ToDo:
    """One thing to look at.

    Attributes
    ----------
    kind
        ``camera``, ``new``, ``growing``, ``merged``, ``gone``, ``unknown``, ``rarity`` or ``files``.
    text
        In words, without a full stop.
    cluster
        Cluster that it is about, or None.
    """

    kind: str
    text: str
    cluster: str | None = None


def agenda(report: NightReport) -> list[ToDo]:
    """Things to look at, the most urgent first: the camera, then what is new, what grows, what is gone, the rest."""
    found = [
        ToDo("camera", text if what == "images" else f"the camera, not the product: {text}")
        for what, text in report.camera
    ]
    found += [
        ToDo("new", f"{_named(one)} is new ({counted(one.n_images, report.unit)})", one.cluster)
        for one in report.clusters
        if one.is_new
    ]
    growing = [one for one in report.clusters if one.counts.alarm]
    found += [ToDo("growing", _growth(one), one.cluster) for one in growing if not one.is_ordinary]
    for gone in report.gone:
        name = gone.cluster if gone.name is None else f'{gone.cluster} "{gone.name}"'
        kind, became = ("gone", "is gone") if gone.into is None else ("merged", f"went into {gone.into}")
        found.append(ToDo(kind, f"{name} {became}", gone.cluster))
    if report.unknown.alarm:
        unknown, expected = counted(report.unknown.value, report.unit), _expected(report.unknown.expected)
        found.append(ToDo("unknown", f"{unknown} {_over(report.unknown.over)}belong to no cluster{expected}"))
    if report.rarity is not None and report.rarity.alarm:
        way = "rarer" if report.rarity.tonight > 0 else "more ordinary"
        found.append(ToDo("rarity", f"parts look {way} than before"))
    found += [ToDo("growing", _growth(one), one.cluster) for one in growing if one.is_ordinary]
    if report.quarantine:
        found.append(ToDo("files", f"{counted(len(report.quarantine), 'file')} cannot be used"))
    return found


def first_line(todo: Sequence[ToDo]) -> str:
    """Say in one line what there is to do.

    Examples
    --------
    >>> first_line([])
    'nothing to do'
    >>> first_line([ToDo("new", "c5 is new (14 images)", "c5"), ToDo("gone", "c4 is gone", "c4")])
    '2 things to look at: c5 is new (14 images), c4 is gone'
    """
    if not todo:
        return NOTHING
    named = [one.text for one in todo[:MOST_NAMED]]
    more = len(todo) - len(named)
    return f"{counted(len(todo), 'thing')} to look at: {', '.join(named)}{f', and {more} more' if more else ''}"


def _growth(one: NightCluster) -> str:
    counts = one.counts
    when = _over(counts.over) or ("tonight" if counts.of_night is None else f"in the night of {counts.of_night}")
    figures = f"{counts.value:,.0f} {when}".rstrip() + _expected(counts.expected, sep=", ")
    if one.is_ordinary:
        return f"more ordinary parts than usual: {_named(one)} ({figures})"
    return f"{_named(one)} grows ({figures})"


def _over(nights: int) -> str:
    return f"in the last {nights} nights " if nights > 1 else ""


def _expected(expected: float | None, *, sep: str | None = None) -> str:
    if expected is None:
        return ""
    figure = f"{expected:,.0f}" if expected >= 1 or expected == 0 else f"{expected:.1f}"
    return f"{sep}{figure} expected" if sep else f" ({figure} expected)"


def _named(one: NightCluster) -> str:
    return one.cluster if one.name is None else f'{one.cluster} "{one.name}"'
