"""Every clustering method by name: what it needs, and how to run it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform

from anoclust_core.arrays import named
from anoclust_core.clustering.checks import check_n_clusters, checked_descriptors
from anoclust_core.clustering.linkage import LinkageMethod, cut_tree, linkage_from_distances, linkage_tree
from anoclust_core.clustering.medoids import k_medoids
from anoclust_core.clustering.partition import gaussian_mixture, k_means, spectral
from anoclust_core.errors import ConfigError

Partition: TypeAlias = Callable[[NDArray[np.floating[Any]], int, np.random.Generator], NDArray[np.int64]]
"""(descriptors or distances, number of clusters, generator) -> labels."""


@dataclass(frozen=True)
class Clustering:
    """A clustering method.

    Attributes
    ----------
    name
        What a user types.
    title
        What a table prints.
    tree
        How its tree merges clusters, to be given to `linkage_tree` or `linkage_from_distances`; None where it makes
        no tree and another number of clusters needs another run.
    from_descriptors
        Clusters descriptors. Every method can; those that work on distances take the Euclidean ones.
    from_distances
        Clusters a matrix of distances; None for a method that needs the mean of a cluster.
    """

    name: str
    title: str
    tree: LinkageMethod | None
    from_descriptors: Partition
    from_distances: Partition | None


def cluster_descriptors(
    descriptors: NDArray[np.floating[Any]], *, method: str, n_clusters: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Cluster images by their descriptors, [SOHN23] Table 2, columns WA.

    Parameters
    ----------
    descriptors
        Shape ``(n_images, dim)``, finite, at least two rows.
    method
        A name in `CLUSTERINGS`.
    n_clusters
        From 1 to ``n_images``.
    generator
        Drawn from by the methods with random starts only.

    Returns
    -------
    labels
        Shape ``(n_images,)``, int64; numbered by decreasing size, ties by the first image. `k_means`,
        `gaussian_mixture` and `spectral` say when there are fewer clusters than asked for.

    Raises
    ------
    ArrayContractError
        As `anoclust_core.clustering.checks.checked_descriptors`.
    ConfigError
        If the method is unknown or there cannot be so many clusters.
    """
    clustering = clustering_named(method)
    values = checked_descriptors(descriptors)
    check_n_clusters(n_clusters, len(values))
    return clustering.from_descriptors(values, n_clusters, generator)


def cluster_distances(
    distances: NDArray[np.floating[Any]], *, method: str, n_clusters: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Cluster images by the distances between them, [SOHN23] Table 2, columns maxH.

    Parameters
    ----------
    distances
        Shape ``(n_images, n_images)``, finite, >= 0, exactly symmetric, zero diagonal; at least two images.
    method
        A name in `CLUSTERINGS` with ``from_distances``.
    n_clusters, generator
        As in `cluster_descriptors`.

    Returns
    -------
    labels
        As in `cluster_descriptors`.

    Raises
    ------
    ArrayContractError
        If ``distances`` is anything else, or so large that squares overflow.
    ConfigError
        If the method is unknown or needs descriptors, or there cannot be so many clusters.
    """
    clustering = clustering_named(method)
    if clustering.from_distances is None:
        able = [name for name, other in CLUSTERINGS.items() if other.from_distances]
        raise ConfigError(
            f"expected a clustering that works on distances ({', '.join(able)}), found {method}, which needs the mean "
            "of a cluster and so descriptors; use one of these, or distances that come from descriptors"
        )
    return clustering.from_distances(distances, n_clusters, generator)


def clustering_named(name: str) -> Clustering:
    """Clustering by the name that a user types; a `ConfigError` if there is none."""
    return named("a clustering", CLUSTERINGS, name)


def _hierarchical(method: LinkageMethod, title: str) -> Clustering:
    return Clustering(
        name=method,
        title=title,
        tree=method,
        from_descriptors=lambda descriptors, k, _: cut_tree(linkage_tree(descriptors, method=method), n_clusters=k),
        from_distances=lambda distances, k, _: cut_tree(linkage_from_distances(distances, method=method), n_clusters=k),
    )


def _euclidean(descriptors: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    return np.asarray(squareform(pdist(descriptors), checks=False), dtype=np.float64)


CLUSTERINGS: Final[Mapping[str, Clustering]] = MappingProxyType(
    {
        clustering.name: clustering
        for clustering in (
            _hierarchical("ward", "Ward"),
            _hierarchical("complete", "complete linkage"),
            _hierarchical("average", "average linkage"),
            _hierarchical("single", "single linkage"),
            Clustering(
                name="kmeans",
                title="k-means",
                tree=None,
                from_descriptors=lambda descriptors, k, draws: k_means(descriptors, n_clusters=k, generator=draws),
                from_distances=None,
            ),
            Clustering(
                name="gmm",
                title="Gaussian mixture",
                tree=None,
                from_descriptors=lambda descriptors, k, draws: gaussian_mixture(
                    descriptors, n_clusters=k, generator=draws
                ),
                from_distances=None,
            ),
            Clustering(
                name="spectral",
                title="spectral",
                tree=None,
                from_descriptors=lambda descriptors, k, draws: spectral(
                    _euclidean(descriptors), n_clusters=k, generator=draws
                ),
                from_distances=lambda distances, k, draws: spectral(distances, n_clusters=k, generator=draws),
            ),
            Clustering(
                name="kmedoids",
                title="k-medoids",
                tree=None,
                from_descriptors=lambda descriptors, k, _: k_medoids(_euclidean(descriptors), n_clusters=k).labels,
                from_distances=lambda distances, k, _: k_medoids(distances, n_clusters=k).labels,
            ),
        )
    }
)
