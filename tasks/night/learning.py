"""What people decided, as labels of images; a re-clustering that learns from them, and what it moved."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.clustering.learning.head import Head
from anoclust_core.clustering.learning.partition import Labelled, contradicts, learn_partition, learning_space
from anoclust_core.clustering.smoothing import smoothed
from anoclust_core.keys import content_key
from anoclust_core.matching.assigning import Choice, choose_by_scores
from anoclust_core.matching.identities import id_order, owner_of
from tasks.night.lasting import Lasting
from tasks.stores import arrays
from tasks.stores.catalog.facts import Standing
from tasks.stores.layout import StoreLayout

CONFIRMED: Final = 3
"""Most central images of a cluster that people decided about, which count as labels of it: who names a cluster has
looked at these. Without them, the images that people moved would be all that a cluster is known by."""

VERSION: Final = 2
"""Of what is learnt from the same decisions: part of its key."""


@dataclass(frozen=True)
class Decided:
    """What people decided about images of a clustering.

    Attributes
    ----------
    homes
        Images that are labels, by content, and the cluster that each belongs to.
    wrong
        Clusters among these that an image is not in, by content.
    n_decisions
        Decisions that this follows from.
    splits
        Clusters among these that were split off another one of them, and that one.
    confirmed
        Images among the labels that nobody put anywhere: the most central ones of their clusters.
    """

    homes: Mapping[str, str]
    wrong: Mapping[str, frozenset[str]]
    n_decisions: int
    splits: Mapping[str, str] = field(default_factory=dict)
    confirmed: frozenset[str] = frozenset()

    @property
    def clusters(self) -> tuple[str, ...]:
        """Clusters that have labels: the groups of `labelled`, by number."""
        return tuple(sorted(set(self.homes.values()), key=id_order))

    @property
    def said(self) -> dict[str, Any]:
        """What people said, as JSON values: the same for the same decisions, wherever images are now."""
        return {
            "put": {content: home for content, home in sorted(self.homes.items()) if content not in self.confirmed},
            "wrong": {content: sorted(of) for content, of in sorted(self.wrong.items())},
            "clusters": list(self.clusters),
            "splits": dict(self.splits),
        }

    def labelled(self, contents: Sequence[str]) -> Labelled:
        """Groups by row."""
        number = {name: at for at, name in enumerate(self.clusters)}
        groups = np.array([number.get(self.homes.get(content, ""), -1) for content in contents], np.int64)
        forbidden = np.zeros((len(contents), len(number)), np.bool_)
        for row, content in enumerate(contents):
            for name in self.wrong.get(content, ()):
                forbidden[row, number[name]] = groups[row] != number[name]
        return Labelled(groups, forbidden)


@dataclass(frozen=True)
class Learnt:
    """A re-clustering that learnt from decisions.

    Attributes
    ----------
    decided
        What it learnt from.
    labels
        Shape ``(n_images,)``, int64: its clusters.
    key
        Key of the folder of its tree, in the place of the tree without decisions.
    """

    decided: Decided
    labels: NDArray[np.int64]
    key: str


def decided_images(found: Standing, contents: Sequence[str], choosing: NDArray[np.floating[Any]]) -> Decided:
    """Images that are labels: those that people put somewhere, and the most central ones of decided clusters.

    Of a cluster that others were merged into, those of each part. A cluster that another one was split off is decided
    about too: the two stay apart.

    Parameters
    ----------
    found
        How clusters stand.
    contents
        Images that are clustered, by content.
    choosing
        Shape ``(n_images, dim)``: descriptors that images are given to clusters by.
    """
    row_of = {content: at for at, content in enumerate(contents)}
    homes, members = {}, defaultdict(list)
    for content, cluster in sorted(found.assigned.items()):
        if cluster is None or cluster in found.retired or content not in row_of:
            continue
        if content in found.placed:
            homes[content] = owner_of(cluster, found.merged_into)
        else:
            members[cluster].append(content)
    wrong: dict[str, set[str]] = defaultdict(set)
    for content, clusters in found.wrong.items():
        wrong[content] |= {owner_of(name, found.merged_into) for name in clusters}
    splits = {new: owner_of(of, found.merged_into) for new, of in found.split_off.items()}
    about = found.decided | set(splits.values())
    put: dict[str, list[int]] = defaultdict(list)
    for content, home in homes.items():
        put[home].append(row_of[content])
    by_hand = frozenset(homes)
    means = {home: choosing[rows].mean(axis=0) for home, rows in put.items()}
    for cluster, own in members.items():
        if (owner := owner_of(cluster, found.merged_into)) in about:
            others = [mean for home, mean in means.items() if home != owner]
            homes |= dict.fromkeys(_central(own, choosing[[row_of[content] for content in own]], others), owner)
    names = set(homes.values())
    kept = {content: frozenset(names & clusters) for content, clusters in wrong.items() if content in row_of}
    return Decided(
        homes,
        {content: of for content, of in sorted(kept.items()) if of},
        found.n_decisions,
        {new: of for new, of in sorted(splits.items()) if {new, of} <= names and new != of},
        frozenset(homes) - by_hand,
    )


def _central(
    contents: Sequence[str], choosing: NDArray[np.floating[Any]], others: Sequence[NDArray[np.floating[Any]]]
) -> list[str]:
    """Images of a cluster nearest to its mean, of those that are no nearer to what people put into other clusters."""
    rows = np.arange(len(contents))
    if others:
        far = np.stack([((choosing - mean) ** 2).sum(axis=1) for mean in (choosing.mean(axis=0), *others)], axis=1)
        rows = np.flatnonzero(far.argmin(axis=1) == 0)
    if not len(rows):
        return []
    far_from_mean = ((choosing[rows] - choosing[rows].mean(axis=0)) ** 2).sum(axis=1)
    return [contents[row] for row in rows[np.argsort(far_from_mean, kind="stable")[:CONFIRMED]].tolist()]


def learnt(
    layout: StoreLayout,
    category: str,
    decided: Decided,
    contents: Sequence[str],
    plain: tuple[str, NDArray[np.int64]],
    described: tuple[NDArray[np.float32], NDArray[np.float32]],
    *,
    fewest: int,
) -> Learnt | None:
    """Learn from what people decided, and keep it beside the tree; None where the clustering agrees with them already.

    Parameters
    ----------
    layout, category
        Where.
    decided
        What people decided.
    contents
        Images that were clustered, by content.
    plain
        Key of the tree without decisions, and shape ``(n_images,)``: its clusters.
    described
        Shape ``(n_images, dim)`` each: descriptors by which clusters are chosen, and those that the tree is of.
    fewest
        Clusters that are asked for at least.
    """
    key, labels = plain
    if not decided.homes or not contradicts(labels, decided.labelled(contents)):
        return None
    new = content_key("learn", {"tree": key, "version": VERSION, "fewest": fewest, **decided.said})
    folder = layout.folder("trees", category, new)
    if arrays.is_complete(folder):
        return Learnt(decided, arrays.read(folder, "labels").astype(np.int64), new)
    before, after = described
    linkage = arrays.read(layout.folder("trees", category, key), "linkage").astype(np.float64)
    found = learn_partition(
        learning_space(before, after),
        linkage,
        decided.labelled(contents),
        n_clusters=int(labels.max()) + 1 + _n_undone(decided, contents, labels),
        plain=labels,
        fewest=fewest,
    )
    stored = {"linkage": linkage, "labels": found.labels, **found.head.arrays}
    is_smoothed = not np.array_equal(before, after)
    arrays.write_arrays(folder, stored, {"smoothed": is_smoothed, "decisions": decided.n_decisions})
    return Learnt(decided, found.labels, new)


def _n_undone(decided: Decided, contents: Sequence[str], labels: NDArray[np.int64]) -> int:
    """Splits by people that a clustering without decisions does not have: so many clusters are missing in it."""
    counts: dict[str, Counter[int]] = defaultdict(Counter)
    for content, label in zip(contents, labels.tolist(), strict=True):
        if content in decided.homes:
            counts[decided.homes[content]][label] += 1
    most = {name: of.most_common(1)[0][0] for name, of in counts.items()}
    return sum(most[new] == most[of] for new, of in decided.splits.items())


def with_evidence(
    lasting: Lasting, without: Lasting, found: Standing, contents: Sequence[str], n_decisions: int
) -> Lasting:
    """Say of every cluster which images learning moved to it, and from how many decisions.

    Those are images whose cluster is another one than before, and than it would be without decisions.

    Parameters
    ----------
    lasting, without
        The clustering with and without what was learnt, with lasting identities.
    found
        How clusters stood before.
    contents
        Images that were clustered, by content.
    n_decisions
        Decisions that were learnt from.
    """
    moved: dict[str, list[str]] = defaultdict(list)
    origins: dict[str, Counter[str]] = defaultdict(Counter)
    into = {**found.merged_into, **lasting.match.merged_into}
    for content, now, plain in zip(contents, lasting.ids, without.ids, strict=True):
        before = found.assigned.get(content)
        if now is None or now == plain or content in found.placed:
            continue
        was = None if before is None or before in found.retired else owner_of(before, into)
        if was != owner_of(now, into):
            moved[now].append(content)
            origins[now][was or "unknown"] += 1
    changes = tuple(
        replace(
            change,
            learnt={
                "decisions": n_decisions,
                "contents": moved[change.cluster],
                "from": dict(sorted(origins[change.cluster].items())),
            },
        )
        if change.kind in {"kept", "born"} and change.cluster in moved
        else change
        for change in lasting.match.changes
    )
    return replace(lasting, match=replace(lasting.match, changes=changes))


@dataclass(frozen=True)
class NightHead:
    """What a re-clustering learnt, for the images of the nights after it.

    Attributes
    ----------
    head
        Scores of its clusters.
    labels
        Shape ``(n_images,)``: its clusters.
    is_smoothed
        Whether descriptors are averaged with neighbours before they are scored.
    """

    head: Head
    labels: NDArray[np.int64]
    is_smoothed: bool

    def choice(
        self,
        scores: NDArray[np.float64],
        homes: Sequence[str | None],
        nearest: Choice,
        merged_into: Mapping[str, str],
    ) -> Choice:
        """Cluster of each new image: by its scores, or the nearest one where that came after what was learnt.

        Parameters
        ----------
        scores
            As of `scores`.
        homes
            Where the images that were clustered are now; None where they are in no cluster that takes images.
        nearest
            Nearest cluster of each new image.
        merged_into
            Clusters that were merged into another one.
        """
        counts: dict[int, Counter[str]] = defaultdict(Counter)
        for label, home in zip(self.labels.tolist(), homes, strict=True):
            if home is not None:
                counts[label][home] += 1
        ids = [counts[at].most_common(1)[0][0] if counts[at] else None for at in range(scores.shape[1])]
        if not any(ids):
            return nearest
        learnt = choose_by_scores(scores, ids, slope=self.head.slope, merged_into=merged_into)
        is_known = np.array([name in ids for name in nearest.ids], np.bool_)
        return Choice(
            tuple(one if known else other for known, one, other in zip(is_known, learnt.ids, nearest.ids, strict=True)),
            np.where(is_known, learnt.confidence, nearest.confidence),
        )

    def scores(self, new: NDArray[np.float32], among: NDArray[np.float32]) -> NDArray[np.float64]:
        """Scores of new images, ``(n_images, n_clusters)``, by descriptors of them and of those that were clustered."""
        if not len(new):
            return np.zeros((0, self.head.matrix.shape[1]))
        return self.head.scores(learning_space(new, smoothed(new, among=among)) if self.is_smoothed else new)


def read_head(layout: StoreLayout, category: str, key: str) -> NightHead | None:
    """What the re-clustering with a tree of this key learnt; None where it learnt nothing.

    Raises
    ------
    StoreError
        If it is damaged or gone.
    """
    folder = layout.folder("trees", category, key)
    details = arrays.describe(folder) or {}
    if "smoothed" not in details:
        return None
    head = Head.from_arrays({name: arrays.read(folder, name) for name in Head.names()})
    return NightHead(head, arrays.read(folder, "labels").astype(np.int64), bool(details["smoothed"]))
