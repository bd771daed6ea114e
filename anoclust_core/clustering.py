"""Ward clustering of image descriptors: the tree, its cuts, and a label-free number of clusters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import fastcluster
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from anoclust_core.errors import ArrayContractError, ConfigError

DEFAULT_MAX_CLUSTERS: Final = 20
"""More types of anomaly than a person wants to look through in one report."""


@dataclass(frozen=True)
class NClustersSuggestion:
    """A number of clusters chosen without labels.

    Attributes
    ----------
    n_clusters
        At least 1.
    criterion
        Why this number, in words for the report.
    scores
        By number of clusters tried: the height of the first merge that is undone over that of the next one, at least 1;
        empty where there was nothing to choose from.
    """

    n_clusters: int
    criterion: str
    scores: Mapping[int, float]


def ward_linkage(descriptors: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    r"""Tree of merges by Ward's criterion, the clustering of [SOHN23] sec. 4, in memory linear in the images.

    .. math:: h(A, B) = \sqrt{2 |A| |B| / (|A| + |B|)}\; \lVert \bar a - \bar b \rVert

    Time grows with the square of the images. Equal heights are merged in an order that depends on the row order.

    Parameters
    ----------
    descriptors
        Shape ``(n_images, dim)``, finite, at least two rows; duplicate rows are fine and merge at height 0.

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
    """
    _check_descriptors(descriptors)
    linkage = np.asarray(fastcluster.linkage_vector(descriptors, method="ward"), dtype=np.float64)
    if not np.isfinite(linkage).all():
        raise ArrayContractError(
            "expected descriptors whose squared distances fit into float64, "
            f"found values up to {np.abs(descriptors).max():.3g}; scale the descriptors down"
        )
    return linkage


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
    ArrayContractError
        If ``linkage`` is no tree.
    ConfigError
        If there cannot be so many clusters.
    """
    _check_linkage(linkage)
    n_images = len(linkage) + 1
    if not 1 <= n_clusters <= n_images:
        raise ConfigError(f"expected 1 to {n_images} clusters for {n_images} images, found {n_clusters}; ask for fewer")
    n_merges = n_images - n_clusters
    merged = n_images + np.repeat(np.arange(n_merges), 2)
    children = linkage[:n_merges, :2].astype(np.int64).ravel()
    n_nodes = n_images + n_merges
    edges = coo_array((np.ones(len(merged), dtype=np.int8), (merged, children)), shape=(n_nodes, n_nodes))
    _, components = connected_components(edges, directed=False)
    return _numbered_by_size(components[:n_images])


def suggest_n_clusters(
    linkage: NDArray[np.float64], *, max_clusters: int = DEFAULT_MAX_CLUSTERS
) -> NClustersSuggestion:
    """Cut the tree where it is longest: the largest ratio between two merge heights in a row; no labels are used.

    With k clusters the last k - 1 merges are undone. The suggestion is the k for which the lowest merge undone stands
    highest above the highest merge kept. The smallest number wins a tie. One cluster cannot be told from several this
    way; it is suggested only where there is nothing to choose from.

    Parameters
    ----------
    linkage
        Shape ``(n_images - 1, 4)``, float64, SciPy's layout, heights never decreasing.
    max_clusters
        At least 2.

    Returns
    -------
    suggestion
        The number, the reason and the ratio of every number tried; infinite where all kept merges have height 0.

    Raises
    ------
    ArrayContractError
        If ``linkage`` is no tree.
    ConfigError
        If ``max_clusters`` is too small.
    """
    _check_linkage(linkage)
    if max_clusters < 2:
        raise ConfigError(f"expected max_clusters of at least 2, found {max_clusters}; raise it, or cut the tree at 1")
    heights = linkage[::-1, 2]
    if heights[0] == 0:
        return NClustersSuggestion(1, "one cluster: all descriptors are equal", {})
    if len(heights) == 1:
        return NClustersSuggestion(1, "one cluster: two images are too few to choose a number", {})
    top = min(max_clusters, len(heights))
    undone, kept = heights[: top - 1], heights[1:top]
    ratios = np.divide(undone, kept, out=np.where(undone > 0, np.inf, 1.0), where=kept > 0)
    criterion = f"largest step between merge heights, of 2 to {top} clusters"
    return NClustersSuggestion(2 + int(np.argmax(ratios)), criterion, dict(enumerate(ratios.tolist(), start=2)))


def distances_to_cluster_means(
    descriptors: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    """Euclidean distance of each descriptor to the mean descriptor of its cluster.

    Parameters
    ----------
    descriptors
        Shape ``(n_images, dim)``, finite, at least one row.
    labels
        Shape ``(n_images,)``, integer: the cluster of each row, any numbering.

    Returns
    -------
    distances
        Shape ``(n_images,)``, float64 >= 0 in descriptor units; 0 for an image alone in its cluster.

    Raises
    ------
    ArrayContractError
        If ``descriptors`` is not two-dimensional, finite and filled, or ``labels`` is not one integer per row.
    """
    _check_descriptors(descriptors, min_rows=1)
    if labels.shape != (len(descriptors),) or not np.issubdtype(labels.dtype, np.integer):
        raise ArrayContractError(
            f"expected integer labels of shape ({len(descriptors)},), found {labels.dtype} of shape {labels.shape}; "
            "pass the cluster of each descriptor"
        )
    values = descriptors.astype(np.float64)
    _, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    means = np.add.reduceat(values[np.argsort(codes, kind="stable")], starts, axis=0) / sizes[:, None]
    return np.asarray(np.linalg.norm(values - means[codes], axis=1), dtype=np.float64)


def _check_descriptors(descriptors: NDArray[np.floating[Any]], *, min_rows: int = 2) -> None:
    if descriptors.ndim != 2 or len(descriptors) < min_rows or descriptors.shape[1] < 1:
        raise ArrayContractError(
            f"expected descriptors of shape (n_images >= {min_rows}, dim >= 1), found {descriptors.shape}; "
            "pass one row per image"
        )
    n_bad = int((~np.isfinite(descriptors)).any(axis=1).sum())
    if n_bad:
        raise ArrayContractError(
            f"expected finite descriptors, found NaN or infinity in {n_bad} of {len(descriptors)} rows; "
            "leave these images out or embed them again"
        )


def _check_linkage(linkage: NDArray[np.float64]) -> None:
    if not _is_tree(linkage):
        raise ArrayContractError(
            f"expected a float64 linkage of shape (n_images - 1, 4) in SciPy's layout, found {linkage.dtype} of shape "
            f"{linkage.shape} that is no tree; pass what ward_linkage returned"
        )


def _is_tree(linkage: NDArray[np.float64]) -> bool:
    """Whether every cluster but the last is merged exactly once, after it was made, at a finite height."""
    if linkage.ndim != 2 or linkage.shape[1] != 4 or len(linkage) == 0 or not np.isfinite(linkage).all():
        return False
    n_merges = len(linkage)
    children = linkage[:, :2]
    each_once = np.array_equal(np.sort(children, axis=None), np.arange(2 * n_merges))
    return each_once and bool((children.max(axis=1) < n_merges + 1 + np.arange(n_merges)).all())


def _numbered_by_size(labels: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Rename clusters 0, 1, ... by decreasing size, then by their first row."""
    _, first_rows, codes, sizes = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first_rows, -sizes))
    numbers = np.empty(len(order), dtype=np.int64)
    numbers[order] = np.arange(len(order))
    return numbers[codes]
