"""The tree of the last re-clustering as few groups, so that a person can try numbers of clusters while looking."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.clustering.few_groups import few_groups
from anoclust_core.errors import StoreError
from tasks.stores import arrays, runs
from tasks.stores.catalog.facts import ImageFact
from tasks.stores.layout import StoreLayout
from tasks.stores.nights.snapshots import Snapshot, members

MOST_CLUSTERS: Final = 60
"""Clusters that can be tried at most: more than anybody looks through."""

N_TYPICAL: Final = 8
"""Images of each group that are shown, the most typical ones."""

_ROWS: Final = 4096
"""Descriptors that are read at a time."""


@dataclass(frozen=True)
class CutGroup:
    """One group of the finest cut: its size, its most typical images by content, and how many have each label."""

    size: int
    typical: Sequence[str]
    labels: Mapping[str, int]


@dataclass(frozen=True)
class Cuts:
    """Every cut of a tree into at most `MOST_CLUSTERS` clusters.

    Attributes
    ----------
    groups
        Of the finest cut.
    merges
        Two groups a row, lowest first; the group of row i has the number ``len(groups) + i``. A cut into k clusters
        makes the first ``len(groups) - k`` of them.
    n_now
        Clusters that there are: what was learnt or a person's cut may have changed their number since.
    n_made, n_suggested
        Clusters that the re-clustering made, and those that the tree suggested; None where its run is gone.
    rule
        Why it made so many.
    night
        When that was.
    """

    groups: Sequence[CutGroup]
    merges: Sequence[tuple[int, int]]
    n_now: int
    n_made: int | None
    n_suggested: int | None
    rule: str
    night: str


def read_cuts(layout: StoreLayout, category: str, snapshot: Snapshot, facts: Mapping[str, ImageFact]) -> Cuts:
    """Read the cuts of the last re-clustering's tree; ``facts`` are those of its images, by content.

    Raises
    ------
    StoreError
        If the tree or the descriptors are gone or damaged.
    """
    contents = [image.sha256 for image in members(layout, snapshot).clustered]
    tree = layout.folder("trees", category, snapshot.keys["group"])
    linkage = arrays.read(tree, "linkage").astype(np.float64)
    few = few_groups(linkage, n_groups=min(MOST_CLUSTERS, len(contents)))
    typical = _typical(layout.folder("weights", category, snapshot.keys["weigh"]), few.labels)
    labels = [facts[content].label if content in facts else None for content in contents]
    of = few.labels.tolist()
    groups = [
        CutGroup(
            size=int((few.labels == number).sum()),
            typical=[contents[row] for row in rows],
            labels=Counter(label for group, label in zip(of, labels, strict=True) if group == number and label),
        )
        for number, rows in enumerate(typical)
    ]
    merges = [(int(first), int(second)) for first, second in few.linkage[:, :2].tolist()]
    summary = _summary(layout, category, snapshot)
    return Cuts(
        groups,
        merges,
        n_now=int(arrays.read(tree, "labels").max()) + 1,
        n_made=summary.get("n_clusters"),
        n_suggested=summary.get("n_clusters_suggested"),
        rule=str(summary.get("n_clusters_rule", "")),
        night=snapshot.night.isoformat(),
    )


def _summary(layout: StoreLayout, category: str, snapshot: Snapshot) -> Mapping[str, Any]:
    """What the re-clustering's run says of itself; nothing where it is gone."""
    try:
        return runs.read_summary(layout.runs(category) / snapshot.run)
    except (OSError, StoreError):
        return {}


def _typical(folder: Path, labels: NDArray[np.int64]) -> list[list[int]]:
    """Rows of the images nearest to the mean of each group, nearest first; descriptors are read a part at a time."""
    n_groups = int(labels.max()) + 1
    sums: NDArray[np.float64] | None = None
    for rows, values in _parts(folder, len(labels)):
        if sums is None:
            sums = np.zeros((n_groups, values.shape[1]))
        np.add.at(sums, labels[rows], values)
    means = (sums if sums is not None else np.zeros((n_groups, 1))) / np.bincount(labels)[:, None]
    away = np.concatenate(
        [np.linalg.norm(values - means[labels[rows]], axis=1) for rows, values in _parts(folder, len(labels))]
    )
    order = np.lexsort((np.arange(len(labels)), away))
    found: list[list[int]] = [[] for _ in range(n_groups)]
    for row in order.tolist():
        group = found[labels[row]]
        if len(group) < N_TYPICAL:
            group.append(row)
    return found


def _parts(folder: Path, n_rows: int) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    for start in range(0, n_rows, _ROWS):
        rows = slice(start, min(start + _ROWS, n_rows))
        yield rows, arrays.read(folder, "descriptors", (rows,)).astype(np.float64)
