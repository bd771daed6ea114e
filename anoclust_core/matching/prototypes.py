r"""What a snapshot is remembered by: mean, size and radius of every cluster, in heights of Ward's tree.

How far an image is from a cluster of :math:`n` members with mean :math:`c` is the height at which Ward's tree would
merge the two,

.. math:: h(x) = \sqrt{2 n / (n + 1)}\; \lVert x - c \rVert

and not the distance to the nearest member: clusters are cut from Ward's tree, which knows means and sizes only. Half of
the images clustered, the other half assigned, compared with all of them clustered at once (ARI over 8 draws at the
number of classes): nearest member 0.47 on Magnetic Tile, 0.43 on coffee leaves and 0.74 to 0.96 on the demo;
mean 0.55, 0.52 and 0.80 to 0.99; this height 0.55, 0.52 and 0.80 to 0.99, ahead of the mean where clusters are small.

For images of one population :math:`E\, h^2` is the same for every :math:`n`: a mean of few members is off by just as
much as the factor takes back. So small clusters can borrow from large ones how far a member may be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.stats import norm, t

from anoclust_core.arrays import checked_array, checked_sequence
from anoclust_core.clustering.checks import check_cut, checked_descriptors
from anoclust_core.clustering.order import by_content
from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.matching.confidence import UNFITTED, fit_slope
from anoclust_core.matching.identities import id_order

BORROWED_MEMBERS: Final = 4
"""Members' worth of the snapshot's typical spread that every cluster's own is averaged with."""

RADIUS_DEVIATIONS: Final = 3.0
"""Standard deviations beyond the mean at which an image is too far, where there are members enough to know them.

On the demo at the number of classes this leaves 0 to 5 % of images of known classes unknown, and 68 to 89 % of a class
that the snapshot never saw.
"""


MAX_DEVIATIONS: Final = 5.0
"""Where a snapshot has hardly more images than clusters nothing says how far a member may be."""


_TINY: Final = 1e-12


@dataclass(frozen=True)
class Groups:
    """Groups of images, or single images: groups of one.

    Attributes
    ----------
    ids
        Name of each, each once: of a cluster its lasting identity, in the order of `id_order`.
    means
        Shape ``(n_groups, dim)``, float64: mean descriptors.
    sizes
        Shape ``(n_groups,)``, int64, at least 1: members that the mean is of.
    """

    ids: tuple[str, ...]
    means: NDArray[np.float64]
    sizes: NDArray[np.int64]


@dataclass(frozen=True)
class Prototypes(Groups):
    """Clusters that new images are assigned to.

    Attributes
    ----------
    ids, means, sizes
        As in `Groups`.
    radii
        Shape ``(n_clusters,)``, float64 >= 0, in descriptor units: beyond it an image is too far.
    merge_height
        Highest merge that the snapshot's cut kept.
    lone
        Typical height and standard deviation of a cluster that has no spread of its own: those of the whole snapshot.
    deviations
        Standard deviations from the mean height of a member to the radius.
    slope
        Log odds that the nearest cluster is the right one, per unit of the margin, as the snapshot's members have it:
        see `anoclust_core.matching.confidence.fit_slope`.
    """

    radii: NDArray[np.float64]
    merge_height: float
    lone: tuple[float, float]
    deviations: float
    slope: float = UNFITTED

    @property
    def lone_radius(self) -> float:
        """Radius of a cluster that has no spread of its own: how far two images of one kind may be apart."""
        return self.lone[0] + self.deviations * self.lone[1]

    @property
    def apart(self) -> float:
        """Height from which on two clusters are two: the merge height, or the lone radius where that is larger."""
        return max(self.merge_height, self.lone_radius)


def merge_height(linkage: NDArray[np.float64], *, n_clusters: int) -> float:
    """Highest merge that a cut into ``n_clusters`` clusters keeps, in descriptor units; 0 where it keeps none.

    Parameters
    ----------
    linkage
        As in `anoclust_core.clustering.linkage.linkage_tree`.
    n_clusters
        From 1 to ``n_images``.

    Raises
    ------
    ArrayContractError, ConfigError
        As `anoclust_core.clustering.checks.check_cut`.
    """
    n_images = check_cut(linkage, n_clusters)
    return float(linkage[n_images - n_clusters - 1, 2]) if n_clusters < n_images else 0.0


def fit_prototypes(descriptors: NDArray[np.floating[Any]], ids: Sequence[str], *, merge_height: float) -> Prototypes:
    r"""Mean, size and radius of every cluster of a snapshot, without labels.

    With :math:`h_i` the height at which member :math:`i` would be merged with the others of its cluster, the radius is

    .. math:: r_k = m_k + t\, s_k

    where :math:`m_k` and :math:`s_k` are mean and standard deviation of :math:`h_i` in the cluster, each averaged with
    ``BORROWED_MEMBERS`` members' worth of the whole snapshot's, and :math:`t` is Student's quantile for as many degrees
    of freedom as the whole snapshot has members beyond the first of each cluster: 3 for many, ``MAX_DEVIATIONS`` at
    most. A cluster of one has the snapshot's alone; where no cluster has two members, every radius is the merge height.
    That is no limit otherwise: Ward's tree of few images merges the nearest first and ends below what is typical.
    Permuting the images changes nothing.

    Parameters
    ----------
    descriptors
        Shape ``(n_images, dim)``, finite, at least one row.
    ids
        Identity of the cluster of each image.
    merge_height
        Highest merge that the snapshot's cut kept, as in `merge_height`; at least 0.

    Raises
    ------
    ArrayContractError
        If ``descriptors`` is not two-dimensional, finite and filled, or there is not one identity per row.
    ConfigError
        If ``merge_height`` is negative or not finite.
    """
    _check_height(merge_height)
    groups = _grouped(descriptors, ids)
    heights = {name: _own_heights(rows) for name, rows in groups.items()}
    with_spread = [own for own in heights.values() if len(own)]
    if with_spread:
        pooled = np.concatenate(with_spread)
        freedom = len(pooled) - len(with_spread)
        within = float(np.sqrt(sum(float(((own - own.mean()) ** 2).sum()) for own in with_spread) / freedom))
        lone = (float(pooled.mean()), within)
        deviations = min(MAX_DEVIATIONS, float(t.isf(norm.sf(RADIUS_DEVIATIONS), freedom)))
    else:
        lone, deviations = (merge_height, 0.0), MAX_DEVIATIONS
    fitted = _prototypes(groups, merge_height, lone, deviations)
    return replace(fitted, slope=fit_slope(_own_margins(groups, heights, fitted)))


def extended(prototypes: Prototypes, descriptors: NDArray[np.floating[Any]], ids: Sequence[str]) -> Prototypes:
    """Prototypes and, beside them, clusters born since; what is typical of the snapshot stays.

    Parameters
    ----------
    prototypes
        Those of a snapshot.
    descriptors, ids
        Members of the new clusters, as in `fit_prototypes`.

    Raises
    ------
    ArrayContractError
        As `fit_prototypes`, or if the descriptors are of another length.
    ConfigError
        If a new cluster has the identity of one that is there already.
    """
    groups = _grouped(descriptors, ids)
    twice = sorted(set(groups) & set(prototypes.ids), key=id_order)
    if twice:
        raise ConfigError(f"expected identities of new clusters, found {', '.join(twice)} again; take `fresh_ids`")
    new = _prototypes(groups, prototypes.merge_height, prototypes.lone, prototypes.deviations)
    check_dim(new.means, prototypes)
    both = (prototypes, new)
    ids_of_both = [name for part in both for name in part.ids]
    order = sorted(range(len(ids_of_both)), key=lambda at: id_order(ids_of_both[at]))
    return Prototypes(
        ids=tuple(ids_of_both[at] for at in order),
        means=np.concatenate([part.means for part in both])[order],
        sizes=np.concatenate([part.sizes for part in both])[order],
        radii=np.concatenate([part.radii for part in both])[order],
        merge_height=prototypes.merge_height,
        lone=prototypes.lone,
        deviations=prototypes.deviations,
        slope=prototypes.slope,
    )


def heights_between(old: Groups, new: Groups) -> dict[tuple[str, str], float]:
    r"""Height at which Ward's tree would merge each old cluster with each new one.

    .. math:: h = \sqrt{2 n_o n_n / (n_o + n_n)}\; \lVert c_o - c_n \rVert

    Two samples of one population are about as far apart as one image and a sample of it, whatever their sizes.

    Raises
    ------
    ArrayContractError
        If the two are of another length: embeddings of two kinds cannot be compared.
    """
    check_dim(new.means, old)
    factors = np.sqrt(2 * np.outer(old.sizes, new.sizes) / np.add.outer(old.sizes, new.sizes))
    heights = factors * cdist(old.means, new.means)
    return {(a, b): float(heights[i, j]) for i, a in enumerate(old.ids) for j, b in enumerate(new.ids)}


def check_dim(descriptors: NDArray[np.float64], prototypes: Groups) -> None:
    """Refuse descriptors that are of another length than the prototypes."""
    descriptors = checked_array("descriptors", descriptors, "(n_images, dim)", lists=False)
    if descriptors.shape[1] != prototypes.means.shape[1]:
        raise ArrayContractError(
            f"expected descriptors of length {prototypes.means.shape[1]} like the snapshot's, found "
            f"{descriptors.shape[1]}; another backbone needs a snapshot of its own"
        )


def _check_height(height: float) -> None:
    if not (np.isfinite(height) and height >= 0):
        raise ConfigError(f"expected a merge height of at least 0, found {height}; take that of the snapshot's tree")


def _grouped(descriptors: NDArray[np.floating[Any]], ids: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Members of every cluster, clusters by identity, members by content: no sum depends on the row order."""
    ids = checked_sequence("ids", ids, (str,))
    values = checked_descriptors(descriptors, min_rows=1)
    if len(ids) != len(values):
        raise ArrayContractError(f"expected {len(values)} identities, one per descriptor, found {len(ids)}")
    order = by_content(values)
    names = np.array(ids, dtype=object)[order]
    return {name: values[order[names == name]] for name in sorted(set(ids), key=id_order)}


def _own_heights(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Height at which each member would be merged with the others; none of a cluster of one."""
    n = len(rows)
    if n == 1:
        return np.empty(0)
    # the mean of the others is n / (n - 1) as far away as that of all; Ward's factor is sqrt(2 (n - 1) / n)
    return np.asarray(np.sqrt(2 * n / (n - 1)) * np.linalg.norm(rows - rows.mean(axis=0), axis=1))


def _own_margins(
    groups: dict[str, NDArray[np.float64]], heights: dict[str, NDArray[np.float64]], fitted: Prototypes
) -> NDArray[np.float64]:
    """Margin of every member that was taken out of its cluster; none of a cluster of one."""
    factors = np.sqrt(2 * fitted.sizes / (fitted.sizes + 1))
    margins = []
    for at, (name, rows) in enumerate(groups.items()):
        if len(heights[name]) and len(groups) > 1:
            others = np.delete(cdist(rows, fitted.means) * factors, at, axis=1).min(axis=1)
            margins.append(np.log(np.maximum(others, _TINY)) - np.log(np.maximum(heights[name], _TINY)))
    return np.concatenate(margins) if margins else np.empty(0)


def _prototypes(
    groups: dict[str, NDArray[np.float64]], height: float, lone: tuple[float, float], deviations: float
) -> Prototypes:
    radii = []
    for rows in groups.values():
        own = _own_heights(rows)
        mass = len(own) + BORROWED_MEMBERS
        mean = (own.sum() + BORROWED_MEMBERS * lone[0]) / mass
        squares = ((own - own.mean()) ** 2).sum() if len(own) else 0.0
        deviation = np.sqrt((squares + BORROWED_MEMBERS * lone[1] ** 2) / (max(len(own) - 1, 0) + BORROWED_MEMBERS))
        radii.append(mean + deviations * deviation)
    return Prototypes(
        ids=tuple(groups),
        means=np.stack([rows.mean(axis=0) for rows in groups.values()]),
        sizes=np.array([len(rows) for rows in groups.values()], dtype=np.int64),
        radii=np.array(radii, dtype=np.float64),
        merge_height=height,
        lone=lone,
        deviations=deviations,
    )
