"""Hierarchical clustering: the tree of merges, its cuts, and a label-free number of clusters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

import fastcluster
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import pdist, squareform

from anoclust_core.clustering.checks import (
    check_bounds,
    check_cut,
    checked_descriptors,
    checked_distances,
)
from anoclust_core.clustering.labels import numbered_by_size
from anoclust_core.clustering.rounds import ward_in_rounds
from anoclust_core.errors import ConfigError

LinkageMethod: TypeAlias = Literal["ward", "single", "complete", "average"]
"""How far apart two clusters are: Ward's criterion, or their nearest, farthest or mean pair of images."""

LINEAR_MEMORY: Final = frozenset({"ward", "single"})
"""Methods for which fastcluster needs no matrix of distances."""

MANY_IMAGES: Final = 2000
"""Descriptors from which on Ward's tree is made in rounds: below, fastcluster is as fast on two cores."""

DEFAULT_MAX_CLUSTERS: Final = 20
"""More types of anomaly than a person wants to look through in one report."""


@dataclass(frozen=True)
class NClustersSuggestion:
    """A number of clusters, at least 1, chosen without labels, and why, in words for the report.

    ``scores`` are those of all numbers tried, larger where better. They are empty where there was nothing to choose
    from.
    """

    n_clusters: int
    criterion: str
    scores: Mapping[int, float]

    @property
    def next_best(self) -> tuple[int, ...]:
        """The two numbers that come next, the better one first; fewer where fewer were tried."""
        others = [number for number in self.scores if number != self.n_clusters]
        return tuple(sorted(others, key=lambda number: -self.scores[number])[:2])


def linkage_tree(descriptors: NDArray[np.floating[Any]], *, method: LinkageMethod) -> NDArray[np.float64]:
    r"""Tree of merges over descriptors, the hierarchical clusterings of [SOHN23] sec. 4.3, Table 2.

    Two clusters A and B are merged at the height

    .. math::
        h_\text{ward} = \sqrt{2 |A| |B| / (|A| + |B|)}\; \lVert \bar a - \bar b \rVert, \quad
        h_\text{single} = \min_{a, b} \lVert a - b \rVert, \quad
        h_\text{complete} = \max_{a, b} \lVert a - b \rVert, \quad
        h_\text{average} = \operatorname{mean}_{a, b} \lVert a - b \rVert

    Ward and single linkage need memory linear in the images, complete and average 4 bytes x n_images^2. Time grows with
    the square of the images. Permuting the images permutes the tree, but equal heights are merged in an order that
    depends on the row order.

    Parameters
    ----------
    descriptors
        Shape ``(n_images, dim)``, finite, at least two rows; duplicate rows are fine and merge at height 0.
    method
        ``ward``, ``single``, ``complete`` or ``average``.

    Returns
    -------
    linkage
        Shape ``(n_images - 1, 4)``, float64, SciPy's layout: two cluster ids, height >= 0 in descriptor units
        (never decreasing), images in the merged cluster.

    Raises
    ------
    ArrayContractError
        If ``descriptors`` is not two-dimensional, not finite, has fewer than two rows, or is so large that squared
        distances overflow.
    ConfigError
        If ``method`` is unknown.
    """
    _check_method(method)
    values = checked_descriptors(descriptors)
    if method == "ward" and len(values) >= MANY_IMAGES:
        return ward_in_rounds(values)
    if method in LINEAR_MEMORY:
        return np.asarray(fastcluster.linkage_vector(values, method=method), dtype=np.float64)
    return _condensed_linkage(pdist(values), method)


def linkage_from_distances(distances: NDArray[np.floating[Any]], *, method: LinkageMethod) -> NDArray[np.float64]:
    r"""Tree of merges over given distances, such as the maximum Hausdorff distances of [SOHN23] eq. (2), Table 2.

    Single, complete and average linkage mean the same as in `linkage_tree`. Ward has no cluster means to measure
    between; it is the Lance-Williams recurrence on the squares of the given distances,

    .. math::
        h^2(A \cup B, C) = \frac{(|A| + |C|)\, h^2(A, C) + (|B| + |C|)\, h^2(B, C) - |C|\, h^2(A, B)}{|A| + |B| + |C|}

    which is Ward's criterion where the distances are Euclidean and its usual stand-in where they are not; heights never
    decrease in either case. The squaring is done here: pass plain distances.

    Memory is 12 bytes x n_images^2 beside the given array. Permuting the images permutes the tree, but equal
    heights are merged in an order that depends on the row order.

    Parameters
    ----------
    distances
        Shape ``(n_images, n_images)``, finite, >= 0, exactly symmetric, zero diagonal; at least two images.
    method
        As in `linkage_tree`.

    Returns
    -------
    linkage
        As in `linkage_tree`, heights in the distances' unit.

    Raises
    ------
    ArrayContractError
        If ``distances`` is anything else, or so large that squares overflow.
    ConfigError
        If ``method`` is unknown.
    """
    _check_method(method)
    return _condensed_linkage(squareform(checked_distances(distances), checks=False), method)


def cut_tree(linkage: NDArray[np.float64], *, n_clusters: int) -> NDArray[np.int64]:
    """Cut a tree into exactly ``n_clusters`` clusters, by undoing its last ``n_clusters - 1`` merges.

    Unlike a cut at a height (SciPy's ``fcluster`` with ``maxclust``) this reaches the number under equal heights too.

    Parameters
    ----------
    linkage
        Shape ``(n_images - 1, 4)``, float64, SciPy's layout, merges in order.
    n_clusters
        From 1 to ``n_images``.

    Returns
    -------
    labels
        Shape ``(n_images,)``, int64 in ``[0, n_clusters)``; numbered by decreasing size, ties by the first image.

    Raises
    ------
    ArrayContractError, ConfigError
        As `anoclust_core.clustering.checks.check_cut`.
    """
    n_images = check_cut(linkage, n_clusters)
    n_merges = n_images - n_clusters
    merged = n_images + np.repeat(np.arange(n_merges), 2)
    children = linkage[:n_merges, :2].astype(np.int64).ravel()
    n_nodes = n_images + n_merges
    edges = coo_array((np.ones(len(merged), dtype=np.int8), (merged, children)), shape=(n_nodes, n_nodes))
    _, components = connected_components(edges, directed=False)
    return numbered_by_size(components[:n_images])


def suggest_n_clusters(
    linkage: NDArray[np.float64],
    *,
    max_clusters: int = DEFAULT_MAX_CLUSTERS,
    lowest: int = 1,
    highest: int | None = None,
) -> NClustersSuggestion:
    """Cut the tree where it is longest: the largest ratio between two merge heights in a row; no labels are used.

    With k clusters the last k - 1 merges are undone. The suggestion is the k for which the lowest merge undone stands
    highest above the highest merge kept. The smallest number wins a tie. One cluster cannot be told from several this
    way; it is suggested only where there is nothing to choose from.

    Parameters
    ----------
    linkage
        As in `linkage_tree`.
    max_clusters
        At least 2.
    lowest, highest
        Bounds of the number, from 1 to the number of images; a highest one takes the place of ``max_clusters``.

    Returns
    -------
    suggestion
        The number, the reason and, for every number tried, the height of the first merge that is undone over that of
        the next one: at least 1, infinite where all kept merges have height 0.

    Raises
    ------
    ArrayContractError
        If ``linkage`` is no tree.
    ConfigError
        If ``max_clusters`` is too small, or the bounds leave no number.
    """
    check_bounds(linkage, lowest, highest)
    if max_clusters < 2:
        raise ConfigError(f"expected max_clusters of at least 2, found {max_clusters}; raise it, or cut the tree at 1")
    heights = linkage[::-1, 2]
    if lowest == (highest or len(heights) + 1):
        return NClustersSuggestion(lowest, f"bounded to {lowest}", {})
    if heights[0] == 0:
        return NClustersSuggestion(lowest, "one cluster: all descriptors are equal", {})
    if len(heights) == 1:
        return NClustersSuggestion(lowest, "one cluster: two images are too few to choose a number", {})
    bottom, top = max(2, lowest), min(highest or max(max_clusters, lowest), len(heights))
    if top < bottom:
        return NClustersSuggestion(lowest, f"at most {highest} asked for", {})
    undone, kept = heights[bottom - 2 : top - 1], heights[bottom - 1 : top]
    ratios = np.divide(undone, kept, out=np.where(undone > 0, np.inf, 1.0), where=kept > 0)
    criterion = f"largest step between merge heights, of {bottom} to {top} clusters"
    best = bottom + int(np.argmax(ratios))
    return NClustersSuggestion(best, criterion, dict(enumerate(ratios.tolist(), start=bottom)))


def _check_method(method: LinkageMethod) -> None:
    if method not in get_args(LinkageMethod):
        raise ConfigError(f"expected a linkage of {', '.join(get_args(LinkageMethod))}, found {method!r}; use one")


def _condensed_linkage(condensed: NDArray[np.float64], method: LinkageMethod) -> NDArray[np.float64]:
    """Tree over the upper triangle of checked distances, which is overwritten; fastcluster squares them for Ward."""
    return np.asarray(fastcluster.linkage(condensed, method=method, preserve_input=False), dtype=np.float64)
