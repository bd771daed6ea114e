"""Stage 3: rarity of patches, weights, and one descriptor an image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from prefect import task

from anoclust_core.bags import descriptors
from anoclust_core.memory import weigh_plan
from anoclust_core.rarity import expected_rarity, rarity_against_normals
from anoclust_core.records import ArrayHandle, BagWeights, EmbeddingSpec, NearestDistances, unique_contents
from anoclust_core.reference import reference_contents
from anoclust_core.weights import soft_weights, temperature
from tasks.orchestration import STAGE
from tasks.stores import arrays
from tasks.stores.embeddings import EmbeddingSegments
from tasks.stores.manifests import load_manifest
from tasks.stores.nearest import NearestSlabs

BAGS_AT_ONCE = 64
"""Bags held in memory while descriptors are pooled."""


@task(name="weigh", **STAGE)
def weigh(
    *,
    category: str,  # noqa: ARG001 - part of the cache key
    key: str,
    manifest: str,
    spec: EmbeddingSpec,
    embeddings: str,
    nearest: NearestDistances,
    folder: str,
    tau: str,
    memory: int,
) -> BagWeights:
    """Score, weigh and pool; the arrays have one row per clustered image, in the order of the manifest."""
    images = load_manifest(Path(manifest))
    contents, counts = unique_contents(images.clustered)
    references, reference_counts = reference_contents(nearest.reference, images)
    is_reference = np.isin(contents, references)
    segments = EmbeddingSegments(Path(embeddings))
    weigh_plan(
        n_images=len(images.clustered),
        n_contents=len(contents),
        n_reference=len(references),
        n_patches=spec.n_patches,
        dim=spec.dim,
        bags=BAGS_AT_ONCE,
    ).check(memory)
    rarity = np.empty((len(contents), spec.n_patches))
    for start, distances in NearestSlabs(Path(nearest.uri)).read(contents, references):
        rows = slice(start, start + len(distances))
        if nearest.reference.role == "cluster":
            rarity[rows] = expected_rarity(distances, np.asarray(reference_counts), is_reference=is_reference[rows])
        else:
            rarity[rows] = rarity_against_normals(distances)
    images_rarity = np.repeat(rarity, counts, axis=0)
    tau_value = temperature(tau, images_rarity)
    weights = soft_weights(rarity, tau=tau_value)
    pooled = np.concatenate(
        [
            descriptors(segments.read(contents[start : start + BAGS_AT_ONCE]), weights[start : start + BAGS_AT_ONCE])
            for start in range(0, len(contents), BAGS_AT_ONCE)
        ]
    )
    stored = {
        "rarity": images_rarity.astype(np.float32),
        "weights": np.repeat(weights, counts, axis=0).astype(np.float32),
        "descriptors": np.repeat(pooled, counts, axis=0),
    }
    arrays.write_arrays(Path(folder), stored, {"tau": tau_value})
    shapes = {name: values.shape for name, values in stored.items()}
    return BagWeights(ArrayHandle(uri=folder, key=key, shapes=shapes), tau=tau_value)
