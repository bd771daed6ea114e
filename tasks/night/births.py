"""New clusters of a night: images of the last nights that are a kind of their own, and unknown ones that are alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.matching.assigning import member_confidence, member_distances
from anoclust_core.matching.births import NOT_BORN, births
from anoclust_core.matching.identities import id_order
from anoclust_core.matching.keeping import is_apart
from anoclust_core.matching.newcomers import FEWEST_OLDER, find_newcomers
from anoclust_core.matching.news import came_late
from anoclust_core.matching.prototypes import Prototypes, extended
from anoclust_core.seeding import generator
from tasks.stores.catalog.facts import AssignmentFact, assignment_facts

_EVIDENCE: Final = 24
"""Images of a new cluster that its evidence names."""


@dataclass(frozen=True)
class Described:
    """All images that the clusters can be asked about: those of the snapshot, and those described since, by content.

    Attributes
    ----------
    contents
        Rising, each once.
    descriptors, choosing
        A row each, as those of `tasks.stores.nights.measured.Measured`.
    rarity
        Of each image's rarest patch, against the snapshot's reference.
    """

    contents: tuple[str, ...]
    descriptors: NDArray[np.float32]
    choosing: NDArray[np.float32]
    rarity: NDArray[np.float64]

    @classmethod
    def of(cls, *parts: tuple[Sequence[str], NDArray[Any], NDArray[Any] | None, NDArray[Any]]) -> Described:
        """Join contents, descriptors, choosing descriptors and highest rarity of several sets of images."""
        first: dict[str, int] = {}
        for at, content in enumerate(content for part in parts for content in part[0]):
            first.setdefault(content, at)
        contents = tuple(sorted(first))
        order = [first[content] for content in contents]
        descriptors = np.concatenate([part[1] for part in parts])
        choosing = np.concatenate([part[1] if part[2] is None else part[2] for part in parts])
        rarity = np.concatenate([part[3] for part in parts]).astype(np.float64)
        return cls(contents, descriptors[order], choosing[order], rarity[order])

    def without(self, contents: Set[str]) -> Described:
        """The same without some images."""
        return self.of_these(set(self.contents) - contents) if contents else self

    def of_these(self, contents: Set[str]) -> Described:
        """The same of some images only."""
        rows = [row for row, content in enumerate(self.contents) if content in contents]
        kept = tuple(self.contents[row] for row in rows)
        return Described(kept, self.descriptors[rows], self.choosing[rows], self.rarity[rows])

    def rows(self, contents: Sequence[str]) -> list[int]:
        """Rows of some images."""
        at = {content: row for row, content in enumerate(self.contents)}
        return [at[content] for content in contents]


@dataclass(frozen=True)
class Born:
    """Images of a new cluster, by content, and why it was born."""

    contents: tuple[str, ...]
    why: Mapping[str, object] = field(default_factory=dict)

    def evidence(self, snapshot: str) -> dict[str, object]:
        """What is recorded of it."""
        images = list(self.contents[:_EVIDENCE])
        return {"n_images": len(self.contents), "images": images, "snapshot": snapshot, **self.why}


@dataclass(frozen=True)
class Candidates:
    """Images among which new clusters are looked for.

    Attributes
    ----------
    recent
        Images of the last nights, without those of clusters that are new themselves.
    unknown
        Images in no cluster.
    nights
        Night of every image of the last nights; the others are older.
    """

    recent: Set[str]
    unknown: Set[str]
    nights: Mapping[str, date]

    def of_these(self, contents: Set[str]) -> Candidates:
        """Those of some images only; nights stay as they are."""
        return Candidates(self.recent & contents, self.unknown & contents, self.nights)


def born_of(
    described: Described,
    where: Mapping[str, str | None],
    prototypes: Prototypes,
    *,
    candidates: Candidates,
    ordinary: Set[str],
    seed: int,
    units: NDArray[np.int64] | None = None,
) -> list[Born]:
    """Find the new clusters among the images of the last nights, and among all that are unknown.

    What is found among the last nights' images must have come late, as what a re-clustering finds must have: in the
    first nights of a category three images are often of a kind that was there. A burst of one part is no kind: with
    ``units``, one image of each unit is looked at, an older one if there is one, and the others follow it.

    Parameters
    ----------
    described
        All images.
    where
        Cluster of every image, None where it is unknown.
    prototypes
        Clusters.
    candidates
        Images among which they are looked for.
    ordinary
        Images in clusters of ordinary parts.
    seed
        Of the run.
    units
        Shape ``(n_contents,)``: what counts once; None where every image counts.
    """
    if units is not None:
        return _born_of_units(
            described, where, prototypes, candidates=candidates, ordinary=ordinary, seed=seed, units=units
        )
    names = {name: at for at, name in enumerate(sorted({one for one in where.values() if one}, key=id_order))}
    is_recent = np.array([content in candidates.recent for content in described.contents])
    found = find_newcomers(
        described.choosing,
        is_recent=is_recent,
        clusters=np.array([names.get(where.get(content) or "", -1) for content in described.contents]),
        is_ordinary=np.array([content in ordinary for content in described.contents]),
        rarity=described.rarity,
        generator=generator(seed, "newcomers"),
    )
    nights = candidates.nights
    when = np.array([nights[one].toordinal() if one in nights else 0 for one in described.contents], np.int64)
    born = [
        Born(
            tuple(described.contents[row] for row in one.rows),
            {"closeness": round(one.closeness, 3), "surprise": round(one.surprise, 2)},
        )
        for one in found
        if came_late(np.isin(np.arange(len(when)), one.rows), when)
    ]
    has_no_past = int((~is_recent).sum()) < FEWEST_OLDER  # so few images do not tell how far apart kinds lie
    left = sorted(candidates.unknown - {content for one in born for content in one.contents})
    labels = births(described.descriptors[described.rows(left)], prototypes)
    for group in range(int(labels.max(initial=NOT_BORN)) + 1):
        contents = tuple(left[at] for at in np.flatnonzero(labels == group).tolist())
        if has_no_past or _is_apart(described, where, contents):
            born.append(Born(contents))
    return born


def _born_of_units(
    described: Described,
    where: Mapping[str, str | None],
    prototypes: Prototypes,
    *,
    candidates: Candidates,
    ordinary: Set[str],
    seed: int,
    units: NDArray[np.int64],
) -> list[Born]:
    """`born_of` over one image of each unit; its clusters have all images of theirs that could be new."""
    members: dict[int, list[str]] = defaultdict(list)
    for content, unit in zip(described.contents, units.tolist(), strict=True):
        members[unit].append(content)
    could_be = {*candidates.recent, *candidates.unknown}
    first = {unit: min(ones, key=lambda one: (one in could_be, one)) for unit, ones in members.items()}
    stands = set(first.values())
    born = born_of(
        described.of_these(stands),
        {content: where.get(content) for content in stands},
        prototypes,
        candidates=candidates.of_these(stands),
        ordinary=ordinary & stands,
        seed=seed,
    )
    with_it = {first[unit]: [one for one in ones if one in could_be] for unit, ones in members.items()}
    return [
        replace(one, contents=tuple(sorted({*(other for content in one.contents for other in with_it[content])})))
        for one in born
    ]


def members_of_born(
    born: Mapping[str, Born], described: Described, prototypes: Prototypes, by_choice: Prototypes
) -> dict[str, AssignmentFact]:
    """Where the images of new clusters are, by content, with their distance to the cluster and the confidence in it.

    The first prototypes are of the descriptors, the second of those that clusters are chosen by.
    """
    found: dict[str, AssignmentFact] = {}
    for name, group in born.items():
        rows, ids = described.rows(group.contents), [name] * len(group.contents)
        own, choosing = described.descriptors[rows], described.choosing[rows]
        distances = member_distances(own, ids, extended(prototypes, own, ids))
        confidence = member_confidence(choosing, ids, extended(by_choice, choosing, ids))
        found |= {fact.content: fact for fact in assignment_facts(group.contents, ids, distances, confidence)}
    return found


def _is_apart(described: Described, where: Mapping[str, str | None], contents: Sequence[str]) -> bool:
    """Whether images lie apart from each of the clusters that are nearest to them."""
    members: dict[str, list[int]] = defaultdict(list)
    for row, content in enumerate(described.contents):
        cluster = where.get(content)
        if cluster is not None:
            members[cluster].append(row)
    clusters = {name: described.choosing[rows] for name, rows in members.items()}
    return is_apart(described.choosing[described.rows(contents)], clusters)
