"""Recipe blind, stage 3: from anomaly maps to weights and one descriptor per image, [ARDELEAN24]."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from prefect import get_run_logger, task

from anoclust_core.config import BlindConfig
from anoclust_core.embedding.extraction import choose_device
from anoclust_core.localization.contrastive import EPOCHS, load_head, project, train_head
from anoclust_core.localization.maps import descriptor, finish_maps
from anoclust_core.localization.thresholds import kmeans_quantile_threshold, otsu_threshold, robust_threshold
from anoclust_core.localization.variants import VARIANTS
from anoclust_core.memory import describe_plan
from anoclust_core.records import ArrayHandle, BagWeights, unique_contents
from anoclust_core.seeding import generator
from anoclust_core.weighting.weights import soft_weights, temperature
from tasks.stages.category_run import CategoryRun
from tasks.stages.localize import keep_state, kept_state
from tasks.stages.runner import STAGE, Progress
from tasks.stages.views import rows_of_parts
from tasks.stores import arrays
from tasks.stores.embeddings import feature_maps
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
    training: str,
    n_classes: int | None,
) -> BagWeights:
    """Finish the maps, train the head, pool; arrays as those of stage `weigh`, the maps standing for rarity."""
    config, spec, seed = run.config.blind, run.spec, run.config.seed
    images = load_manifest(Path(manifest))
    hashes, counts = unique_contents(images.clustered)
    describe_plan(n_images=sum(counts), n_contents=len(hashes), n_patches=spec.n_patches, dim=spec.dim).check(
        run.memory_budget
    )
    finished = finish_maps(arrays.read(Path(maps.uri), "maps"), border=config.border, flat=config.flat_field)
    scores = finished.reshape(len(hashes), -1)
    tau_value = temperature(run.config.weigh.tau, np.repeat(scores, counts, axis=0))
    variant, chosen = VARIANTS[config.variant], choose_device(run.config.embed.device)
    notes: dict[str, object] = {"tau": tau_value}
    with feature_maps(Path(embeddings), hashes, spec, Path(folder).parent) as features:
        pooled = np.stack([descriptor(image, of, tau=tau_value) for image, of in zip(features, finished, strict=True)])
        if config.contrastive and len(hashes) > 1:
            threshold = _threshold(config, finished, pooled, n_classes, seed)
            is_anomalous = finished > threshold
            notes |= {"threshold": threshold, "anomalous_share": float(is_anomalous.mean())}
            if is_anomalous.any():
                store = TrainingStore(Path(training))
                progress = Progress("head", run.category)
                state = kept_state(store)
                if not store.is_complete or state is None:
                    state = train_head(
                        features,
                        is_anomalous,
                        pooled,
                        seed=seed,
                        variant=variant,
                        state=state,
                        device=chosen,
                        progress=lambda epoch, _: progress(epoch, EPOCHS),
                        checkpoint=lambda found: keep_state(store, found),
                    )
                    keep_state(store, state, is_last=True)
                head = load_head(state, device=chosen)
                pooled = np.stack(
                    [
                        descriptor(project(head, image), of, tau=tau_value)
                        for image, of in zip(features, finished, strict=True)
                    ]
                )
            else:
                get_run_logger().warning(
                    "no cell of %s is anomalous; descriptors are pooled without a head", run.category
                )
    stored = {
        "rarity": np.repeat(scores, counts, axis=0).astype(np.float32),
        "weights": np.repeat(soft_weights(scores, tau=tau_value), counts, axis=0).astype(np.float32),
        "descriptors": np.repeat(pooled, counts, axis=0),
    }
    stored = rows_of_parts(run.config, images, stored)
    arrays.write_arrays(Path(folder), stored, notes)
    shapes = {name: values.shape for name, values in stored.items()}
    return BagWeights(ArrayHandle(uri=folder, key=key, shapes=shapes), tau=tau_value)


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
