"""Known clusters that a re-clustering would lose: each stays as long as it lies apart from what it would be joined to.

A cut of a tree has one height for all clusters, so that a small kind, told to people weeks ago, may disappear in its
neighbour when other images come. What has been told is not taken back for such a reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage

from anoclust_core.arrays import checked_array
from anoclust_core.clustering.checks import checked_descriptors
from anoclust_core.errors import ArrayContractError
from anoclust_core.matching.identities import id_order

APART: Final = 3.0
"""Separation from which on two groups are two. The halves of one population, cut by Ward's criterion, have 1.5 to 2.8
on average over 5 to 500 dimensions and 12 to 500 images; different kinds of the demo have 3.5 to 10."""

STILL_APART: Final = 2.0
"""Separation down to which a known cluster stays. Less than what a new one needs: what has been told is not taken back
because a few images more have come between."""

NEIGHBOURS: Final = 3
"""Nearest clusters that a group may be a piece of."""

FEWEST: Final = 3
"""Images below which nothing can be said about a group's spread."""

TOGETHER: Final = 2 / 3
OWN_PART: Final = 1 / 3
"""Part of a lost cluster's images that have to be in a branch that takes its place, and least part of these in it."""

_MOST_BESIDE: Final = 1000
"""Images of a cluster that the branches are looked for among at most: the nearest to the lost cluster's mean."""


def separation(own: NDArray[np.floating[Any]], others: NDArray[np.floating[Any]]) -> float:
    r"""How far two groups of images lie apart on the line between their means, in standard deviations.

    Each image is measured against means that are made without it. With :math:`u_i` the direction from the mean of the
    others to that of the own group, and :math:`c_i` the middle between the two means, its place is
    :math:`s_i = \langle x_i - c_i, u_i \rangle`, and

    .. math:: d = (\bar s_\text{own} - \bar s_\text{others}) / s_\text{within}

    with the pooled standard deviation within the groups. Without that, any few images of many dimensions would lie
    apart.

    Parameters
    ----------
    own, others
        Shape ``(n_images, dim)`` each, finite, at least one row.

    Returns
    -------
    separation
        About 2 for neighbouring parts of one population, 0 or less for random parts of it; infinite where neither group
        has any spread. 0 where one of the groups has a single image: nothing is known of it.

    Raises
    ------
    ArrayContractError
        If an array is not two-dimensional or not finite, or they differ in length.
    """
    first, second = checked_descriptors(own, min_rows=1), checked_descriptors(others, min_rows=1)
    if first.shape[1] != second.shape[1]:
        raise ArrayContractError(f"expected descriptors of one length, found {first.shape[1]} and {second.shape[1]}")
    if min(len(first), len(second)) < 2:
        return 0.0
    places, opposite = _places(first, second), -_places(second, first)
    squares = ((places - places.mean()) ** 2).sum() + ((opposite - opposite.mean()) ** 2).sum()
    within = np.sqrt(squares / (len(first) + len(second) - 2))
    gap = float(places.mean() - opposite.mean())
    if within <= 1e-12 * max(abs(gap), 1e-300):
        return float(np.inf) if gap > 0 else 0.0
    return gap / float(within)


def is_apart(
    own: NDArray[np.floating[Any]], clusters: Mapping[str, NDArray[np.floating[Any]]], *, by: float = APART
) -> bool:
    """Whether some images lie apart from each of the clusters that are nearest to them, ``NEIGHBOURS``.

    Parameters
    ----------
    own
        Shape ``(n_images, dim)``; of fewer than ``FEWEST`` nothing can be said, so that they do not.
    clusters
        By identity the descriptors of its images, likewise; those of a single image are left out.
    by
        Separation that they have at least.

    Raises
    ------
    ArrayContractError
        As `separation`.
    """
    rows = checked_descriptors(own, min_rows=1)
    if len(rows) < FEWEST:
        return False
    others = {name: checked_descriptors(values) for name, values in clusters.items() if len(values) > 1}
    far = {name: float(np.linalg.norm(values.mean(axis=0) - rows.mean(axis=0))) for name, values in others.items()}
    nearest = sorted(far, key=lambda name: (far[name], id_order(name)))[:NEIGHBOURS]
    return all(separation(rows, others[name]) >= by for name in nearest)


def keep_apart(
    descriptors: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]], lost: Mapping[str, Sequence[int]]
) -> tuple[NDArray[np.int64], dict[str, float]]:
    """Give lost clusters a label of their own again where they lie apart from every cluster that has their images.

    Where they do not, others of their kind may be beside them: a few images that were in other clusters before. So the
    branches of the cluster's tree (Ward) are asked as well that hold ``TOGETHER`` of the lost cluster's images, and are
    made up of them by ``OWN_PART`` at least. The one that lies furthest apart takes the place of the lost cluster if it
    lies ``APART``.

    Parameters
    ----------
    descriptors
        Shape ``(n_images, dim)``, finite: those that images are given to clusters by.
    labels
        Shape ``(n_images,)``, from 0 without gaps: the new clustering.
    lost
        By identity the rows of the images that a cluster had.

    Returns
    -------
    labels
        Shape ``(n_images,)``, int64, from 0 without gaps: new labels come after the others.
    separations
        Of every lost cluster the smallest separation from a cluster that its images went to, or that of the branch that
        takes its place; 0 where it has fewer than ``FEWEST`` images. Those of at least ``STILL_APART`` have a label of
        their own.

    Raises
    ------
    ArrayContractError
        If the shapes do not fit.
    """
    values = checked_descriptors(descriptors, min_rows=1)
    found = checked_array("labels", labels, "(n_images,)").astype(np.int64)
    if found.shape != (len(values),):
        raise ArrayContractError(f"expected one label for each of {len(values)} descriptors, found {found.shape}")
    separations = {}
    for name in sorted(lost, key=id_order):
        rows = np.array(sorted(lost[name]), dtype=np.int64)
        separations[name] = _from_all(values, found, rows) if len(rows) >= FEWEST else 0.0
        if len(rows) >= FEWEST and separations[name] < STILL_APART:
            branch, by = _furthest_branch(values, found, rows)
            if by >= APART:
                rows, separations[name] = branch, by
        if separations[name] >= STILL_APART:
            found[rows] = found.max() + 1
    _, renumbered = np.unique(found, return_inverse=True)
    return renumbered.astype(np.int64), separations


def _from_all(values: NDArray[np.float64], labels: NDArray[np.int64], rows: NDArray[np.int64]) -> float:
    """Smallest separation from the rest of a cluster that some of the rows are in; infinite where nothing is left."""
    inside = np.zeros(len(values), np.bool_)
    inside[rows] = True
    left = [values[(labels == label) & ~inside] for label in np.unique(labels[rows])]
    return min((separation(values[rows], rest) for rest in left if len(rest) > 1), default=float(np.inf))


def _furthest_branch(
    values: NDArray[np.float64], labels: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], float]:
    """Branch around some rows that lies furthest apart from the rest of their cluster, and by how much; 0 for none."""
    homes, counts = np.unique(labels[rows], return_counts=True)
    inside = labels == homes[counts.argmax()]
    own = np.zeros(len(values), np.bool_)
    own[rows] = True
    among = np.flatnonzero(inside)
    far = np.linalg.norm(values[among] - values[rows].mean(axis=0), axis=1)
    among = among[np.argsort(far, kind="stable")[:_MOST_BESIDE]]
    best, best_by = rows, 0.0
    if len(among) < 2 * FEWEST:
        return best, best_by
    members: list[NDArray[np.int64]] = [among[[at]] for at in range(len(among))]
    for first, second in linkage(values[among], "ward")[:, :2].astype(int).tolist():
        branch = np.concatenate([members[first], members[second]])
        members.append(branch)
        n_own = int(own[branch].sum())
        if n_own < TOGETHER * len(rows) or n_own < OWN_PART * len(branch):
            continue
        outside = inside.copy()
        outside[branch] = False
        by = separation(values[branch], values[outside]) if outside.sum() > 1 else 0.0
        if by > best_by:
            best, best_by = branch, by
    return best, best_by


def _places(own: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    means = (own.sum(axis=0) - own) / (len(own) - 1)
    opposite = others.mean(axis=0)
    directions = means - opposite
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    directions = np.divide(directions, lengths, out=np.zeros_like(directions), where=lengths > 0)
    return np.asarray(((own - (means + opposite) / 2) * directions).sum(axis=1))
