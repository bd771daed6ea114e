"""What a re-clustering made of the clusters that there were: kept, born, retired, split, merged.

Two clusters are the same where they share images: as many images as possible keep their cluster. Clusters without an
image in common may still be the same by their prototypes. What a person merged stays one cluster, however the new
clustering cuts it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from anoclust_core.arrays import check_share
from anoclust_core.matching.identities import fresh_ids, id_order, owner_of

MIN_OVERLAP: Final = 0.3
"""Least share of common images, intersection over union, with which a cluster keeps its identity: of two halves that a
cluster falls into the larger one does, of four quarters none."""

ChangeKind = Literal["kept", "born", "retired", "split", "merged"]


@dataclass(frozen=True)
class Change:
    """What became of one cluster, with the evidence.

    Attributes
    ----------
    kind
        ``kept`` and ``born``, one for each new cluster; ``retired`` and ``merged`` have between them each old one
        that is gone; ``split`` besides.
    cluster
        The cluster that it is about: the one that lives on, where several were merged.
    others
        ``split``: the clusters, itself perhaps among them, that are mostly made of it. ``merged``: the clusters that
        mostly went into it.
    overlaps
        Images in common by cluster: with the new ones for ``retired`` and ``split``, with the old ones otherwise.
    height
        Ward's height between the prototypes, where these and no common image are the evidence.
    separation
        How far a known cluster lies apart from those that the new clustering put its images into, where it would have
        been lost: see `anoclust_core.matching.keeping.keep_apart`.
    learnt
        What moved images to it because people decided something, as JSON values; None where nothing did.
    """

    kind: ChangeKind
    cluster: str
    others: tuple[str, ...] = ()
    overlaps: Mapping[str, int] = field(default_factory=dict)
    height: float | None = None
    separation: float | None = None
    learnt: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class PartitionMatch:
    """Identities of new clusters and what became of the old ones.

    Attributes
    ----------
    ids
        By new label: its identity, each given once.
    changes
        In the order of `ChangeKind`, then of the identities.
    merged_into
        Clusters that the new clustering united with another one, and that one; merges by people are not repeated.
    """

    ids: Mapping[int, str]
    changes: tuple[Change, ...]
    merged_into: Mapping[str, str]

    def clusters(self, kind: ChangeKind) -> tuple[str, ...]:
        """Clusters that something became of."""
        return tuple(change.cluster for change in self.changes if change.kind == kind)


@dataclass(frozen=True)
class _Overlaps:
    """Common images of old clusters (rows, by identity) and new ones (columns, by size and least image).

    ``free`` are those of them that no person placed.
    """

    old: list[str]
    new: list[int]
    counts: NDArray[np.int64]
    free: NDArray[np.int64]


def match_partitions(
    old: Mapping[str, str],
    new: Mapping[str, int],
    *,
    taken: Iterable[str] = (),
    merged_into: Mapping[str, str] | None = None,
    placed: Iterable[str] = (),
    lasting: Iterable[str] = (),
    heights: Mapping[tuple[str, int], float] | None = None,
    max_height: float = 0.0,
    min_overlap: float = MIN_OVERLAP,
    given: Mapping[int, str] | None = None,
) -> PartitionMatch:
    r"""Give the clusters of a new clustering the identities of the old ones, where they are the same.

    First by members: among all ways to pair old and new clusters with

    .. math:: |O \cap N| / |O \cup N| \ge \text{min\_overlap}

    over the images that are in both clusterings, one with the most images in common; of equal ones the one with the
    nearest prototypes. Images that a person placed stay where they are, whichever cluster is which. So the others
    decide, and those that were placed only among clusters that are left over then. Then by prototypes, among clusters
    left over that share no image with any: as many pairs as possible within ``max_height``, of equal ones the nearest.
    Every other new cluster is born with a new identity. An old cluster left over is merged if more than half of its
    common images are in one new cluster, else retired.

    A person's merge survives: parts that are matched stay parts of the cluster they were merged into, which itself is
    always among them, and where no part is matched all of them together may be. Names go with identities.

    Permuting the images, or renaming the new labels, changes nothing but the labels; remaining ties go to the smaller
    identity and the larger new cluster, then to that with the least image name.

    Parameters
    ----------
    old
        Cluster of each image that has one, by image: as assigned, not the one that it was merged into.
    new
        New label of each image, by image.
    taken
        All identities that the category ever had; those of ``old`` and of the merges count too.
    merged_into
        Clusters that were merged into another one.
    placed
        Images that a person put into the cluster that they are in.
    lasting
        Clusters that a person made: they are neither retired nor merged.
    heights
        Ward's heights between prototypes, by old identity and new label; none where embeddings cannot be compared.
    max_height
        Height up to which two prototypes are the same cluster's: the old snapshot's ``lone_radius``.
    min_overlap
        In (0, 1].
    given
        New labels whose identity is known: clusters that were made around images that people had put into one.

    Raises
    ------
    ConfigError
        If ``min_overlap`` is out of its range or the merges lead back to where they began.
    """
    check_share("min_overlap", min_overlap, usual=MIN_OVERLAP)
    merges, distances = dict(merged_into or {}), dict(heights or {})
    overlaps = _overlaps(old, new, merges, set(placed))
    closeness = _closeness(overlaps, distances)
    owners = {name: owner_of(name, merges) for name in overlaps.old}
    found = dict(given or {})
    for counts in (overlaps.free, overlaps.counts):
        found |= _named(overlaps, _by_members(_left_over(counts, overlaps, found), closeness, min_overlap))
    found |= _by_whole_groups(overlaps, found, owners, min_overlap)
    by_prototype = _named(overlaps, _by_prototypes(overlaps, found, distances, max_height))
    found |= by_prototype
    _give_owners_their_own(found, overlaps, owners)
    unmatched = [label for label in overlaps.new if label not in found]
    born = dict(
        zip(unmatched, fresh_ids({*taken, *overlaps.old, *merges, *merges.values()}, len(unmatched)), strict=True)
    )
    ids = {label: found.get(label) or born[label] for label in overlaps.new}
    evidence = {ids[label]: distances[name, label] for label, name in by_prototype.items()}
    return _told(overlaps, ids, owners, evidence, frozenset(lasting))


def _overlaps(old: Mapping[str, str], new: Mapping[str, int], merges: Mapping[str, str], placed: Set[str]) -> _Overlaps:
    rows = sorted({*old.values(), *(owner_of(name, merges) for name in old.values())}, key=id_order)
    sizes, least = Counter(new.values()), dict[int, str]()
    for image in sorted(new):
        least.setdefault(new[image], image)
    columns = sorted(sizes, key=lambda label: (-sizes[label], least[label]))
    row_of, column_of = {name: i for i, name in enumerate(rows)}, {label: j for j, label in enumerate(columns)}
    counts, free = np.zeros((2, len(rows), len(columns)), dtype=np.int64)
    for image in old.keys() & new.keys():
        at = row_of[old[image]], column_of[new[image]]
        counts[at] += 1
        free[at] += image not in placed
    return _Overlaps(rows, columns, counts, free)


def _left_over(counts: NDArray[np.int64], overlaps: _Overlaps, found: Mapping[int, str]) -> NDArray[np.int64]:
    """Counts of old and new clusters that are not matched yet, 0 of all others."""
    matched = set(found.values())
    rows = np.array([name not in matched for name in overlaps.old], dtype=bool)
    columns = np.array([label not in found for label in overlaps.new], dtype=bool)
    return np.where(rows[:, None] & columns, counts, 0)


def _closeness(overlaps: _Overlaps, heights: Mapping[tuple[str, int], float]) -> NDArray[np.float64]:
    """From 1 for equal prototypes to 0 for those far apart or not known."""
    table = [[heights.get((name, label), np.inf) for label in overlaps.new] for name in overlaps.old]
    values = np.array(table, dtype=np.float64).reshape(overlaps.counts.shape)
    known = values[np.isfinite(values) & (values > 0)]
    return np.asarray(1 / (1 + values / (np.median(known) if len(known) else 1.0)), dtype=np.float64)


def _by_members(counts: NDArray[np.int64], closeness: NDArray[np.float64], min_overlap: float) -> list[tuple[int, int]]:
    unions = counts.sum(axis=1)[:, None] + counts.sum(axis=0) - counts
    admitted = (counts > 0) & (counts >= min_overlap * unions)
    return _best_pairs(np.where(admitted, counts, 0), closeness)


def _named(overlaps: _Overlaps, pairs: list[tuple[int, int]]) -> dict[int, str]:
    return {overlaps.new[j]: overlaps.old[i] for i, j in pairs}


def _by_whole_groups(
    overlaps: _Overlaps, found: Mapping[int, str], owners: Mapping[str, str], min_overlap: float
) -> dict[int, str]:
    """New clusters of merged clusters no part of which is matched: each part may be too small a share by itself."""
    alive = {owners[name] for name in found.values()}
    groups = [owner for owner in sorted(set(owners.values()), key=id_order) if owner not in alive]
    if not groups:
        return {}
    counts = np.stack([_of_owner(overlaps, owners, owner) for owner in groups])
    unions = counts.sum(axis=1)[:, None] + overlaps.counts.sum(axis=0) - counts
    free = np.array([label not in found for label in overlaps.new], dtype=bool)
    admitted = free & (counts > 0) & (counts >= min_overlap * unions)
    pairs = _best_pairs(np.where(admitted, counts, 0), np.zeros(counts.shape))
    return {overlaps.new[j]: groups[i] for i, j in pairs}


def _of_owner(overlaps: _Overlaps, owners: Mapping[str, str], owner: str) -> NDArray[np.int64]:
    """Common images of a cluster and of all that were merged into it with each new cluster."""
    rows = [i for i, name in enumerate(overlaps.old) if owners[name] == owner]
    return np.asarray(overlaps.counts[rows].sum(axis=0))


def _by_prototypes(
    overlaps: _Overlaps, found: Mapping[int, str], heights: Mapping[tuple[str, int], float], max_height: float
) -> list[tuple[int, int]]:
    """Pairs of clusters that share no image with any, as row and column."""
    taken = set(found.values())
    rows = [i for i in np.flatnonzero(~overlaps.counts.any(axis=1)).tolist() if overlaps.old[i] not in taken]
    columns = [j for j in np.flatnonzero(~overlaps.counts.any(axis=0)).tolist() if overlaps.new[j] not in found]
    table = [[heights.get((overlaps.old[i], overlaps.new[j]), np.inf) for j in columns] for i in rows]
    values = np.array(table, dtype=np.float64).reshape(len(rows), len(columns))
    near = (values <= max_height).astype(np.int64)
    return [(rows[i], columns[j]) for i, j in _best_pairs(near, 1 / (1 + values))]


def _best_pairs(counts: NDArray[np.int64], closeness: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Pairs of rows and columns with the largest sum of counts, of equal ones with the largest closeness in [0, 1]."""
    # together the pairs' closeness stays below one image
    weights = np.where(counts > 0, counts + closeness / (min(counts.shape, default=0) + 1), 0.0)
    rows, columns = linear_sum_assignment(weights, maximize=True)
    return [(i, j) for i, j in zip(rows.tolist(), columns.tolist(), strict=True) if counts[i, j] > 0]


def _give_owners_their_own(found: dict[int, str], overlaps: _Overlaps, owners: Mapping[str, str]) -> None:
    """Where parts of a merged cluster are matched and it is not itself, give it the new cluster with most images."""
    for owner in sorted(set(owners.values()) - set(found.values()), key=id_order):
        columns = [j for j, label in enumerate(overlaps.new) if label in found and owners[found[label]] == owner]
        if columns:
            row = _of_owner(overlaps, owners, owner)
            found[overlaps.new[max(columns, key=lambda j: (row[j], -j))]] = owner


def _told(
    overlaps: _Overlaps,
    ids: Mapping[int, str],
    owners: Mapping[str, str],
    heights: Mapping[str, float],
    lasting: Set[str],
) -> PartitionMatch:
    """Say what became of every cluster; parts of a merged cluster that lives on are no news."""
    names = [ids[label] for label in overlaps.new]
    owner_by_column = [owners.get(name, name) for name in names]
    changes: list[Change] = []
    united: dict[str, dict[str, int]] = {}
    for j, name in enumerate(names):
        kind: ChangeKind = "kept" if name in owners else "born"
        changes.append(Change(kind, name, (), _nonzero(overlaps.old, overlaps.counts[:, j]), heights.get(name)))
    for owner in set(owners.values()):
        row = _of_owner(overlaps, owners, owner)
        most = np.flatnonzero(2 * row > row.sum()).tolist()  # one at most
        is_gone = owner not in owner_by_column and owner not in lasting
        if is_gone and most:
            united.setdefault(owner_by_column[most[0]], {})[owner] = int(row[most[0]])
        elif is_gone:
            changes.append(Change("retired", owner, (), _nonzero(names, row)))
        made_of_it = np.flatnonzero(2 * row > overlaps.counts.sum(axis=0)).tolist()
        if len({owner_by_column[j] for j in made_of_it}) > 1:
            parts = tuple(sorted((names[j] for j in made_of_it), key=id_order))
            changes.append(Change("split", owner, parts, _nonzero(names, row)))
    for into, gone in united.items():
        changes.append(Change("merged", into, tuple(sorted(gone, key=id_order)), gone))
    order = get_args(ChangeKind)
    changes.sort(key=lambda change: (order.index(change.kind), id_order(change.cluster)))
    return PartitionMatch(ids, tuple(changes), {name: into for into, gone in united.items() for name in gone})


def _nonzero(names: list[str], counts: NDArray[np.int64]) -> dict[str, int]:
    return {name: int(count) for name, count in zip(names, counts, strict=True) if count}
