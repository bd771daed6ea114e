"""One row, or one line, of the tables and figures of [ARDELEAN24], from what recipe blind has stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from prefect import task

from anoclust_core.benchmark.blind import NO_HEAD, WARD_AND_K_MEANS, score_descriptors
from anoclust_core.benchmark.localization import localization_scores
from anoclust_core.benchmark.scoring import TRIVIAL, Measurement
from anoclust_core.config import BlindConfig
from anoclust_core.evaluation.protocols import ARDELEAN
from anoclust_core.localization.maps import descriptor, finish_maps, flat_field
from anoclust_core.memory.benchmark import blind_benchmark_plan
from anoclust_core.memory.blind import describe_plan
from anoclust_core.records import ArrayHandle, BagWeights, unique_contents
from anoclust_core.weighting.weights import temperature
from tasks.benchmark.sohn import ground_truth
from tasks.compute.dask_jobs import CORES
from tasks.compute.localizing import each_image
from tasks.images.anomaly_maps import seen_part
from tasks.stages.category_run import CategoryRun
from tasks.stages.runner import STAGE, Progress
from tasks.stores import arrays
from tasks.stores.detected import DetectedMaps
from tasks.stores.manifests import load_manifest

_TOLD = ("threshold", "anomalous_share")
"""What stage `describe` notes of the cells that its head learns from."""


@task(name="measure", **STAGE)
def measure_descriptors(
    *,
    run: CategoryRun,
    key: str,  # noqa: ARG001 - names the cached result
    manifest: str,
    described: BagWeights,
    clusterings: tuple[str, ...],
) -> list[Measurement]:
    """Score the clusters of the descriptors of one run of recipe blind, one row per clustering, without names."""
    labels = [image.label for image in load_manifest(Path(manifest)).clustered]
    n_images, dim = described.arrays.shapes["descriptors"]
    n_patches = described.arrays.shapes["weights"][1]
    blind_benchmark_plan(n_images=n_images, n_patches=n_patches, dim=dim, side=0).check(run.memory_budget)
    folder = Path(described.arrays.uri)
    notes = arrays.describe(folder) or {}
    return score_descriptors(
        arrays.read(folder, "descriptors"),
        labels,
        method="",
        setting="",
        clusterings=clusterings,
        seed=run.config.seed,
        extra={"tau": described.tau, **{name: float(notes[name]) for name in _TOLD if name in notes}},
    )


@task(name="measure", **STAGE)
def measure_maps(
    *,
    run: CategoryRun,
    key: str,  # noqa: ARG001 - names the cached result
    manifest: str,
    maps: ArrayHandle,
    method: str,
    side: int,
) -> list[Measurement]:
    """Score the finished anomaly maps against labels and, where there are any, masks of ``side`` pixels."""
    clustered = load_manifest(Path(manifest)).clustered
    has_masks = any(image.mask for image in clustered)
    blind_benchmark_plan(
        n_images=len(clustered), n_patches=run.spec.n_patches, dim=run.spec.dim, side=side if has_masks else 0
    ).check(run.memory_budget)
    counts = unique_contents(clustered)[1]
    finished = np.repeat(_finished(maps, run.config.blind), counts, axis=0)
    labels = [image.label for image in clustered]
    found = localization_scores(finished, labels, ground_truth(clustered, side, run.spec), protocol=ARDELEAN)
    return [Measurement(method, "none", "maps", scores=found)]


@task(name="measure", **STAGE)
def measure_detected(
    *,
    run: CategoryRun,
    key: str,  # noqa: ARG001 - names the cached result
    manifest: str,
    detected: str,
    method: str,
    side: int,
) -> list[Measurement]:
    """Score the maps of a detector, at ``side`` x ``side`` pixels, as `measure_maps` does."""
    clustered = load_manifest(Path(manifest)).clustered
    blind_benchmark_plan(n_images=len(clustered), n_patches=run.spec.n_patches, dim=run.spec.dim, side=side).check(
        run.memory_budget
    )
    maps = np.empty((len(clustered), side, side), np.float32)
    kept = DetectedMaps(Path(detected)).read([image.sha256 for image in clustered])
    for row, (values, frame) in enumerate(kept):
        seen = Image.fromarray(seen_part(values, frame, run.spec))
        maps[row] = np.asarray(seen.resize((side, side), Image.Resampling.BILINEAR))
    labels = [image.label for image in clustered]
    found = localization_scores(maps, labels, ground_truth(clustered, side, run.spec), protocol=ARDELEAN)
    return [Measurement(method, "none", "maps", scores=found)]


@task(name="measure", **STAGE)
def measure_temperatures(
    *,
    run: CategoryRun,
    key: str,  # noqa: ARG001 - names the cached result
    manifest: str,
    embeddings: str,
    maps: ArrayHandle,
    taus: tuple[str, ...],
) -> list[Measurement]:
    """Score descriptors without a head at every temperature: all of them from one reading of maps and features."""
    spec = run.spec
    clustered = load_manifest(Path(manifest)).clustered
    hashes, counts = unique_contents(clustered)
    describe_plan(
        n_images=len(clustered), n_contents=len(hashes), n_patches=spec.n_patches, dim=spec.dim, threads=CORES
    ).check(run.memory_budget)
    finished = _finished(maps, run.config.blind)
    scores = np.repeat(finished.reshape(len(hashes), -1), counts, axis=0)
    values = {tau: temperature(tau, scores) for tau in taus}
    pooled = {tau: np.empty((len(hashes), spec.dim), np.float32) for tau in taus}

    def at_each(row: int, features: NDArray[np.floating[Any]]) -> list[NDArray[np.float32]]:
        return [descriptor(features, finished[row], tau=value) for value in values.values()]

    progress = Progress("temperatures", run.category)
    for row, found in each_image(Path(embeddings), hashes, spec, at_each, progress=progress):
        for tau, one in zip(taus, found, strict=True):
            pooled[tau][row] = one
    labels = [image.label for image in clustered]
    return [
        row
        for tau, value in values.items()
        for row in score_descriptors(
            np.repeat(pooled[tau], counts, axis=0),
            labels,
            method=NO_HEAD,
            setting=tau,
            clusterings=WARD_AND_K_MEANS,
            seed=run.config.seed,
            extra={"tau": value},
        )
        if row.clustering != TRIVIAL
    ]


def _finished(maps: ArrayHandle, config: BlindConfig) -> NDArray[np.float32]:
    """Maps as stage `describe` finishes them, one per content."""
    raw = arrays.read(Path(maps.uri), "maps")
    return finish_maps(raw, border=config.border, field=flat_field(raw) if config.flat_field else None)
