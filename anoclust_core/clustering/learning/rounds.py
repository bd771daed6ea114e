"""Rounds of k-means in which labels count, and clusters that turn out to be part of a group that people named."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

MOST_ROUNDS: Final = 20
"""Rounds of k-means at most."""

ASSIGNED_MASS: Final = 3.0
"""Labels that all images assigned to a group count as in its mean, however many they are."""

AS_EXPECTED: Final = 0.5
"""Part of the labels that are expected among so many images, from which on a cluster is part of a group."""


def means_of(
    values: NDArray[np.float64], labels: NDArray[np.int64], groups: NDArray[np.int64], n_clusters: int
) -> NDArray[np.float64]:
    r"""Mean of every cluster; of a group, labels and the images assigned to it are averaged.

    .. math:: \mu_c = \frac{n_c\, \bar x_c + a\, \bar y_c}{n_c + a}

    with the mean :math:`\bar x_c` of its :math:`n_c` labelled images, the mean :math:`\bar y_c` of those assigned, and
    :math:`a` of ``ASSIGNED_MASS``. Assumes checked input; a cluster without images is infinitely far away.
    """
    sums, counts = _totals(values, np.where(groups < 0, labels, -1), n_clusters)
    labelled, n_labels = _totals(values, groups, n_clusters)
    masses = np.where(n_labels > 0, ASSIGNED_MASS, 1.0) * (counts > 0)
    total = n_labels + masses
    means = np.full((n_clusters, values.shape[1]), np.inf)
    there = total > 0
    means[there] = (labelled + sums * (masses / np.maximum(counts, 1))[:, None])[there] / total[there, None]
    return means


def _totals(
    values: NDArray[np.float64], numbers: NDArray[np.int64], n_numbers: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum of the rows of each number, and how many there are; one product, since there may be 20,000 rows."""
    is_of = csr_array(
        (np.ones(int((numbers >= 0).sum())), (numbers[numbers >= 0], np.flatnonzero(numbers >= 0))),
        shape=(n_numbers, len(values)),
    )
    return np.asarray(is_of @ values), np.asarray(is_of.sum(axis=1))


def in_rounds(
    values: NDArray[np.float64],
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    forbidden: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Give images without a label to the nearest mean, again and again; those with one stay. Assumes checked input.

    Parameters
    ----------
    values
        Shape ``(n_images, dim)``.
    labels
        Shape ``(n_images,)``: cluster of each, groups first; negative where it is still to be found.
    groups
        Shape ``(n_images,)``: group of each labelled image, else negative.
    forbidden
        Shape ``(n_images, n_groups)``: groups that an image is not in.
    """
    n_clusters = int(labels.max()) + 1
    is_free = groups < 0
    for _ in range(MOST_ROUNDS):
        far = distances_to(values, means_of(values, labels, groups, n_clusters))
        far[:, : forbidden.shape[1]][forbidden] = np.inf
        found = np.where(is_free, far.argmin(axis=1), groups)
        if np.array_equal(found, labels):
            break
        labels = found
    return labels


def distances_to(values: NDArray[np.float64], means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared distance of every row to every mean, but for what is the same of a row; infinite where a mean is."""
    is_there = np.isfinite(means).all(axis=1)
    far = np.full((len(values), len(means)), np.inf)
    there = means[is_there]
    far[:, is_there] = np.einsum("kd,kd->k", there, there) - 2 * values @ there.T
    return far


def join_parts(
    values: NDArray[np.float64],
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    forbidden: NDArray[np.bool_],
    *,
    fewest: int,
) -> NDArray[np.int64]:
    r"""Join clusters without a name to the group that they are part of.

    A tree has as many clusters as it suggests, however many kinds people know. So a kind in several pieces has a
    cluster without a label beside its group. Each labelled image is asked where it would be without its label: in a
    cluster of :math:`s` of :math:`n` images that is part of a group, the share :math:`s / n` of all :math:`L` labels is
    expected. Where one group has ``AS_EXPECTED`` of these or more, the cluster joins it, the clearest one first. Of a
    kind that nobody named, labels are elsewhere. Assumes checked input; other parameters as of `in_rounds`.

    Parameters
    ----------
    fewest
        Clusters that are left at least.
    """
    n_groups = forbidden.shape[1]
    labelled = np.flatnonzero(groups >= 0)
    while (n_clusters := int(labels.max()) + 1) > max(n_groups, fewest):
        votes = _votes(values, labels, groups, n_groups)[n_groups:]
        sizes = np.bincount(labels, minlength=n_clusters)[n_groups:]
        parts = votes.max(axis=1) / np.maximum(sizes * len(labelled) / len(values), 1e-12)
        part = int(parts.argmax())
        if parts[part] < AS_EXPECTED:
            break
        joined = np.where(labels == n_groups + part, votes[part].argmax(), labels)
        labels = in_rounds(values, joined - (joined > n_groups + part), groups, forbidden)
    return labels


def _votes(
    values: NDArray[np.float64], labels: NDArray[np.int64], groups: NDArray[np.int64], n_groups: int
) -> NDArray[np.float64]:
    """Labelled images of each group that would be in each cluster if they had no label, ``(n_clusters, n_groups)``."""
    votes = np.zeros((int(labels.max()) + 1, n_groups))
    np.add.at(votes, (without_label(values, labels, groups, n_groups), groups[groups >= 0]), 1)
    return votes


def without_label(
    values: NDArray[np.float64], labels: NDArray[np.int64], groups: NDArray[np.int64], n_groups: int
) -> NDArray[np.int64]:
    """Cluster that each labelled image would be in if it had no label, by the nearest mean, ``(n_labelled,)``.

    Parameters as of `in_rounds`; assumes checked input.
    """
    labelled = np.flatnonzero(groups >= 0)
    own, asked = groups[labelled], values[labelled]
    far = distances_to(asked, means_of(values, labels, groups, int(labels.max()) + 1))
    for group in range(n_groups):
        mine = np.flatnonzero(own == group)
        assigned = values[(labels == group) & (groups < 0)]
        others, mass = asked[mine].sum(axis=0) - asked[mine], float(len(mine) - 1)
        if len(assigned):
            others, mass = others + ASSIGNED_MASS * assigned.mean(axis=0), mass + ASSIGNED_MASS
        if mass:
            means = others / mass
            far[mine, group] = np.einsum("nd,nd->n", means, means - 2 * asked[mine])
        else:
            far[mine, group] = np.inf
    nearest: NDArray[np.int64] = far.argmin(axis=1)
    return nearest
