"""What was told against the truth, from records: met, late or missed; false alarms; clusters that were swallowed."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from anoclust_core.synthesis.stream_records import Truth
from benchmarks.mornings.explaining import (
    ABOUT_CAMERA,
    condition_explains,
    drift_answers,
    drift_explained,
    growth_answers,
    growth_explained,
)
from benchmarks.mornings.records import UNKNOWN, File, Night, Record, Told

NEW: Final = "anoclust.cluster.new"
GROWING: Final = "anoclust.cluster.growing"
DRIFT: Final = "anoclust.drift"
CAMERA: Final = "anoclust.camera"
GONE: Final = frozenset({"anoclust.cluster.gone", "anoclust.cluster.merged"})

_IDENTITY: Final = re.compile(r"c\d+")


@dataclass(frozen=True)
class FalseAlarm:
    """Something that was told and that no truth explains."""

    night: int
    event: str
    cluster: str | None
    why: str


@dataclass(frozen=True)
class Swallowed:
    """A cluster that was told as new and whose images went into one of another class, or that went without a word."""

    night: int
    cluster: str
    label: str
    into: str | None


@dataclass
class Score:
    """A record's score.

    Attributes
    ----------
    answered
        First night on which each truth was told, by its place in the record's truths.
    said_camera
        Places of truths that were told in time and in so many words: the camera, not the product.
    false_alarms, swallowed
        What went wrong.
    """

    truths: Sequence[Truth]
    n_nights: int
    answered: dict[int, int] = field(default_factory=dict)
    said_camera: set[int] = field(default_factory=set)
    false_alarms: list[FalseAlarm] = field(default_factory=list)
    swallowed: list[Swallowed] = field(default_factory=list)

    def met(self, at: int) -> bool:
        """Whether a truth was told in time."""
        return at in self.answered and self.answered[at] <= self.truths[at].last

    def missed(self) -> list[Truth]:
        """Truths that were told late or never."""
        return [truth for at, truth in enumerate(self.truths) if truth.must_be_told and not self.met(at)]


def score(record: Record) -> Score:
    """Compare everything that was told with the truth, night by night."""
    scoring = _Scoring(record)
    before: dict[str, str] = {}
    for night, after in record.partitions():
        scoring.take(night, _Clusters(before, scoring.files), _Clusters(after, scoring.files))
        before = after
    return scoring.found


class _Clusters:
    """The clusters after a night, and what they are mostly made of."""

    def __init__(self, partition: Mapping[str, str], files: Mapping[str, File]) -> None:
        self.of, self._files = partition, files
        self.members: dict[str, list[str]] = defaultdict(list)
        for path, cluster in partition.items():
            self.members[cluster].append(path)

    def label(self, cluster: str | None) -> str | None:
        """Class of more than half of a cluster's images, or None."""
        return self.label_of(self.members.get(cluster or "", ()))

    def label_of(self, paths: Iterable[str]) -> str | None:
        """Class of more than half of some images, or None."""
        return most([self._files[path].label for path in paths])

    def marks_of(self, paths: Sequence[str]) -> set[str]:
        """Everything that more than half of some images were made under."""
        counted = Counter(mark for path in paths for mark in self._files[path].marks)
        return {mark for mark, count in counted.items() if 2 * count > len(paths)}

    def owners(self, label: str) -> set[str]:
        """Clusters that are mostly of a class."""
        return {cluster for cluster in self.members if cluster != UNKNOWN and self.label(cluster) == label}

    def where(self, paths: Sequence[str]) -> str | None:
        """Cluster that more than half of some images are in, or None."""
        return most([self.of.get(path, UNKNOWN) for path in paths])


def most(names: Sequence[str]) -> str | None:
    """Name that more than half of the names are, or None."""
    return next((name for name, count in Counter(names).most_common(1) if 2 * count > len(names)), None)


class _Scoring:
    """Goes through the nights of a record."""

    def __init__(self, record: Record) -> None:
        self.files = record.files()
        self.found = Score(record.truths, len(record.nights))
        self._new: dict[str, tuple[str, list[str]]] = {}
        """Class, and images of it, of every cluster that was told as new."""
        self._named: set[str] = set()
        """Clusters that something else was told about: they are gone, merged, ..."""

    def take(self, night: Night, before: _Clusters, after: _Clusters) -> None:
        """Score what was told of a night."""
        for told in night.told:
            if told.event not in {NEW, GROWING}:
                self._named |= set(_identities(told.payload))
        for told in night.told:
            why = self._why_false(told, night, before, after)
            if why is not None:
                name = f"{told.event} {told.payload.get('what', '')}".strip()
                cluster = told.payload.get("cluster")
                self.found.false_alarms.append(FalseAlarm(night.number, name, cluster, why))
        for told in night.told:
            if told.event == NEW:
                cluster = str(told.payload["cluster"])
                paths = _images_of_new(cluster, night, after)
                label = after.label_of(paths)
                if label is not None:
                    self._new[cluster] = (label, [path for path in paths if self.files[path].label == label])
        self._look_for_swallowed(night.number, after)

    def _why_false(self, told: Told, night: Night, before: _Clusters, after: _Clusters) -> str | None:
        """Why nothing explains what was told, or None where it is right; truths that it answers are noted."""
        if told.event == NEW:
            return self._new_cluster(str(told.payload["cluster"]), night, before, after)
        if told.event == GROWING:
            return self._growing(str(told.payload["cluster"]), night, after)
        if told.event in {DRIFT, CAMERA}:
            return self._drift(str(told.payload.get("what", "")), night.number)
        if told.event in GONE:
            return self._gone(told, night.number, before, after)
        return "no truth is told so"

    def _new_cluster(self, cluster: str, when: Night, before: _Clusters, after: _Clusters) -> str | None:
        night, paths = when.number, _images_of_new(cluster, when, after)
        label, marks = after.label_of(paths), after.marks_of(paths)
        others = before.owners(label) - {cluster} if label else set()
        for at, truth in self._truths():
            if truth.kind == "surge" and truth.label == label and truth.begins == night:
                self._answer(at, night)  # a class that had no cluster of its own is new to the person
            if truth.kind in {"new", "design"} and truth.label == label and truth.begins <= night:
                if at not in self.found.answered:
                    self._answer(at, night)
                    return None
                if not others:
                    return None  # what its class had before was swallowed, which is counted as such
        if label is not None and not others:
            return None  # a class of the first night, which had no cluster of its own yet
        if any(condition_explains(truth, marks, night) for _, truth in self._truths()):
            return None
        if label is None:
            return "its images are of several classes"
        return f"{label} has {', '.join(sorted(others))} already"

    def _growing(self, cluster: str, night: Night, after: _Clusters) -> str | None:
        label = after.label(cluster)
        tonight = [path for path in after.members.get(cluster, ()) if path in {file.path for file in night.files}]
        label_tonight, marks = after.label_of(tonight), after.marks_of(tonight)
        is_right = False
        for at, truth in self._truths():
            if growth_answers(truth, label, night.number):
                self._answer(at, night.number)
                is_right = True
            is_right |= any(growth_explained(truth, one, night.number) for one in (label, label_tonight) if one)
            is_right |= condition_explains(truth, marks, night.number)
        return None if is_right else f"nothing grows in a cluster of {label or 'several classes'}"

    def _drift(self, what: str, night: int) -> str | None:
        is_right = False
        for at, truth in self._truths():
            if drift_answers(truth, what, night):
                self._answer(at, night)
                if what in ABOUT_CAMERA and night <= truth.last:
                    self.found.said_camera.add(at)
            is_right |= drift_explained(truth, what, night)
        return None if is_right else "nothing has changed"

    def _gone(self, told: Told, night: int, before: _Clusters, after: _Clusters) -> str | None:
        """A cluster may go if its class has ended, or its images went to a cluster of the same class."""
        cluster = str(told.payload.get("cluster"))
        label = before.label(cluster)
        has_ended = any(
            truth.kind == "ended" and truth.label == label and truth.begins <= night for _, truth in self._truths()
        )
        into = after.where(before.members.get(cluster, []))
        if has_ended or (label is not None and after.label(into) == label):
            return None
        return f"its images are of {label or 'several classes'}, and went to {into or 'several clusters'}"

    def _look_for_swallowed(self, night: int, after: _Clusters) -> None:
        for cluster, (label, paths) in list(self._new.items()):
            into = after.where(paths)
            label_now = after.label(into) if into != UNKNOWN else None
            is_gone = cluster not in after.members
            went_to_others = into != cluster and label_now is not None and label_now != label
            if went_to_others or (is_gone and cluster not in self._named):
                self.found.swallowed.append(Swallowed(night, cluster, label, into))
                del self._new[cluster]
            elif is_gone:
                del self._new[cluster]

    def _truths(self) -> Iterable[tuple[int, Truth]]:
        return enumerate(self.found.truths)

    def _answer(self, at: int, night: int) -> None:
        self.found.answered.setdefault(at, night)


def _images_of_new(cluster: str, night: Night, after: _Clusters) -> Sequence[str]:
    """Images of a cluster that was told as new; those that it was born of, if a re-clustering took them at once."""
    return after.members.get(cluster) or night.born.get(cluster, ())


def _identities(payload: Any) -> Iterable[str]:
    """Clusters that a payload names anywhere."""
    if isinstance(payload, Mapping):
        for value in payload.values():
            yield from _identities(value)
    elif isinstance(payload, str):
        if _IDENTITY.fullmatch(payload):
            yield payload
    elif isinstance(payload, Sequence):
        for value in payload:
            yield from _identities(value)
