"""Recipe blind, stage 2: an anomaly map of every image from the images alone, [ARDELEAN24]."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from prefect import get_run_logger, task

from anoclust_core.embedding.extraction import choose_device, has_native_bf16
from anoclust_core.embedding.precision import Precision
from anoclust_core.localization.cells import SAMPLE, cells_an_image, sample_image
from anoclust_core.localization.localizer import raw_map
from anoclust_core.localization.training import TrainingState
from anoclust_core.localization.vae import BATCH, FeatureVae, load_vae, train_vae
from anoclust_core.localization.variants import VARIANTS
from anoclust_core.memory.blind import localize_plan
from anoclust_core.records import ArrayHandle, unique_contents
from tasks.compute.dask_jobs import CORES
from tasks.compute.localizing import IMAGES_AT_ONCE, each_image, torch_threads
from tasks.stages.category_run import CategoryRun
from tasks.stages.runner import STAGE, Progress
from tasks.stores import arrays
from tasks.stores.manifests import load_manifest
from tasks.stores.training import TrainingStore

MOST_THREADS: Final = 8
"""Threads that a training step is worth: it is small."""


@task(name="localize", **STAGE)
def localize(
    *,
    run: CategoryRun,
    key: str,
    manifest: str,
    embeddings: str,
    folder: str,
    training: str,
) -> ArrayHandle:
    """Make the maps; array ``maps`` has one row per distinct content, by hash, on the grid of the features."""
    spec = run.spec
    hashes, _ = unique_contents(load_manifest(Path(manifest)).clustered)
    localize_plan(
        n_contents=len(hashes),
        n_patches=spec.n_patches,
        dim=spec.dim,
        sampled=cells_an_image(len(hashes), spec.n_patches) * len(hashes),
        batch=BATCH,
        threads=CORES,
        at_once=IMAGES_AT_ONCE,
    ).check(run.memory_budget)
    chosen = choose_device(run.config.embed.device)
    vae = _vae(run, Path(embeddings), hashes, TrainingStore(Path(training)), chosen) if run.config.blind.vae else None
    maps = np.empty((len(hashes), *spec.grid), np.float32)
    made = each_image(
        Path(embeddings),
        hashes,
        spec,
        lambda _, features: raw_map(features, vae, device=chosen),
        device=chosen,
        progress=Progress("maps", run.category),
    )
    for row, one in made:
        maps[row] = one
    arrays.write_arrays(Path(folder), {"maps": maps}, {"hashes": hashes})
    return ArrayHandle(uri=folder, key=key, shapes={"maps": maps.shape})


def _vae(run: CategoryRun, embeddings: Path, hashes: list[str], store: TrainingStore, device: str) -> FeatureVae:
    """Train the VAE on cells of all images, or go on where a killed run was, or take it as it is."""
    variant = VARIANTS[run.config.blind.variant]
    state = kept_state(store)
    if not store.is_complete or state is None:
        cells = _sampled(run, embeddings, hashes)
        if state is not None:
            get_run_logger().info("training resumes after %d of %d steps", state.step, variant.vae_steps)
        progress = Progress("train", run.category)
        precision: Precision = run.spec.precision if has_native_bf16(device) else "float32"
        with torch_threads(min(CORES, MOST_THREADS)):
            state = train_vae(
                cells,
                seed=run.config.seed,
                variant=variant,
                precision=precision,
                state=state,
                device=device,
                progress=lambda step, _: progress(step, variant.vae_steps),
                checkpoint=lambda found: keep_state(store, found),
            )
        keep_state(store, state, is_last=True)
    return load_vae(state, variant=variant, device=device)


def _sampled(run: CategoryRun, embeddings: Path, hashes: list[str]) -> NDArray[np.float16]:
    """Sample cells of all images, ``(n, dim)``, as `cells.sample_cells`; each image is read once."""
    spec = run.spec
    count = cells_an_image(len(hashes), spec.n_patches, at_most=SAMPLE)
    cells = np.empty((len(hashes), count, spec.dim), np.float16)
    drawn = each_image(
        embeddings,
        hashes,
        spec,
        lambda row, features: sample_image(features, image=row, count=count, seed=run.config.seed),
        progress=Progress("sample", run.category),
    )
    for row, found in drawn:
        cells[row] = found
    return cells.reshape(-1, spec.dim)


def kept_state(store: TrainingStore) -> TrainingState | None:
    """State of a training at rest, as torch has it."""
    found = store.newest()
    if found is None:
        return None
    step, tensors = found
    return TrainingState(step, {name: torch.from_numpy(np.array(value)) for name, value in tensors.items()})


def keep_state(store: TrainingStore, state: TrainingState, *, is_last: bool = False) -> None:
    """Put the state of a training to rest."""
    store.keep(state.step, {name: value.numpy() for name, value in state.tensors.items()}, is_last=is_last)
