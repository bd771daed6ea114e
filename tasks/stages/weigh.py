"""Stage 3: rarity of patches, weights, and one descriptor per image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from prefect import task

from anoclust_core.memory.pairs import weigh_plan
from anoclust_core.memory.plan import MemoryPlan
from anoclust_core.records import (
    ArrayHandle,
    BagWeights,
    DatasetManifest,
    EmbeddingSpec,
    NearestDistances,
)
from anoclust_core.weighting.auto import BAGS_AT_ONCE
from anoclust_core.weighting.reference import reference_contents
from anoclust_core.weighting.regions import least_outside
from anoclust_core.weighting.weights import map_scores, temperature
from tasks.compute.counting import Counting, Measure
from tasks.compute.detection import detected_scores
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

    By part they have one row per part, and what all views have beside them. Near-duplicates count as one image where
    ``nearest`` says so.
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
    counting = Counting.of(images.clustered, nearest.once if nearest else "")
    rarity = _rarity(images, nearest, counting) if nearest else given_scores(images, run)
    regions = regions_of(run.layout, images.clustered, spec)[0]
    inside = regions.inside(hashes) if regions else None
    if inside is not None:
        rarity = least_outside(rarity, inside)
    rows = slice(None) if counting.units is None else first_rows(counting.counts)[counting.rows]
    counted = rarity[rows] if inside is None else rarity[rows][inside[rows]][None]
    tau = temperature(config.tau, counted)
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
    return BagWeights(ArrayHandle(uri=folder, key=key, shapes=shapes), tau=tau, once=nearest.once if nearest else "")


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


def _rarity(images: DatasetManifest, nearest: NearestDistances, counting: Counting) -> NDArray[np.float64]:
    """Rarity of every patch, ``(n_images, n_patches)``; byte-identical images are scored once."""
    measure = measured_against(nearest, images, counting)
    rarity = rarity_of_contents(
        NearestSlabs(Path(nearest.uri)),
        counting.contents,
        measure.contents,
        measure.counts,
        nearest.reference.role,
        own=measure.own,
    )
    return np.repeat(rarity, counting.counts, axis=0)


def measured_against(nearest: NearestDistances, images: DatasetManifest, counting: Counting) -> Measure:
    """Contents that rarity is measured against, each as often as it counts: normals all as they are there."""
    contents, counts = reference_contents(nearest.reference, images)
    return Measure(contents, counts) if nearest.reference.role == "normal" else counting.reference(contents, counts)


def first_rows(counts: Sequence[int]) -> NDArray[np.int64]:
    """Row of the first image of each content, among all clustered images."""
    return np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)


def given_scores(images: DatasetManifest, run: CategoryRun) -> NDArray[np.float64]:
    """Scores of every patch from given anomaly maps or those of a detector, ``(n_images, n_patches)``.

    Raises
    ------
    DatasetError
        If an image has no map, or one that cannot be read.
    StoreError
        If the map that a detector made is gone or damaged.
    """
    spec = run.spec
    if spec.detector is not None:
        return detected_scores(run.layout, run.category, spec, [image.sha256 for image in images.clustered])
    folder = str(run.config.weigh.maps)
    found = maps_of(folder, images)
    maps = (seen_map(read_map(folder, image, found), image, spec) for image in images.clustered)
    return np.concatenate([map_scores([values], spec.grid) for values in maps])
