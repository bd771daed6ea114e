"""A clustering becomes one of lasting clusters: which identity each has, and where images are that people moved.

Of a re-clustering and of a person's cut alike; imports no Prefect.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from anoclust_core.matching.assigning import member_confidence, member_distances
from anoclust_core.matching.identities import id_order, owner_of
from anoclust_core.matching.keeping import keep_apart
from anoclust_core.matching.partitions import PartitionMatch, match_partitions
from anoclust_core.matching.prototypes import fit_prototypes
from tasks.stores.catalog.facts import AssignmentFact, Standing, assignment_facts
from tasks.stores.nights.measured import Measured


@dataclass(frozen=True)
class Lasting:
    """A clustering with lasting identities.

    Attributes
    ----------
    match
        What became of the clusters that there were.
    ids
        Cluster of every image; None where a person took the image out of it, or put all images of it elsewhere.
    """

    match: PartitionMatch
    ids: tuple[str | None, ...]


def lasting_clusters(
    found: Standing,
    contents: Sequence[str],
    labels: NDArray[np.int64],
    choosing: NDArray[np.float32],
    *,
    homes: Mapping[str, str] | None = None,
) -> Lasting:
    """Give the clusters of a clustering their identities; known ones that it lost stay where they lie apart.

    Clusters none of whose images were clustered, as when all their files are gone, have no part in it and stay.

    Parameters
    ----------
    found
        How clusters stand.
    contents
        Images that were clustered, by content.
    labels
        Shape ``(n_images,)``, from 0 without gaps.
    choosing
        Shape ``(n_images, dim)``: descriptors that images are given to clusters by.
    homes
        Images that the clustering was made around, by content, and the cluster that each belongs to: what they are in
        is that cluster, however few images the two have in common.
    """
    row_of = {content: at for at, content in enumerate(contents)}
    before = {content: cluster for content, cluster in found.partition.items() if content in row_of}
    members: dict[str, list[int]] = defaultdict(list)
    for content, cluster in before.items():
        members[owner_of(cluster, found.merged_into)].append(row_of[content])
    separations: dict[str, float] = {}
    while True:
        match = match_partitions(
            before,
            dict(zip(contents, (int(label) for label in labels), strict=True)),
            taken=found.identities,
            merged_into=found.merged_into,
            placed=found.placed,
            lasting=found.lasting,
            given=_given(homes or {}, {content: int(labels[row]) for content, row in row_of.items()}),
        )
        lost = {name: members[name] for name in lost_clusters(found, match) if name not in separations}
        if not lost:
            break
        labels, of_lost = keep_apart(choosing, labels, lost)
        separations |= of_lost
    changes = tuple(
        replace(change, separation=separations.get(change.cluster)) if change.kind in {"kept", "retired"} else change
        for change in match.changes
    )
    return _as_people_decided(found, contents, labels, replace(match, changes=changes))


def _given(homes: Mapping[str, str], labels: Mapping[str, int]) -> dict[int, str]:
    """Label that most of the images of each home have, and that home."""
    counts: dict[str, Counter[int]] = defaultdict(Counter)
    for content, home in homes.items():
        counts[home][labels[content]] += 1
    return {counts[home].most_common(1)[0][0]: home for home in sorted(counts, key=id_order)}


def lost_clusters(found: Standing, match: PartitionMatch) -> dict[str, str | None]:
    """Known clusters that a new clustering has lost, by identity, and the one that each went into, or None."""
    gone: dict[str, str | None] = {**match.merged_into, **dict.fromkeys(match.clusters("retired"))}
    return {name: gone[name] for name in sorted(gone, key=id_order) if name in found.known}


def assigned(contents: Sequence[str], ids: Sequence[str | None], measured: Measured) -> list[AssignmentFact]:
    """Where images are, with the distance to their cluster and the confidence in it; both 0 where they have none."""
    rows = [at for at, cluster in enumerate(ids) if cluster is not None]
    names = [cluster for cluster in ids if cluster is not None]
    distances, sure = np.zeros(len(ids)), np.zeros(len(ids))
    if names:
        pooled, height = measured.descriptors[rows], measured.height
        choosing = measured.chosen_by[rows]
        distances[rows] = member_distances(pooled, names, fit_prototypes(pooled, names, merge_height=height))
        sure[rows] = member_confidence(choosing, names, fit_prototypes(choosing, names, merge_height=height))
    return assignment_facts(contents, ids, distances, sure)


def first_rows(contents: Sequence[str]) -> list[int]:
    """Rows of the first image of every content: runs may have several, nights have each once."""
    first: dict[str, int] = {}
    for row, content in enumerate(contents):
        first.setdefault(content, row)
    return sorted(first.values())


def _as_people_decided(
    found: Standing, contents: Sequence[str], labels: NDArray[np.int64], match: PartitionMatch
) -> Lasting:
    """Leave images out of clusters that a person took them out of, and clusters that would have no image of their own.

    Those are pieces all of whose images a person put into other clusters: nobody would ever see an image in them.
    """
    elsewhere = {content for content, cluster in found.placed.items() if cluster not in found.retired}
    born = set(match.clusters("born"))
    named = [match.ids[int(label)] for label in labels]
    with_images = {name for content, name in zip(contents, named, strict=True) if content not in elsewhere}
    empty = born - with_images
    ids = tuple(
        None if name in empty or name in _wrong(found, match, content) else name
        for content, name in zip(contents, named, strict=True)
    )
    changes = tuple(change for change in match.changes if not (change.kind == "born" and change.cluster in empty))
    return Lasting(replace(match, changes=changes), ids)


def _wrong(found: Standing, match: PartitionMatch, content: str) -> set[str]:
    """Clusters that an image does not go to, those among them that one was joined to just now."""
    wrong = found.wrong.get(content, frozenset())
    return {*wrong, *(match.merged_into[name] for name in wrong if name in match.merged_into)}
