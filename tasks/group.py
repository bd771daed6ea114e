"""Stage 4: Ward's tree over the descriptors, cut into clusters."""

from __future__ import annotations

from pathlib import Path

from prefect import task

from anoclust_core.clustering.linkage import cut_tree, linkage_tree, suggest_n_clusters
from anoclust_core.memory import group_plan
from anoclust_core.records import ArrayHandle, BagWeights, ClusterTree
from tasks.orchestration import STAGE
from tasks.stores import arrays


@task(name="group", **STAGE)
def group(
    *,
    category: str,  # noqa: ARG001 - part of the cache key
    key: str,
    weights: BagWeights,
    folder: str,
    n_clusters: int | None,
    n_clusters_rule: str,
    memory: int,
) -> ClusterTree:
    """Build the tree, keep it whole, and cut it into the wanted or the suggested number of clusters."""
    n_images, dim = weights.arrays.shapes["descriptors"]
    group_plan(n_images=n_images, dim=dim).check(memory)
    descriptors = arrays.read(Path(weights.arrays.uri), "descriptors")
    linkage = linkage_tree(descriptors, method="ward")
    suggestion = suggest_n_clusters(linkage)
    labels = cut_tree(linkage, n_clusters=n_clusters or suggestion.n_clusters)
    arrays.write_arrays(Path(folder), {"linkage": linkage, "labels": labels}, {})
    return ClusterTree(
        arrays=ArrayHandle(uri=folder, key=key, shapes={"linkage": linkage.shape, "labels": labels.shape}),
        n_clusters=int(labels.max()) + 1,
        n_clusters_rule=n_clusters_rule if n_clusters else suggestion.criterion,
        n_clusters_suggested=suggestion.n_clusters,
    )
