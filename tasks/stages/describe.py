"""Recipe blind, stage 3: from anomaly maps to weights and one descriptor per image, [ARDELEAN24]."""

from __future__ import annotations

from dataclasses import replace
from operator import itemgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from prefect import get_run_logger, task

from anoclust_core.config import BlindConfig
from anoclust_core.embedding.extraction import choose_device
from anoclust_core.errors import DamagedError
from anoclust_core.localization.contrastive import EPOCHS, ProjectionHead, load_head, train_head
from anoclust_core.localization.localizer import Localizer
from anoclust_core.localization.maps import finish_maps, flat_field
from anoclust_core.localization.thresholds import kmeans_quantile_threshold, otsu_threshold, robust_threshold
from anoclust_core.localization.vae import FeatureVae, load_vae
from anoclust_core.localization.variants import VARIANTS, BlindVariant
from anoclust_core.memory.blind import describe_plan
from anoclust_core.records import ArrayHandle, BagWeights, unique_contents
from anoclust_core.seeding import generator
from anoclust_core.weighting.weights import soft_weights, temperature
from tasks.compute.dask_jobs import CORES
from tasks.compute.localizing import each_image, torch_threads
from tasks.stages.category_run import CategoryRun
from tasks.stages.localize import keep_state, kept_state
from tasks.stages.runner import STAGE, Progress
from tasks.stages.views import rows_of_parts
from tasks.stores import arrays
from tasks.stores.embeddings import feature_maps
from tasks.stores.localizers import write_localizer
from tasks.stores.manifests import load_manifest
from tasks.stores.training import TrainingStore


@task(name="describe", **STAGE)
def describe(
    *,
    run: CategoryRun,
    key: str,
    manifest: str,
    embeddings: str,
    maps: ArrayHandle,
    folder: str,
    training: tuple[str, str],
    n_classes: int | None,
) -> BagWeights:
    """Finish the maps, train the head, pool; arrays as those of stage `weigh`, the maps standing for rarity.

    ``training`` are the folders of the VAE, which stage `localize` has trained, and of the head. All that is learnt is
    kept as the localizer of this key: nights describe later images by it.
    """
    config, spec = run.config.blind, run.spec
    images = load_manifest(Path(manifest))
    hashes, counts = unique_contents(images.clustered)
    describe_plan(
        n_images=sum(counts), n_contents=len(hashes), n_patches=spec.n_patches, dim=spec.dim, threads=CORES
    ).check(run.memory_budget)
    raw = arrays.read(Path(maps.uri), "maps")
    field = flat_field(raw) if config.flat_field else np.zeros(spec.grid, np.float32)
    finished = finish_maps(raw, border=config.border, field=field)
    scores = finished.reshape(len(hashes), -1)
    tau_value = temperature(run.config.weigh.tau, np.repeat(scores, counts, axis=0))
    variant, chosen = VARIANTS[config.variant], choose_device(run.config.embed.device)
    vae = _trained_vae(Path(training[0]), variant, chosen) if config.vae else None
    plain = Localizer(vae=vae, head=None, field=field, border=config.border, tau=tau_value, threshold=None)
    notes: dict[str, object] = {"tau": tau_value}

    def pooled_by(learnt: Localizer) -> NDArray[np.float32]:
        pooled = each_image(
            Path(embeddings),
            hashes,
            spec,
            lambda row, features: learnt.pooled(features, finished[row]),
            device=chosen,
            progress=Progress("descriptors", run.category),
        )
        return np.stack([one for _, one in sorted(pooled, key=itemgetter(0))])

    learnt, pooled = plain, pooled_by(plain)
    if config.contrastive and len(hashes) > 1:
        threshold = _threshold(config, finished, pooled, n_classes, run.config.seed)
        is_anomalous = finished > threshold
        notes |= {"threshold": threshold, "anomalous_share": float(is_anomalous.mean())}
        learnt = replace(plain, threshold=threshold)
        if is_anomalous.any():
            head = _head(run, Path(embeddings), hashes, (is_anomalous, pooled), Path(training[1]), chosen)
            learnt = replace(learnt, head=head)
            pooled = pooled_by(learnt)
        else:
            get_run_logger().warning("no cell of %s is anomalous; descriptors are pooled without a head", run.category)
    write_localizer(run.layout.folder("localizers", run.category, key), learnt, variant=variant)
    stored = {
        "rarity": np.repeat(scores, counts, axis=0).astype(np.float32),
        "weights": np.repeat(soft_weights(scores, tau=tau_value), counts, axis=0).astype(np.float32),
        "descriptors": np.repeat(pooled, counts, axis=0),
    }
    stored = rows_of_parts(run.config, images, stored)
    arrays.write_arrays(Path(folder), stored, notes)
    shapes = {name: values.shape for name, values in stored.items()}
    return BagWeights(ArrayHandle(uri=folder, key=key, shapes=shapes), tau=tau_value)


def _trained_vae(training: Path, variant: BlindVariant, device: str) -> FeatureVae:
    """VAE that stage `localize` has trained."""
    state = kept_state(TrainingStore(training))
    if state is None:
        raise DamagedError(f"{training} is gone, and the maps were made by it", training)
    return load_vae(state, variant=variant, device=device)


def _head(
    run: CategoryRun,
    embeddings: Path,
    hashes: list[str],
    learnt_from: tuple[NDArray[np.bool_], NDArray[np.float32]],
    training: Path,
    device: str,
) -> ProjectionHead:
    """Train the head on the anomalous cells and the plain descriptors, or go on where a killed run was."""
    store = TrainingStore(training)
    state = kept_state(store)
    if not store.is_complete or state is None:
        progress = Progress("head", run.category)
        # a step is too small to be shared among threads
        with torch_threads(1), feature_maps(embeddings, hashes, run.spec, training.parent) as features:
            state = train_head(
                features.values,
                *learnt_from,
                seed=run.config.seed,
                variant=VARIANTS[run.config.blind.variant],
                state=state,
                device=device,
                release=features.release,
                progress=lambda epoch, _: progress(epoch, EPOCHS),
                checkpoint=lambda found: keep_state(store, found),
            )
        keep_state(store, state, is_last=True)
    return load_head(state, device=device)


def _threshold(
    config: BlindConfig,
    maps: NDArray[np.float32],
    descriptors: NDArray[np.float32],
    n_classes: int | None,
    seed: int,
) -> float:
    """Value of the maps from which on a cell counts as anomalous; the plan has made sure of the number of classes."""
    if config.threshold == "robust":
        return robust_threshold(maps)
    if config.threshold == "otsu":
        return otsu_threshold(maps)
    assert n_classes is not None  # noqa: S101 - for the type checker
    return kmeans_quantile_threshold(maps, descriptors, n_classes=n_classes, generator=generator(seed, "threshold"))
