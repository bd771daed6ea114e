"""Stage 4: a tree of merges over the images, cut into clusters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from prefect import task

from anoclust_core.clustering.cut import suggest_cut
from anoclust_core.clustering.distances import HausdorffVariant, hausdorff_distances, pair_statistics
from anoclust_core.clustering.labels import numbered_by_size
from anoclust_core.clustering.linkage import (
    LINEAR_MEMORY,
    NClustersSuggestion,
    cut_tree,
    linkage_from_distances,
    linkage_tree,
    suggest_n_clusters,
)
from anoclust_core.clustering.units import join_lone_units, tree_of_images, unit_means
from anoclust_core.config import GroupConfig, RunConfig
from anoclust_core.memory.clusters import group_plan
from anoclust_core.memory.plan import MemoryPlan
from anoclust_core.records import ArrayHandle, BagWeights, ClusterTree, NearestDistances
from tasks.compute.counting import Counting
from tasks.stages.category_run import CategoryRun
from tasks.stages.runner import STAGE
from tasks.stages.weigh import first_rows
from tasks.stores import arrays
from tasks.stores.manifests import load_manifest
from tasks.stores.nearest import NearestSlabs


@task(name="group", **STAGE)
def group(
    *,
    run: CategoryRun,
    key: str,
    manifest: str,
    weights: BagWeights,
    among: NearestDistances | None,
    folder: str,
    n_clusters: int | None,
    n_clusters_rule: str,
) -> ClusterTree:
    """Build the tree, keep it whole, and cut it into the wanted or the suggested number of clusters.

    Near-duplicates that count once, as ``weights`` say, are one leaf of it, and are split by no suggestion.
    """
    config = run.config.group
    n_images, dim = weights.arrays.shapes["descriptors"]
    grouping_memory(config, n_images=n_images, dim=dim, n_patches=weights.arrays.shapes["weights"][1]).check(
        run.memory_budget
    )
    counting = Counting.of(load_manifest(Path(manifest)).clustered, weights.once)
    units = counting.of_images
    descriptors = None
    if among is None:
        descriptors = arrays.read(Path(weights.arrays.uri), "descriptors")
        descriptors = descriptors if units is None else unit_means(descriptors, units)
        linkage = linkage_tree(descriptors, method=config.linkage)
    else:
        distances = _hausdorff(counting, among, cast("HausdorffVariant", config.distance))
        linkage = linkage_from_distances(distances, method=config.linkage)
    suggestion, suggested = _suggested(linkage, run.config, descriptors, counting)
    if units is not None:
        suggestion, suggested = _without_lone(suggestion, suggested, units, descriptors, run.config.group)
        linkage, suggested = tree_of_images(linkage, units), numbered_by_size(suggested[units])
    labels = cut_tree(linkage, n_clusters=n_clusters) if n_clusters else suggested
    arrays.write_arrays(Path(folder), {"linkage": linkage, "labels": labels}, {})
    return ClusterTree(
        arrays=ArrayHandle(uri=folder, key=key, shapes={"linkage": linkage.shape, "labels": labels.shape}),
        n_clusters=int(labels.max()) + 1,
        n_clusters_rule=n_clusters_rule if n_clusters else suggestion.criterion,
        n_clusters_suggested=suggestion.n_clusters,
        next_best=suggestion.next_best,
    )


def grouping_memory(config: GroupConfig, *, n_images: int, dim: int, n_patches: int) -> MemoryPlan:
    """Predict the peak of the stage for so many images with descriptors of a length."""
    return group_plan(
        n_images=n_images,
        dim=dim,
        n_patches=n_patches,
        has_matrix=config.linkage not in LINEAR_MEMORY,
        has_distances=config.distance != "weighted_average",
    )


def _suggested(
    linkage: NDArray[np.float64],
    config: RunConfig,
    descriptors: NDArray[np.floating[Any]] | None,
    counting: Counting,
) -> tuple[NClustersSuggestion, NDArray[np.int64]]:
    """Number of clusters by the recipe's rule, within the bounds that were asked for, and the cluster of each leaf."""
    lowest, highest = config.group.bounds or (1, None)
    lowest = min(lowest, len(linkage) + 1)
    if highest is not None:
        highest = min(highest, len(linkage) + 1)
    if config.recipe != "auto" or descriptors is None:
        found = suggest_n_clusters(linkage, lowest=lowest, highest=highest)
        return found, cut_tree(linkage, n_clusters=found.n_clusters)
    rows = None if counting.units is not None else first_rows(counting.counts)
    return suggest_cut(linkage, descriptors, rows=rows, lowest=lowest, highest=highest)


def _without_lone(
    suggestion: NClustersSuggestion,
    labels: NDArray[np.int64],
    units: NDArray[np.int64],
    descriptors: NDArray[np.floating[Any]] | None,
    config: GroupConfig,
) -> tuple[NClustersSuggestion, NDArray[np.int64]]:
    """Suggestion without clusters that are one part exposed several times; as it is where it would be too few."""
    if descriptors is None:
        return suggestion, labels
    joined = join_lone_units(labels, units, descriptors)
    number = int(joined.max()) + 1
    if number == suggestion.n_clusters or number < (config.bounds or (1, None))[0]:
        return suggestion, labels
    why = f"{suggestion.criterion} ({suggestion.n_clusters}), of which some were one part, exposed several times"
    return replace(suggestion, n_clusters=number, criterion=why), joined


def _hausdorff(counting: Counting, among: NearestDistances, variant: HausdorffVariant) -> NDArray[np.float64]:
    """Distances between all leaves of the tree; 0 between byte-identical images."""
    contents = [counting.contents[row] for row in counting.rows]
    slabs = NearestSlabs(Path(among.uri))
    statistics = pair_statistics(
        slabs.read(contents, contents),
        n_images=len(contents),
        mean_distances=slabs.read_means(contents) if variant == "mean_mean" else None,
    )
    rows = np.arange(len(contents))
    if counting.units is None:
        rows = np.repeat(rows, counting.counts)
    return hausdorff_distances(statistics, variant=variant)[np.ix_(rows, rows)]
