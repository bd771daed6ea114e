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
from sklearn.metrics import pairwise_distances, silhouette_score

from anoclust_core.errors import ArrayContractError, ConfigError

DEFAULT_MAX_CLUSTERS: Final = 20
"""More types of anomaly than a person wants to look through in one report."""

DEFAULT_MAX_SILHOUETTE_IMAGES: Final = 5_000
"""The distance matrix of so many images takes 200 MB; every number of clusters then costs about 0.1 s."""


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
        Mean silhouette in [-1, 1] by number of clusters tried; empty where there was nothing to choose from.
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
    descriptors: NDArray[np.floating[Any]],
    linkage: NDArray[np.float64],
    *,
    rng: np.random.Generator,
    max_clusters: int = DEFAULT_MAX_CLUSTERS,
    max_silhouette_images: int = DEFAULT_MAX_SILHOUETTE_IMAGES,
) -> NClustersSuggestion:
    """Choose the cut with the highest mean silhouette (Rousseeuw 1987); no labels are used.

    Every cut from 2 to ``max_clusters`` is tried, always fewer clusters than images; the smallest number wins a tie.
    One cluster has no silhouette, so it is suggested only where all descriptors are equal or there are just two images.

    Parameters
    ----------
    descriptors
        Shape ``(n_images, dim)``, finite, at least two rows.
    linkage
        Shape ``(n_images - 1, 4)``, float64: the tree over the same rows.
    rng
        Draws the sample; not used up to ``max_silhouette_images`` images.
    max_clusters
        At least 2.
    max_silhouette_images
        At least 3. Silhouettes of more images are measured on a random sample of this size, against one another;
        memory is ``8 * max_silhouette_images ** 2`` bytes. A cut of which the sample holds one cluster only scores 0.

    Returns
    -------
    suggestion
        The number, the reason and the mean silhouette of every number tried.

    Raises
    ------
    ArrayContractError
        If ``descriptors`` or ``linkage`` break their contract or are not of the same images.
    ConfigError
        If ``max_clusters`` or ``max_silhouette_images`` is too small.
    """
    _check_tree_of(descriptors, linkage)
    if max_clusters < 2:
        raise ConfigError(f"expected max_clusters of at least 2, found {max_clusters}; raise it, or cut the tree at 1")
    if max_silhouette_images < 3:
        raise ConfigError(f"expected max_silhouette_images of at least 3, found {max_silhouette_images}; raise it")
    n_images = len(descriptors)
    if (descriptors == descriptors[0]).all():
        return NClustersSuggestion(1, "one cluster: all descriptors are equal", {})
    if n_images == 2:
        return NClustersSuggestion(1, "one cluster: two images are too few to choose a number", {})

    rows = _silhouette_rows(n_images, max_silhouette_images, rng)
    top = min(max_clusters, len(rows) - 1)
    scores = _silhouettes(descriptors[rows], [cut_tree(linkage, n_clusters=k)[rows] for k in range(2, top + 1)])
    sampled = "" if len(rows) == n_images else f", on a random sample of {len(rows)} of {n_images} images"
    criterion = f"highest mean silhouette of 2 to {top} clusters{sampled}"
    return NClustersSuggestion(2 + int(np.argmax(scores)), criterion, dict(enumerate(scores, start=2)))


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


def _check_tree_of(descriptors: NDArray[np.floating[Any]], linkage: NDArray[np.float64]) -> None:
    _check_descriptors(descriptors)
    _check_linkage(linkage)
    if len(linkage) != len(descriptors) - 1:
        raise ArrayContractError(
            f"expected {len(descriptors) - 1} merges for {len(descriptors)} descriptors, found {len(linkage)}; "
            "pass the tree of these descriptors"
        )


def _numbered_by_size(labels: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Rename clusters 0, 1, ... by decreasing size, then by their first row."""
    _, first_rows, codes, sizes = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first_rows, -sizes))
    numbers = np.empty(len(order), dtype=np.int64)
    numbers[order] = np.arange(len(order))
    return numbers[codes]


def _silhouette_rows(n_images: int, max_images: int, rng: np.random.Generator) -> NDArray[np.int64]:
    if n_images <= max_images:
        return np.arange(n_images)
    return np.sort(rng.choice(n_images, size=max_images, replace=False))


def _silhouettes(descriptors: NDArray[np.floating[Any]], cuts: list[NDArray[np.int64]]) -> list[float]:
    """Mean silhouette of each cut; assumes fewer clusters than rows."""
    centred = descriptors - descriptors.mean(axis=0, dtype=np.float64)  # small spread far from 0 would cancel
    distances = pairwise_distances(centred, metric="euclidean")
    return [
        float(silhouette_score(distances, labels, metric="precomputed")) if np.ptp(labels) > 0 else 0.0
        for labels in cuts
    ]
