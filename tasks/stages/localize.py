"""Recipe blind, stage 2: an anomaly map of every image from the images alone, [ARDELEAN24]."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from prefect import get_run_logger, task
from threadpoolctl import threadpool_limits

from anoclust_core.embedding.extraction import choose_device
from anoclust_core.localization.fca import anomaly_maps
from anoclust_core.localization.fca_torch import anomaly_map_on_device
from anoclust_core.localization.training import TrainingState
from anoclust_core.localization.vae import BATCH, FeatureVae, load_vae, residual_maps, scale_channels, train_vae
from anoclust_core.localization.variants import VARIANTS, BlindVariant
from anoclust_core.memory import localize_plan
from anoclust_core.records import ArrayHandle, unique_contents
from tasks.compute.dask_jobs import CORES
from tasks.stages.category_run import CategoryRun
from tasks.stages.runner import STAGE, Progress
from tasks.stores import arrays
from tasks.stores.embeddings import feature_maps
from tasks.stores.manifests import load_manifest
from tasks.stores.training import TrainingStore

IMAGES_AT_ONCE: Final = 8
"""Images whose residuals are held at a time."""


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
    config, spec = run.config.blind, run.spec
    hashes, _ = unique_contents(load_manifest(Path(manifest)).clustered)
    localize_plan(
        n_contents=len(hashes),
        n_patches=spec.n_patches,
        dim=spec.dim,
        batch=BATCH,
        threads=CORES,
        at_once=IMAGES_AT_ONCE,
    ).check(run.memory_budget)
    chosen, variant = choose_device(run.config.embed.device), VARIANTS[config.variant]
    with feature_maps(Path(embeddings), hashes, spec, Path(folder).parent) as features:
        vae = None
        if config.vae:
            state = _trained(features, TrainingStore(Path(training)), variant, run.config.seed, chosen, run.category)
            vae = load_vae(state, variant=variant, device=chosen)
        progress = Progress("maps", run.category)
        maps = np.empty((len(hashes), *spec.grid), np.float32)
        for start in range(0, len(hashes), IMAGES_AT_ONCE):
            rows = slice(start, start + IMAGES_AT_ONCE)
            maps[rows] = _maps(features[rows], vae, chosen)
            progress(min(rows.stop, len(hashes)), len(hashes))
    arrays.write_arrays(Path(folder), {"maps": maps}, {"hashes": hashes})
    return ArrayHandle(uri=folder, key=key, shapes={"maps": maps.shape})


def _trained(
    features: NDArray[np.float16], store: TrainingStore, variant: BlindVariant, seed: int, device: str, category: str
) -> TrainingState:
    """Train the VAE, or go on where a killed run was; gives its last state."""
    state = kept_state(store)
    if store.is_complete and state is not None:
        return state
    if state is not None:
        get_run_logger().info("training resumes after %d of %d steps", state.step, variant.vae_steps)
    progress = Progress("train", category)
    with all_cores():
        state = train_vae(
            features,
            seed=seed,
            variant=variant,
            state=state,
            device=device,
            progress=lambda step, _: progress(step, variant.vae_steps),
            checkpoint=lambda found: keep_state(store, found),
        )
    keep_state(store, state, is_last=True)
    return state


def _maps(features: NDArray[np.float16], vae: FeatureVae | None, device: str) -> NDArray[np.float32]:
    """Raw anomaly maps of a few images, from the residuals of a VAE or from the features themselves."""
    with all_cores():
        left = residual_maps(vae, features) if vae else np.stack([scale_channels(image) for image in features])
    if device.startswith("cuda"):
        on_device = [anomaly_map_on_device(torch.from_numpy(image).to(device)) for image in left]
        return np.stack([image.cpu().numpy() for image in on_device])
    return anomaly_maps(left, threads=CORES)


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


@contextmanager
def all_cores() -> Iterator[None]:
    """Let torch use the same number of threads wherever the stage runs: sums depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(CORES)
    try:
        with threadpool_limits(CORES):
            yield
    finally:
        torch.set_num_threads(before)
