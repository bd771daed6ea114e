"""A clustering that respects what people decided about some images, and learns from it for all others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import TRUTHS, WHOLE, checked_array
from anoclust_core.clustering.checks import check_linkage, checked_descriptors
from anoclust_core.clustering.few_groups import few_groups
from anoclust_core.clustering.learning.head import Head, fit_head
from anoclust_core.clustering.learning.keeping import as_they_are, tells_better
from anoclust_core.clustering.learning.rounds import distances_to, in_rounds, join_parts, means_of
from anoclust_core.clustering.learning.seeded import LABEL_WEIGHT, MOST_LEAVES, seeded_ward
from anoclust_core.errors import ArrayContractError, ConfigError


@dataclass(frozen=True)
class Labelled:
    """What people decided about single images of a clustering.

    Attributes
    ----------
    groups
        Shape ``(n_images,)``, int64: group that each image belongs to, from 0 without gaps; -1 where nobody said it.
        Images of one group stay together, those of two stay apart.
    forbidden
        Shape ``(n_images, n_groups)``, bool: groups that an image is not in.
    """

    groups: NDArray[np.int64]
    forbidden: NDArray[np.bool_]

    @property
    def n_groups(self) -> int:
        """How many groups there are."""
        return int(self.forbidden.shape[1])


@dataclass(frozen=True)
class Learnt:
    """A clustering that people's labels shaped.

    Attributes
    ----------
    labels
        Shape ``(n_images,)``, int64, from 0 without gaps: the groups have their own numbers, clusters that nobody named
        come after them by decreasing size.
    head
        Scores of these clusters, for images that come later.
    """

    labels: NDArray[np.int64]
    head: Head


def learning_space(descriptors: NDArray[np.floating[Any]], smoothed: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Mean of the descriptors before and after smoothing over neighbours, in which is learnt: ``(n_images, dim)``.

    Raises
    ------
    ArrayContractError
        If the two have not the same shape, or are not two-dimensional and finite.
    """
    before, after = checked_descriptors(descriptors, min_rows=1), checked_descriptors(smoothed, min_rows=1)
    if before.shape != after.shape:
        raise ArrayContractError(f"expected descriptors of one shape, found {before.shape} and {after.shape}")
    return (before + after) / 2


def contradicts(labels: NDArray[np.integer[Any]], labelled: Labelled) -> bool:
    """Whether a clustering goes against what people decided: a group is in two clusters, or two are in one.

    So does an image in the cluster of a group that it is not in.

    Parameters
    ----------
    labels
        Shape ``(n_images,)``: the clustering.
    labelled
        What people decided.

    Raises
    ------
    ArrayContractError
        If there is not one label for each image.
    """
    found = _checked_labels(labels, labelled)
    said = labelled.groups >= 0
    pairs = np.unique(np.column_stack([labelled.groups[said], found[said]]), axis=0)
    if len(pairs) != len(np.unique(pairs[:, 0])) or len(pairs) != len(np.unique(pairs[:, 1])):
        return True
    home = dict(pairs.tolist())
    return any(home.get(group) == found[row] for row, group in np.argwhere(labelled.forbidden).tolist())


def learn_partition(
    values: NDArray[np.floating[Any]],
    linkage: NDArray[np.float64],
    labelled: Labelled,
    *,
    n_clusters: int,
    plain: NDArray[np.integer[Any]] | None = None,
    fewest: int = 1,
) -> Learnt:
    r"""Cluster images again around groups that people named, and learn from that what tells the clusters apart.

    1. A tree by Ward's criterion begins from the mean of each group, with ``LABEL_WEIGHT`` for a label, and from single
       images; two groups never merge (`seeded_ward`). It stops at ``n_clusters``, or the number of groups.
    2. Rounds of k-means in which labels count (`in_rounds`); a cluster in which labelled images would lie joins their
       group (`join_parts`).
    3. A linear head is fitted to the result (`fit_head`), and each image without a label goes to the cluster with the
       largest score.
    4. Where that does not tell labelled images better than the clusters without labels do, these stay, and only images
       that people decided about move (`tells_better`, `as_they_are`).

    Images of one group are together in the end, those of two apart, and no image is in a group that is forbidden to
    it, whatever the descriptors say. An image that is in no group and may be in none is in a cluster without a name.

    Parameters
    ----------
    values
        Shape ``(n_images, dim)``, finite: as of `learning_space`.
    linkage
        Shape ``(n_images - 1, 4)``, SciPy's layout: a tree without labels. Of more than ``MOST_LEAVES`` images, so many
        of its groups are leaves in step 1.
    labelled
        What people decided, some image at least.
    n_clusters
        Clusters that the tree suggests.
    plain
        Shape ``(n_images,)``, from 0: the clusters without labels, for step 4; without them it is left out.
    fewest
        Clusters that are left at least, where there are images for them.

    Raises
    ------
    ArrayContractError
        If the arrays do not fit each other.
    ConfigError
        If nothing is labelled, or ``n_clusters`` is below 1.
    """
    rows = checked_descriptors(values)
    check_linkage(linkage)
    _check_labelled(labelled, len(rows))
    if len(linkage) + 1 != len(rows):
        raise ArrayContractError(f"expected a tree of {len(rows)} images, found one of {len(linkage) + 1}")
    if n_clusters < 1:
        raise ConfigError(f"expected at least 1 cluster, found {n_clusters}")
    n_groups = labelled.n_groups
    has_no_group = bool((labelled.forbidden.all(axis=1) & (labelled.groups < 0)).any())
    least = max(fewest, n_groups + has_no_group)
    labels = _seeded(rows, linkage, labelled, max(n_clusters, least))
    labels = _beside_groups(rows, labels, labelled)
    labels = in_rounds(rows, labels, labelled.groups, labelled.forbidden)
    labels = _without_gaps(labels, n_groups)
    labels = join_parts(rows, labels, labelled.groups, labelled.forbidden, fewest=least)
    labels = _without_gaps(labels, n_groups)
    is_sure = labelled.groups >= 0
    scores = fit_head(rows, labels, is_sure=is_sure).scores(rows)
    scores[:, :n_groups][labelled.forbidden] = -np.inf
    labels = _without_gaps(np.where(is_sure, labelled.groups, scores.argmax(axis=1)), n_groups)
    if plain is not None:
        clusters = _checked_labels(plain, labelled)
        if not tells_better(rows, labels, clusters, labelled.groups, n_groups=n_groups):
            labels = as_they_are(clusters, labelled.groups, labelled.forbidden)
            labels = _without_gaps(_beside_groups(rows, labels, labelled), n_groups)
    return Learnt(labels, fit_head(rows, labels, is_sure=is_sure))


def _seeded(
    values: NDArray[np.float64], linkage: NDArray[np.float64], labelled: Labelled, n_clusters: int
) -> NDArray[np.int64]:
    """Step 1; -1 for images that have a label, or a group that they are not in."""
    groups = labelled.groups
    free = np.flatnonzero((groups < 0) & ~labelled.forbidden.any(axis=1))
    leaf_of = np.arange(len(free))
    if len(free) > MOST_LEAVES:
        leaf_of = np.unique(few_groups(linkage, n_groups=MOST_LEAVES).labels[free], return_inverse=True)[1]
    counts = np.bincount(leaf_of).astype(np.float64)
    order = np.argsort(leaf_of, kind="stable")
    starts = np.concatenate(([0], np.cumsum(counts)[:-1])).astype(np.int64)
    leaves = np.add.reduceat(values[free[order]], starts, axis=0) / counts[:, None] if len(free) else values[free]
    seeds = np.stack([values[groups == group].mean(axis=0) for group in range(labelled.n_groups)])
    masses = LABEL_WEIGHT * np.bincount(groups[groups >= 0], minlength=labelled.n_groups)
    found = seeded_ward(
        np.concatenate([seeds, leaves]),
        np.concatenate([masses, counts]),
        n_seeds=labelled.n_groups,
        n_clusters=min(n_clusters, labelled.n_groups + len(leaves)),
    )
    labels = np.where(groups >= 0, groups, -1)
    labels[free] = found[labelled.n_groups :][leaf_of]
    return labels


def _beside_groups(values: NDArray[np.float64], labels: NDArray[np.int64], labelled: Labelled) -> NDArray[np.int64]:
    """Put images with a forbidden group into the nearest cluster that is left to them; a new one where none is."""
    missing = np.flatnonzero(labels < 0)
    if not len(missing):
        return labels
    n_clusters = int(labels.max()) + 1
    far = distances_to(values[missing], means_of(values, labels, labelled.groups, n_clusters))
    far[:, : labelled.n_groups][labelled.forbidden[missing]] = np.inf
    found = labels.copy()
    found[missing] = np.where(np.isfinite(far).any(axis=1), far.argmin(axis=1), n_clusters)
    return found


def _without_gaps(labels: NDArray[np.int64], n_groups: int) -> NDArray[np.int64]:
    """Groups keep their numbers; other clusters have those after them, by decreasing size, then by the first image."""
    others = labels >= n_groups
    found = labels.copy()
    if others.any():
        _, first, codes, sizes = np.unique(labels[others], return_index=True, return_inverse=True, return_counts=True)
        numbers = np.empty(len(first), np.int64)
        numbers[np.lexsort((first, -sizes))] = np.arange(len(first))
        found[others] = n_groups + numbers[codes]
    return found


def _checked_labels(labels: NDArray[np.integer[Any]], labelled: Labelled) -> NDArray[np.int64]:
    found = checked_array("labels", labels, "(n_images,)", kinds=WHOLE).astype(np.int64)
    _check_labelled(labelled, len(found))
    return found


def _check_labelled(labelled: Labelled, n_images: int) -> None:
    groups = checked_array("groups", labelled.groups, "(n_images,)", kinds=WHOLE)
    forbidden = checked_array("forbidden", labelled.forbidden, "(n_images, n_groups)", kinds=TRUTHS)
    if len(groups) != n_images or len(forbidden) != n_images:
        raise ArrayContractError(
            f"expected groups and forbidden groups of {n_images} images, found {len(groups)} and {len(forbidden)}"
        )
    if not np.array_equal(np.unique(groups[groups >= 0]), np.arange(labelled.n_groups)):
        raise ArrayContractError(f"expected labels in each of {labelled.n_groups} groups, found some without")
    if not labelled.n_groups:
        raise ConfigError("expected a group that somebody named, found none; cluster without labels instead")
    labelled_rows = np.flatnonzero(groups >= 0)
    if forbidden[labelled_rows, groups[labelled_rows]].any():
        raise ArrayContractError("expected images in groups that are not forbidden to them, found one that is both")
