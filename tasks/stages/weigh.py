"""Stage 3: rarity of patches, weights, and one descriptor per image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from prefect import task

from anoclust_core.config import WeighConfig
from anoclust_core.memory import MemoryPlan, weigh_plan
from anoclust_core.records import (
    ArrayHandle,
    BagWeights,
    DatasetManifest,
    EmbeddingSpec,
    NearestDistances,
    unique_contents,
)
from anoclust_core.weighting.auto import BAGS_AT_ONCE
from anoclust_core.weighting.reference import reference_contents
from anoclust_core.weighting.regions import least_outside
from anoclust_core.weighting.weights import map_scores, temperature
from tasks.compute.rarity_pooling import pooled, rarity_of_contents, weights_of
from tasks.images.anomaly_maps import maps_of, read_map, seen_map
from tasks.stages.category_run import CategoryRun
from tasks.stages.runner import STAGE
from tasks.stages.views import rows_of_parts
from tasks.stores import arrays
from tasks.stores.embeddings import EmbeddingSegments
from tasks.stores.manifests import load_manifest
from tasks.stores.nearest import NearestSlabs
from tasks.stores.regions import regions_of


@task(name="weigh", **STAGE)
def weigh(
    *,
    run: CategoryRun,
    key: str,
    manifest: str,
    embeddings: str,
    nearest: NearestDistances | None,
    folder: str,
) -> BagWeights:
    """Score, weigh and pool; the arrays have one row per clustered image, in the order of the manifest.

    By part they have one row per part, and what all views have beside them.
    """
    config, spec = run.config.weigh, run.spec
    images = load_manifest(Path(manifest))
    hashes = [image.sha256 for image in images.clustered]
    weighing_memory(
        spec,
        n_images=len(hashes),
        n_contents=len(set(hashes)),
        n_reference=nearest.shape[1] if nearest else 0,
    ).check(run.memory_budget)
    rarity = _rarity(images, nearest) if nearest else given_scores(images, config, spec)
    regions = regions_of(run.layout, images.clustered, spec)[0]
    inside = regions.inside(hashes) if regions else None
    if inside is not None:
        rarity = least_outside(rarity, inside)
    tau = temperature(config.tau, rarity if inside is None else rarity[inside][None])
    weights = weights_of(config, rarity, tau=tau, inside=inside)
    descriptors = pooled(EmbeddingSegments(Path(embeddings)), hashes, weights)
    stored = rows_of_parts(
        run.config,
        images,
        {
            "rarity": rarity.astype(np.float32),
            "weights": weights.astype(np.float32),
            "descriptors": descriptors,
        },
    )
    arrays.write_arrays(Path(folder), stored, {"tau": tau})
    shapes = {name: values.shape for name, values in stored.items()}
    return BagWeights(ArrayHandle(uri=folder, key=key, shapes=shapes), tau=tau)


def weighing_memory(spec: EmbeddingSpec, *, n_images: int, n_contents: int, n_reference: int) -> MemoryPlan:
    """Predict the peak of the stage for so many images, and distinct ones, measured against so many."""
    return weigh_plan(
        n_images=n_images,
        n_contents=n_contents,
        n_reference=n_reference,
        n_patches=spec.n_patches,
        dim=spec.dim,
        bags=BAGS_AT_ONCE,
    )


def _rarity(images: DatasetManifest, nearest: NearestDistances) -> NDArray[np.float64]:
    """Rarity of every patch, ``(n_images, n_patches)``; byte-identical images are scored once."""
    contents, counts = unique_contents(images.clustered)
    references, reference_counts = reference_contents(nearest.reference, images)
    slabs = NearestSlabs(Path(nearest.uri))
    rarity = rarity_of_contents(slabs, contents, references, reference_counts, nearest.reference.role)
    return np.repeat(rarity, counts, axis=0)


def given_scores(images: DatasetManifest, config: WeighConfig, spec: EmbeddingSpec) -> NDArray[np.float64]:
    """Scores of every patch from given anomaly maps, ``(n_images, n_patches)``.

    Raises
    ------
    DatasetError
        If an image has no map, or one that cannot be read.
    """
    folder = str(config.maps)
    found = maps_of(folder, images)
    maps = (seen_map(read_map(folder, image, found), image, spec) for image in images.clustered)
    return np.concatenate([map_scores([values], spec.grid) for values in maps])
