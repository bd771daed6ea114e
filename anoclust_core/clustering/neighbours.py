"""A cut that follows the neighbours of the images: pieces of one kind are joined, and what falls apart is split.

A cut of a tree has one height. Where kinds differ in size, it cuts the largest into pieces and leaves small ones
together, although they are branches of the tree. The tree stays as it is; other branches of it become clusters.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list
from scipy.sparse import csr_array

from anoclust_core.arrays import WHOLE, checked_array
from anoclust_core.clustering.checks import check_bounds, checked_descriptors
from anoclust_core.clustering.labels import numbered_by_size
from anoclust_core.errors import ArrayContractError

NEIGHBOURS: Final = 20
"""Nearest images that an image is linked to."""

FEWEST_TO_JOIN: Final = 30
"""Images that pieces have at least to be joined: most of the links of fewer lead out of them, whatever they show."""

SPLIT: Final = 0.05
JOIN: Final = 0.25
"""Resolutions down to which a cluster is split, and from which on pieces are joined. The first asks for far fewer links
between two kinds than the second between two pieces, so that in doubt the cut of the tree stays."""

_STEPS: Final = tuple(1.5**step for step in range(12))
"""Factors that the resolutions are moved apart by where the number of clusters has bounds."""

MAX_AMONG: Final = 4000
"""Images that links are found among: of more, evenly spaced rows are taken."""

_ROWS_AT_ONCE: Final = 512


def shared_neighbours(
    descriptors: NDArray[np.floating[Any]], *, rows: NDArray[np.integer[Any]] | None = None
) -> csr_array:
    r"""Link every image to its nearest, as strongly as the two have neighbours in common (Jarvis & Patrick, 1973).

    .. math:: w_{ij} = |N_k(i) \cap N_k(j)| / k \ \text{ if } j \in N_k(i) \text{ or } i \in N_k(j), \text{ else } 0

    with k of ``NEIGHBOURS``, or one less than the images where these are fewer.

    Parameters
    ----------
    descriptors
        Shape ``(n_images, dim)``, finite, at least two rows.
    rows
        Rows that links are found among, ascending; by default all. Copies of an image are best left out: they are each
        other's neighbours whatever they show. Of more than ``MAX_AMONG``, that many evenly spaced ones are taken.

    Returns
    -------
    links
        Shape ``(n_images, n_images)``, sparse, symmetric, from 0 to 1; nothing in rows that were not taken.

    Raises
    ------
    ArrayContractError
        If ``descriptors`` are not two-dimensional and finite, or ``rows`` are no rows of them.
    """
    values = checked_descriptors(descriptors)
    taken = np.arange(len(values)) if rows is None else checked_array("rows", rows, "(n_rows,)", kinds=WHOLE)
    if taken.ndim != 1 or (len(taken) and not 0 <= taken.min() <= taken.max() < len(values)):
        raise ArrayContractError(f"expected rows of {len(values)} descriptors, found {taken.shape} that are not")
    taken = taken[np.unique(np.linspace(0, len(taken) - 1, min(len(taken), MAX_AMONG)).astype(int))]
    k = min(NEIGHBOURS, len(taken) - 1)
    if k < 1:
        return csr_array((len(values), len(values)))
    among = values[taken]
    squares = np.einsum("nd,nd->n", among, among)
    nearest = np.empty((len(taken), k), dtype=np.int64)
    for start in range(0, len(taken), _ROWS_AT_ONCE):
        block = among[start : start + _ROWS_AT_ONCE]
        distances = squares - 2 * (block @ among.T)
        distances[np.arange(len(block)), np.arange(start, start + len(block))] = np.inf
        nearest[start : start + len(block)] = np.argpartition(distances, k - 1, axis=1)[:, :k]
    ends = (np.repeat(taken, k), taken[nearest].ravel())
    is_near = csr_array((np.ones(len(ends[0])), ends), shape=(len(values), len(values)))
    first, second = (is_near + is_near.T).nonzero()
    shared = is_near[first].multiply(is_near[second]).sum(axis=1) / k
    return csr_array((shared, (first, second)), shape=is_near.shape)


def follow_neighbours(
    linkage: NDArray[np.float64],
    labels: NDArray[np.integer[Any]],
    links: csr_array,
    *,
    lowest: int = 1,
    highest: int | None = None,
) -> NDArray[np.int64]:
    r"""Change a cut of a tree where the links between the images say so: first split clusters, then join them.

    A set of branches is judged by the modularity of the links (Newman & Girvan, 2004) at a resolution
    :math:`\gamma` (Reichardt & Bornholdt, 2006),

    .. math:: Q_\gamma = \sum_c \Big( \frac{\sum_{i, j \in c} w_{ij}}{\sum_{i, j} w_{ij}} - \gamma \Big(
        \frac{\sum_{i \in c, j} w_{ij}}{\sum_{i, j} w_{ij}} \Big)^2 \Big)

    A cluster is split into those of its branches whose :math:`Q` at ``SPLIT`` is largest. Clusters that make up a
    branch are joined where that is larger at ``JOIN``, if none of them was split and each has ``FEWEST_TO_JOIN``
    linked images. The best set of branches is found from the leaves up.

    Parameters
    ----------
    linkage
        Tree in SciPy's layout, shape ``(n_images - 1, 4)``, as of `anoclust_core.clustering.linkage.linkage_tree`.
    labels
        Shape ``(n_images,)``: a cut of that tree, as of `anoclust_core.clustering.linkage.cut_tree`.
    links
        Shape ``(n_images, n_images)``, as of `shared_neighbours`. Images without links count for nothing.
    lowest, highest
        Bounds of the number of clusters. Where it lies outside, the resolutions are moved apart step by step, so that
        only what is clearer is joined and split; if that does not help, the cut stays as it is.

    Returns
    -------
    labels
        Shape ``(n_images,)``, int64, numbered by decreasing size, ties by the first image; each cluster is a branch of
        the tree.

    Raises
    ------
    ArrayContractError
        If ``linkage`` is no tree, ``labels`` are no cut of it, or ``links`` have another shape.
    ConfigError
        If the bounds are not 1 to the number of images, in order.
    """
    check_bounds(linkage, lowest, highest)
    n_images = len(linkage) + 1
    cut = checked_array("labels", labels, "(n_images,)", kinds=WHOLE)
    if cut.shape != (n_images,) or links.shape != (n_images, n_images):
        raise ArrayContractError(
            f"expected labels and links of {n_images} images, found shapes {cut.shape} and {links.shape}"
        )
    children = linkage[:, :2].astype(np.int64).tolist()
    order = leaves_list(linkage)
    starts, sizes = _spans(children, order)
    inside, share, linked = _links_of_branches(children, order, starts, links)
    ordered = cut[order]
    changes = np.concatenate([[0], np.cumsum(ordered[1:] != ordered[:-1])])
    if changes[-1] != len(np.unique(cut)) - 1:
        raise ArrayContractError("expected labels that are a cut of the tree, found a cluster that is no branch of it")
    is_piece = changes[starts] == changes[starts + sizes - 1]
    for clearer in _STEPS:
        splits, joins = inside - SPLIT / clearer * share**2, inside - JOIN * clearer * share**2
        is_cluster = _chosen(children, is_piece, linked, splits, joins)
        found = _labels(children, order, starts, sizes, is_cluster)
        if lowest <= found.max() + 1 <= (highest or n_images):
            return numbered_by_size(found)
    return numbered_by_size(cut)


def _labels(
    children: list[list[int]],
    order: NDArray[np.int32],
    starts: NDArray[np.int64],
    sizes: NDArray[np.int64],
    is_cluster: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Cluster of each image, from 0: the highest branches that are clusters."""
    found = np.empty(len(order), dtype=np.int64)
    left, number = [len(sizes) - 1], 0
    while left:
        branch = left.pop()
        if is_cluster[branch]:
            found[order[starts[branch] : starts[branch] + sizes[branch]]] = number
            number += 1
        else:
            left += children[branch - len(order)]
    return found


def _chosen(
    children: list[list[int]],
    is_piece: NDArray[np.bool_],
    linked: NDArray[np.int64],
    splits: NDArray[np.float64],
    joins: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Whether each branch is better as one cluster than as the best branches below it.

    Within a piece of the cut ``splits`` tells, above that ``joins``, for pieces that are whole and have enough images.
    """
    n_images = len(children) + 1
    is_cluster, is_whole = np.ones(len(splits), np.bool_), linked >= FEWEST_TO_JOIN
    best_split, best_joined = splits.copy(), joins.copy()
    for branch, (first, second) in enumerate(children, start=n_images):
        if is_piece[branch]:
            apart = best_split[first] + best_split[second]
            is_cluster[branch] = splits[branch] >= apart
            best_split[branch] = max(splits[branch], apart)
            is_whole[branch] &= is_cluster[branch]
        else:
            apart = best_joined[first] + best_joined[second]
            is_whole[branch] = is_whole[first] and is_whole[second]
            is_cluster[branch] = is_whole[branch] and joins[branch] >= apart
            best_joined[branch] = max(joins[branch], apart) if is_whole[branch] else apart
    return is_cluster


def _spans(children: list[list[int]], order: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each branch, a leaf or a merge, begins in the order of the leaves, and how many leaves it has."""
    n_images = len(order)
    starts, sizes = np.empty(2 * n_images - 1, dtype=np.int64), np.ones(2 * n_images - 1, dtype=np.int64)
    starts[order] = np.arange(n_images)
    for branch, (first, second) in enumerate(children, start=n_images):
        starts[branch] = min(starts[first], starts[second])
        sizes[branch] = sizes[first] + sizes[second]
    return starts, sizes


def _links_of_branches(
    children: list[list[int]], order: NDArray[np.int32], starts: NDArray[np.int64], links: csr_array
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Of every branch the share of the links that lie within it, that of their ends in it, and its linked images."""
    n_images = len(order)
    inside, share = np.zeros(len(starts)), np.zeros(len(starts))
    linked = np.zeros(len(starts), dtype=np.int64)
    total = float(links.sum()) or 1.0
    share[:n_images] = links.sum(axis=1) / total
    linked[:n_images] = share[:n_images] > 0
    pairs = links.tocoo()
    merged_at = np.zeros(n_images, dtype=np.int64)
    for branch, (first, second) in enumerate(children, start=n_images):
        merged_at[max(starts[first], starts[second])] = branch
    met = _highest_between(merged_at, starts[pairs.coords[0]], starts[pairs.coords[1]])
    np.add.at(inside, met, pairs.data / total)
    for branch, (first, second) in enumerate(children, start=n_images):
        inside[branch] += inside[first] + inside[second]
        share[branch] = share[first] + share[second]
        linked[branch] = linked[first] + linked[second]
    return inside, share, linked


def _highest_between(
    merged_at: NDArray[np.int64], places: NDArray[np.int64], others: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Merge in which two leaves meet: the last of those between their places in the order, by a table of maxima."""
    low, high = np.minimum(places, others) + 1, np.maximum(places, others) + 1
    tables = [merged_at]
    while 2 ** len(tables) <= len(merged_at):
        last, step = tables[-1], 2 ** (len(tables) - 1)
        tables.append(np.maximum(last[:-step], last[step:]))
    found = np.empty(len(low), dtype=np.int64)
    level = np.frexp(high - low)[1] - 1
    for at, table in enumerate(tables):
        of_level = level == at
        found[of_level] = np.maximum(table[low[of_level]], table[high[of_level] - 2**at])
    return found
