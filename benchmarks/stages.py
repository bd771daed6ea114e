"""Stages as the flow runs them, without Prefect around: simulated stores, silent progress, peaks of memory."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from prefect.logging import disable_run_logger

import tasks.stages.describe as describe_stage
import tasks.stages.detect as detect_stage
import tasks.stages.embed as embed_stage
import tasks.stages.localize as localize_stage
import tasks.stages.pair as pair_stage
import tasks.stages.report as report_stage
from anoclust_core.bags import normalize_patches
from anoclust_core.config import EmbedConfig, PairConfig, RunConfig
from anoclust_core.records import (
    DatasetManifest,
    EmbeddingSpec,
    ImageRecord,
    NearestDistances,
    Reference,
)
from tasks.stages.category_run import CategoryRun
from tasks.stores import arrays
from tasks.stores.embeddings import EmbeddingSegments, segment_images
from tasks.stores.layout import StoreLayout
from tasks.stores.manifests import save_manifest
from tasks.stores.nearest import NearestSlabs, WantedPairs

PLENTY = 1 << 40
"""Bytes that a stage may plan with where that is not what is measured."""


@contextlib.contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Peak of the resident set inside the block above its start, in bytes; Linux only."""
    found: list[int] = []
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed before is given back, or the block would use it unseen
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    yield found
    found.append(_status("VmHWM") - before)


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise AssertionError(field)


@contextlib.contextmanager
def without_prefect() -> Iterator[None]:
    """Let stages be called as functions: no log of a run, no artifacts."""

    class Silent:
        def __init__(self, *_: object) -> None:
            pass

        def __call__(self, *_: object) -> None:
            pass

    with contextlib.ExitStack() as stack:
        stack.enter_context(disable_run_logger())
        for stage in (detect_stage, embed_stage, pair_stage, localize_stage, describe_stage, report_stage):
            stack.enter_context(patch.object(stage, "Progress", Silent))
        stack.enter_context(patch.object(report_stage, "_publish_artifacts", lambda *_: None))
        yield


def made_up_spec(grid: tuple[int, int], dim: int) -> EmbeddingSpec:
    """Spec of simulated bags."""
    return EmbeddingSpec("b", "b", "w", (1,), 256, "bicubic", (0.5,) * 3, (0.5,) * 3, 3, grid, dim)


def made_up_run(
    folder: Path, spec: EmbeddingSpec, config: RunConfig | None = None, *, memory_budget: int = PLENTY
) -> CategoryRun:
    """What stages of one category work with, in a store of its own."""
    return CategoryRun(StoreLayout(folder), "tile", config or RunConfig(), spec, memory_budget)


def made_up_images(n_images: int) -> list[ImageRecord]:
    """Images that exist by their hashes alone."""
    digests = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(n_images)]
    return [ImageRecord(f"{n}.png", f"/{n}.png", digest, "cluster") for n, digest in enumerate(digests)]


def write_manifest(folder: Path, images: Sequence[ImageRecord]) -> Path:
    """Write a manifest of one category."""
    return save_manifest(StoreLayout(folder), DatasetManifest("tile", tuple(images)))


def random_bags(rng: np.random.Generator, n_images: int, spec: EmbeddingSpec) -> NDArray[np.float32]:
    """Bags ``(n_images, n_patches, dim)`` without any structure."""
    return normalize_patches(rng.standard_normal((n_images, spec.n_patches, spec.dim), dtype=np.float32))


def write_bags(folder: Path, hashes: Sequence[str], spec: EmbeddingSpec) -> None:
    """Write simulated bags segment by segment and in the order of their hashes, as embedding does."""
    rng = np.random.default_rng(0)
    hashes = sorted(hashes)
    segments = EmbeddingSegments(folder)
    step = segment_images(spec.n_patches, spec.dim)
    for start in range(0, len(hashes), step):
        part = hashes[start : start + step]
        segments.append(part, random_bags(rng, len(part), spec), unit_norm=spec.unit_norm)


def write_data_set(folder: Path, n_images: int, spec: EmbeddingSpec) -> Path:
    """Write simulated bags of so many images below ``folder / "bags"``; gives their manifest's path."""
    images = made_up_images(n_images)
    write_bags(folder / "bags", [image.sha256 for image in images], spec)
    return write_manifest(folder, images)


def write_distances(folder: Path, hashes: Sequence[str], n_patches: int) -> None:
    """Write nearest distances: all pairs of images at one distance, each to itself at 0."""
    plan = NearestSlabs(folder / "nearest").plan(WantedPairs(hashes), folder / "bags", n_patches, 32)
    plan.create()
    for block in plan.blocks:
        values = np.full((len(block.rows), len(block.columns), n_patches), 0.5, np.float16)
        values[np.equal.outer(np.array(block.rows), np.array(block.columns))] = 0
        for target, block_values in ((block.forward, values), (block.backward, values.transpose(1, 0, 2))):
            if target:
                arrays.write_block(target[0], "distances", (target[1], target[2], 0), block_values)
        plan.block_done(block)


def pair(
    folder: Path,
    manifest: Path,
    spec: EmbeddingSpec,
    *,
    to: str = "nearest",
    reference: Reference | None = None,
    dask: str | None = None,
    memory_budget: int = PLENTY,
) -> NearestDistances:
    """Run the pairwise stage over the bags below ``folder / "bags"``; call it `without_prefect`."""
    config = RunConfig(embed=EmbedConfig(device="cpu"), pair=PairConfig(dask=dask))
    return pair_stage.pair.fn(
        run=made_up_run(folder, spec, config, memory_budget=memory_budget),
        key="k",
        manifest=str(manifest),
        embeddings=(str(folder / "bags"), str(folder / f"covers of {to}") if spec.cover else ""),
        folder=str(folder / to),
        reference=reference or Reference("cluster"),
    )
