"""What there is to show of one night, before anything is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from anoclust_core.reporting.record import Picture

UNKNOWN: Final = "unknown"
"""Stands for images without a cluster."""


@dataclass(frozen=True)
class NightView:
    """Another view of a part, beside the one that stands for it."""

    path: str
    sha256: str


@dataclass(frozen=True)
class NightImage:
    """One image of the night; ``cluster`` None is unknown.

    Where parts are clustered it stands for its part, whose other views are ``views``. ``is_late`` where it is of an
    earlier night, and came in this one.
    """

    path: str
    sha256: str
    cluster: str | None
    distance: float
    confidence: float
    part: str | None = None
    views: Sequence[NightView] = ()
    is_late: bool = False


@dataclass(frozen=True)
class Comparison:
    """One figure of tonight against the past.

    Attributes
    ----------
    tonight, last_night
        Counts; ``last_night`` None where there was none.
    per_night
        Mean over the nights of the last 30 days that had images; None where there were none.
    limit
        From which on it is an alarm; None where there is no history.
    alarm
        Whether it is.
    value, expected, over
        Figure that the limit is of, what the past lets expect of it, and the last nights that it sums up: 1 is tonight.
    of_night
        Earlier night that the figure is of (ISO 8601), where its images came late; None where it is of tonight.
    """

    tonight: float
    last_night: float | None = None
    per_night: float | None = None
    limit: float | None = None
    alarm: bool = False
    value: float = 0.0
    expected: float | None = None
    over: int = 1
    of_night: str | None = None


@dataclass(frozen=True)
class GoneCluster:
    """A known cluster that tonight's re-clustering joined to another, ``into``, or dissolved; with some of its images.

    ``undo`` is the number of the decision by which it can be brought back.
    """

    cluster: str
    name: str | None
    into: str | None
    undo: int | None
    images: Sequence[NightImage] = ()
    of_into: Sequence[NightImage] = ()


@dataclass(frozen=True)
class NightCluster:
    """One cluster as the report shows it.

    ``is_new`` where it was born tonight, ``is_ordinary`` where it holds good parts. ``severity`` is how rare its images
    are, over that of the ordinary clusters; None where there is nothing to compare with. ``earlier`` are images of
    other nights, where a cluster that is to be looked at has none of tonight.
    """

    cluster: str
    name: str | None
    state: str
    born: date
    is_new: bool
    n_images: int
    counts: Comparison
    images: Sequence[NightImage] = ()
    earlier: Sequence[NightImage] = ()
    severity: float | None = None
    is_ordinary: bool = False


@dataclass(frozen=True)
class NightReport:
    """One night of one category.

    Attributes
    ----------
    category, night, created_at
        Which one, and when the report was made (UTC, ISO 8601).
    counters
        What was counted.
    clusters
        In the order that they are shown, the new ones first.
    unknown
        Counts of images without a cluster.
    unknown_images
        Those that came.
    rarity
        Shift of the median rarity in embedding units, or None where it was not measured.
    pictures
        By sha256; an image without one is listed by name only.
    nights, series
        Nights of the plot, and by cluster the images of each; `UNKNOWN` is one of them.
    reclustered
        Why everything was re-clustered, or None.
    changes
        What that did to clusters.
    quarantine, deferred
        ``(path, reason)`` of files that could not be used, and of those left to the next night.
    notes
        Sentences that a reader must not miss.
    camera
        What has changed about the pictures as such: what it is of, and in words.
    gone
        Known clusters that the re-clustering lost.
    review
        Address of the category's page where people look and decide, or None.
    unit
        ``image`` or ``part``: what is clustered and counted.
    n_tonight, n_late
        Images of this night, by which shares are told; and how many of the new ones are of earlier nights.
    """

    category: str
    night: date
    created_at: str
    counters: Mapping[str, float]
    clusters: Sequence[NightCluster]
    unknown: Comparison
    unknown_images: Sequence[NightImage]
    rarity: Comparison | None
    pictures: Mapping[str, Picture]
    nights: Sequence[date]
    series: Mapping[str, Sequence[int]]
    reclustered: str | None = None
    changes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    quarantine: Sequence[tuple[str, str]] = ()
    deferred: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()
    camera: Sequence[tuple[str, str]] = ()
    gone: Sequence[GoneCluster] = ()
    review: str | None = None
    unit: str = "image"
    n_tonight: int = 0
    n_late: int = 0
