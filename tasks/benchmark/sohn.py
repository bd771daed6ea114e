"""One experiment of the benchmark on one category, from arrays that other stages have stored; no pairwise work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prefect import task

from anoclust_core.benchmark.experiments import EXPERIMENTS, Conditions
from anoclust_core.benchmark.geometry import CategoryArrays
from anoclust_core.benchmark.scoring import Measurement
from anoclust_core.clustering.distances import pair_statistics
from anoclust_core.embedding.resizing import any_as_seen, as_seen
from anoclust_core.memory.benchmark import benchmark_plan
from anoclust_core.records import DatasetManifest, EmbeddingSpec, ImageRecord, NearestDistances, unique_contents
from anoclust_core.weighting.weights import uniform_weights
from tasks.compute.level_pooling import levels_of, pool_levels
from tasks.images.anomaly_maps import frame_shape, laid_like
from tasks.images.decoding import read_mask
from tasks.stages.category_run import CategoryRun
from tasks.stages.runner import STAGE
from tasks.stores import arrays
from tasks.stores.embeddings import EmbeddingSegments, LevelSegments
from tasks.stores.manifests import load_manifest
from tasks.stores.nearest import NearestSlabs


@dataclass(frozen=True)
class StoredCategory:
    """Where everything lies that the experiments read of a category.

    Attributes
    ----------
    manifest
        Path of the manifest of its images.
    embeddings
        Folder of their bags.
    nearest, normals
        Distances between them, and to the known normals where there are any.
    holistic
        Folder of the embeddings of whole images, for the experiment that takes them.
    deeper
        Folder of the bags of the deeper level, for the experiments with recipe auto.
    """

    manifest: str
    embeddings: str
    nearest: NearestDistances
    normals: NearestDistances | None
    holistic: str | None = None
    deeper: str = ""


@task(name="measure", **STAGE)
def measure(
    *,
    run: CategoryRun,
    key: str,  # noqa: ARG001 - names the cached result
    experiment: str,
    stored: StoredCategory,
    conditions: Conditions,
) -> list[Measurement]:
    """Run one experiment; only its rows go through Prefect."""
    return EXPERIMENTS[experiment](load_category(run, stored), conditions)


def load_category(run: CategoryRun, stored: StoredCategory) -> CategoryArrays:
    """Read everything that is stored of a category's images, one row per image."""
    spec, nearest, normals = run.spec, stored.nearest, stored.normals
    images = load_manifest(Path(stored.manifest))
    clustered = images.clustered
    contents, counts = unique_contents(clustered)
    n_normals = normals.shape[1] if normals else 0
    benchmark_plan(
        n_images=len(clustered), n_normals=n_normals, n_patches=spec.n_patches, dim=spec.dim, image_size=spec.image_size
    ).check(run.memory_budget)
    slabs = NearestSlabs(Path(nearest.uri))
    rows = np.repeat(np.arange(len(contents)), counts)
    among = np.concatenate([values for _, values in slabs.read(contents, contents)])[np.ix_(rows, rows)]
    means = slabs.read_means(contents)[np.ix_(rows, rows)]
    to_normals = None
    if normals:
        references = unique_contents(images.normals)[0]
        parts = [values for _, values in NearestSlabs(Path(normals.uri)).read(contents, references)]
        to_normals = np.concatenate(parts)[rows]
    return CategoryArrays(
        name=run.category,
        labels=[image.label for image in clustered],
        bags=EmbeddingSegments(Path(stored.embeddings)).read(contents)[rows],
        grid=spec.grid,
        nearest=among,
        to_normals=to_normals,
        statistics=pair_statistics([(0, among)], n_images=len(clustered), mean_distances=means.astype(np.float64)),
        masks=ground_truth(clustered, spec.image_size, spec),
        holistic=arrays.read(Path(stored.holistic), "embeddings")[rows] if stored.holistic else None,
        **(_deeper(spec, stored, images, rows) if stored.deeper else {}),
    )


def _deeper(
    spec: EmbeddingSpec, stored: StoredCategory, images: DatasetManifest, rows: NDArray[np.int64]
) -> dict[str, Any]:
    """What recipe auto needs besides: the deeper level, and the mean patches of the normals on both."""
    assert spec.deeper is not None  # noqa: S101 - whoever embeds a deeper level has it in the spec
    levels = LevelSegments.of(stored.embeddings, stored.deeper).levels
    contents = unique_contents(images.clustered)[0]
    known, counts = unique_contents(images.normals)
    means = None
    if known:
        uniform = uniform_weights(len(known), spec.n_patches)[:, None]
        pooled = pool_levels(levels_of(spec, levels, len(levels)), known, uniform).levels
        means = tuple(np.repeat(level.whole, counts, axis=0) for level in pooled)
    return {"deeper": levels[1].read(contents)[rows], "deeper_grid": spec.deeper.grid, "normal_means": means}


def ground_truth(images: tuple[ImageRecord, ...], side: int, spec: EmbeddingSpec) -> NDArray[np.bool_] | None:
    """Ground truth of every image as the network sees it, in a square of a side; none for a category without masks.

    In tiles the network sees more than such a square shows: there a pixel is marked if any of its area is, so that no
    small defect is lost.
    """
    if not any(image.mask for image in images):
        return None
    found = np.zeros((len(images), side, side), np.bool_)
    for row, image in enumerate(images):
        if image.mask:
            marked = laid_like(read_mask(Path(image.mask)), image.file, f"the mask {image.mask}")
            shape = frame_shape(image, marked)
            shown = any_as_seen if spec.tiles else as_seen
            found[row] = shown(marked, shape, spec.seen_box(shape), (side, side))
    return found


def rows_of(measurements: list[Measurement]) -> list[dict[str, Any]]:
    """Write measurements as flat rows, for CSV files."""
    return [
        {
            "method": row.method,
            "clustering": row.clustering,
            "setting": row.setting,
            **row.scores,
            **{f"{name}_standard_error": value for name, value in row.errors.items()},
            **{f"{name}_defects_only": value for name, value in row.defect_only.items()},
        }
        for row in measurements
    ]
