"""Near-duplicates of a night: new images of one part, or of a part that is known, by the rule of runs."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.clustering.units import units_of
from anoclust_core.config import COUNT_ONCE
from anoclust_core.pairwise.near_duplicates import ALONE, Closest, near_duplicate_groups
from anoclust_core.records import DatasetManifest, ImageRecord, unique_contents
from tasks.compute.closest import can_be_compared, closest_compared
from tasks.compute.counting import GROUPS, Counting, Measure
from tasks.night.place import Place
from tasks.stores import arrays
from tasks.stores.embeddings import EmbeddingSegments
from tasks.stores.nights.snapshots import Snapshot, SnapshotReference
from tasks.stores.regions import regions_of

_NAMED: Final = 3
"""Files that a note names."""


@dataclass(frozen=True)
class NightAlike:
    """Groups of near-duplicates among the images of the snapshot and those since.

    Attributes
    ----------
    contents
        Content hashes, ascending.
    groups
        Shape ``(n_contents,)``, as of `near_duplicate_groups`.
    known
        Contents of the snapshot, ascending, and the groups that they had there.
    """

    contents: Sequence[str]
    groups: NDArray[np.int64]
    known: tuple[Sequence[str], NDArray[np.int64]] = field(default_factory=lambda: ((), np.empty(0, np.int64)))

    @property
    def units(self) -> NDArray[np.int64]:
        """What counts once, a unit for each content."""
        return units_of(self.groups)

    def of(self, contents: Set[str]) -> list[list[str]]:
        """Groups that some contents are in, with all of their members."""
        found: dict[int, list[str]] = {}
        for content, group in zip(self.contents, self.groups.tolist(), strict=True):
            if group != ALONE:
                found.setdefault(group, []).append(content)
        return [members for _, members in sorted(found.items()) if contents & set(members)]

    def measure(self, against: SnapshotReference) -> Measure:
        """What rarity is measured against where near-duplicates count once, as the snapshot's run took it."""
        contents, groups = self.known
        if against.role == "normal" or not len(contents):
            return Measure(against.contents, against.counts)
        counted = Counting.of_contents(contents, [1] * len(contents), groups)
        measure = counted.reference(against.contents, against.counts)
        own = dict(measure.own)
        for members in self.of(set(self.contents)):
            stands = next((own[one] for one in members if one in own), None)
            own |= {one: stands for one in members if stands is not None and one not in own}
        return Measure(measure.contents, measure.counts, own)


def night_alike(
    place: Place, snapshot: Snapshot, was: DatasetManifest, since: Sequence[ImageRecord], embeddings: str
) -> NightAlike | None:
    """Look for near-duplicates of images that came since the snapshot.

    Parameters
    ----------
    place, snapshot
        Where, and what the last re-clustering left.
    was
        Its images.
    since
        Images since.
    embeddings
        Folder of the embeddings of all of them.

    Returns
    -------
    alike
        None where the snapshot has no distances of its images, or there are too many patches to compare.
    """
    of_snapshot, _ = unique_contents(was.compared)
    contents = [image.sha256 for image in since]
    every = sorted({*of_snapshot, *contents})
    segments = EmbeddingSegments(Path(embeddings))
    key = snapshot.keys.get("near_duplicates")
    folder = place.layout.folder("near_duplicates", place.category, key) if key else None
    if folder is None or not arrays.is_complete(folder) or not can_be_compared(place.run.spec, len(every)):
        return None
    if not segments.index().keys() >= set(every):
        return None
    row_of = {content: at for at, content in enumerate(every)}
    old = np.array([row_of[content] for content in of_snapshot], np.int64)
    new = [row_of[content] for content in contents if content not in set(of_snapshot)]
    stored = Closest(*(arrays.read(folder, name) for name in ("images", "means", "largest")))
    if not new or not stored.images.shape[1]:
        return None
    regions = regions_of(place.layout, [*was.compared, *since], place.run.spec)[0]
    fresh = closest_compared(
        segments, every, new, place.run.spec, regions=regions, device=place.run.config.embed.device
    )
    n_nearest = min(stored.images.shape[1], fresh.images.shape[1])
    order = np.argsort(np.concatenate([old, np.array(new, np.int64)]))
    joined = [
        np.concatenate([of_old[:, :n_nearest], of_new[:, :n_nearest]])[order]
        for of_old, of_new in (
            (old[stored.images], fresh.images),
            (stored.means, fresh.means),
            (stored.largest, fresh.largest),
        )
    ]
    groups = near_duplicate_groups(Closest(joined[0], joined[1], joined[2]))
    return NightAlike(every, groups, (of_snapshot, arrays.read(folder, GROUPS)))


def counts_once(place: Place) -> bool:
    """Whether near-duplicates count as one image."""
    return place.run.config.pair.near_duplicates == COUNT_ONCE


def alike_details(alike: NightAlike | None, fresh: Set[str]) -> dict[str, list[list[str]]]:
    """What is kept for the night's report: groups of near-duplicates with a new image, by content."""
    return {} if alike is None else {"near_duplicates": alike.of(fresh)}


def alike_notes(weights: str | None, given: DatasetManifest) -> list[str]:
    """What a night says of near-duplicates among its new images.

    Parameters
    ----------
    weights
        Folder of the rarity of the new images, or None.
    given
        What was new.
    """
    groups = (arrays.describe(Path(weights)) or {}).get("near_duplicates", []) if weights else []
    path_of = {image.sha256: image.path for image in given.clustered}
    seen: list[list[str]] = []
    among: list[list[str]] = []
    for members in groups:
        new = [path_of[content] for content in members if content in path_of]
        (among if len(new) == len(members) else seen).append(sorted(new))
    notes = []
    for parts, what in ((seen, "show a part that was known"), (among, "show the same part as another new one")):
        paths = [path for part in parts for path in part]
        if paths:
            named = ", ".join(paths[:_NAMED]) + (", ..." if len(paths) > _NAMED else "")
            verb = what.replace("show", "shows", 1) if len(paths) == 1 else what
            notes.append(
                f"Near-duplicates: {len(paths):,} new image{'' if len(paths) == 1 else 's'} {verb} "
                f"({len(parts):,} part{'' if len(parts) == 1 else 's'}: {named})."
            )
    return notes
