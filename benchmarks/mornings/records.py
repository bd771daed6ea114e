"""What is kept of a stream that was lived through: enough to score it, and to replay decisions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from anoclust_core.synthesis.stream_records import Truth

VERSION: Final = 2
UNKNOWN: Final = "unknown"
"""Stands for the cluster of an image that has none."""


@dataclass(frozen=True)
class File:
    """A file that was delivered: its path, its class, what it was made under, and whether its bytes were known."""

    path: str
    label: str
    marks: tuple[str, ...] = ()
    is_copy: bool = False


@dataclass(frozen=True)
class Told:
    """An event that was sent."""

    event: str
    payload: Mapping[str, Any]


@dataclass(frozen=True)
class Night:
    """A night and the morning after.

    Attributes
    ----------
    number, date
        Which one; numbers count from 0.
    files
        What was delivered.
    told
        Events that were sent.
    moved
        Cluster of every image that is new or whose cluster is another than the night before, by path.
    counters
        As the catalog has them; ``rarity`` is the median of the night.
    states
        State of every cluster that ever was.
    born
        Paths of images that each cluster was born of between re-clusterings, be it that a re-clustering of the same
        night has taken them away again.
    reclustered
        Why everything was re-clustered, or None.
    seconds
        The night took.
    assigned
        Cluster of every new image that the night gave to one, before any re-clustering of it, with the confidence.
    """

    number: int
    date: str
    files: tuple[File, ...]
    told: tuple[Told, ...]
    moved: Mapping[str, str]
    counters: Mapping[str, float]
    states: Mapping[str, str]
    born: Mapping[str, tuple[str, ...]]
    reclustered: str | None
    seconds: float
    assigned: Mapping[str, tuple[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """A stream that was lived through.

    Attributes
    ----------
    name
        Of the stream.
    truths
        What should be told.
    nights
        In order, also those without images.
    scores
        ARI by name: ``scratch`` of a run over everything, with the number of classes given, to the labels; ``nights``
        of the last partition to the labels; ``agreement`` of the last partition to a run over everything with an
        automatic number of clusters.
    """

    name: str
    truths: tuple[Truth, ...]
    nights: tuple[Night, ...]
    scores: Mapping[str, float]

    def files(self) -> dict[str, File]:
        """Every file by path."""
        return {file.path: file for night in self.nights for file in night.files}

    def partitions(self) -> Iterator[tuple[Night, dict[str, str]]]:
        """Every night with the cluster of every image after it, by path."""
        where: dict[str, str] = {}
        for night in self.nights:
            where = {**where, **night.moved}
            yield night, where


def save(record: Record, path: Path) -> None:
    """Write a record whole: a file that is there is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps({"version": VERSION, **asdict(record)}), encoding="utf-8")
    unfinished.replace(path)


def load(path: Path) -> Record | None:
    """Read a record; None where there is none, or one of another version."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if found["version"] != VERSION:
        return None
    return Record(
        found["name"],
        tuple(Truth(**truth) for truth in found["truths"]),
        tuple(_night(night) for night in found["nights"]),
        found["scores"],
    )


def _night(found: dict[str, Any]) -> Night:
    files = tuple(File(**{**file, "marks": tuple(file["marks"])}) for file in found["files"])
    born = {cluster: tuple(paths) for cluster, paths in found["born"].items()}
    told = tuple(Told(**told) for told in found["told"])
    assigned = {path: (str(one), float(sure)) for path, (one, sure) in found.get("assigned", {}).items()}
    return Night(**{**found, "files": files, "born": born, "told": told, "assigned": assigned})
