"""Deep clustering of one category: a training that can be stopped, and the scores of what it found."""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image
from prefect import get_run_logger, task
from torch import Tensor

from anoclust_core.benchmark.deep.building import TITLES, Pretrained, build_method, needs_pretrained
from anoclust_core.benchmark.deep.planning import DeepPlan, planned, probe
from anoclust_core.benchmark.deep.settings import PUBLISHED_BACKBONE, n_epochs, settings_of
from anoclust_core.benchmark.deep.training import DeepTraining, train_deep
from anoclust_core.benchmark.deep_rows import deep_rows
from anoclust_core.benchmark.scoring import Measurement
from anoclust_core.embedding.backbones import build_extractor, describe
from anoclust_core.embedding.extraction import choose_device
from anoclust_core.embedding.resizing import RESAMPLING, square_of
from anoclust_core.evaluation.protocols import Protocol
from anoclust_core.localization.training import TrainingState
from anoclust_core.records import ArrayHandle, DatasetManifest, unique_contents
from tasks import telemetry
from tasks.compute.dask_jobs import CORES
from tasks.compute.localizing import torch_threads
from tasks.images.decoding import read_image
from tasks.networks.checkpoints import load_state_dict
from tasks.stages.category_run import CategoryRun
from tasks.stages.localize import keep_state, kept_state
from tasks.stages.runner import STAGE, Progress
from tasks.stores.manifests import load_manifest
from tasks.stores.training import TrainingStore

SECONDS: Final = "history/seconds"
PEAK_MIB: Final = "history/peak_mib"
"""Tensors of a state at rest that say what the training took, over all commands that it was done in."""

CHECKPOINT_SECONDS = 30.0
"""Between two states that are written; a killed training loses no more."""

_MIB: Final = 1 << 20


@task(name="train", **STAGE)
def train(
    *,
    run: CategoryRun,
    key: str,
    manifest: str,
    folder: str,
    method: str,
    as_published: bool,
    n_clusters: int,
) -> ArrayHandle:
    """Train one method on the clustered contents, or go on where a killed command was; gives its last state."""
    store = TrainingStore(Path(folder))
    if not store.is_complete:
        images = load_manifest(Path(manifest))
        with torch_threads(CORES):
            _train(run, store, images, method=method, as_published=as_published, n_clusters=n_clusters)
    found = store.newest()
    assert found is not None  # noqa: S101 - a complete store has a state
    return ArrayHandle(uri=folder, key=key, shapes={name: values.shape for name, values in found[1].items()})


@task(name="measure", **STAGE)
def measure_deep(
    *,
    run: CategoryRun,
    key: str,  # noqa: ARG001 - names the cached result
    manifest: str,
    trained: ArrayHandle,
    method: str,
    protocol: Protocol,
) -> list[Measurement]:
    """Score the clusters after every epoch: the last one, and the one that the labels would choose."""
    images = load_manifest(Path(manifest)).clustered
    counts = unique_contents(images)[1]
    state = kept_state(TrainingStore(Path(trained.uri)))
    assert state is not None and run is not None  # noqa: S101 - the task before has written it
    training = DeepTraining.of(state)
    return deep_rows(
        np.repeat(training.clusters, counts, axis=1),
        [image.label for image in images],
        method=TITLES[method],
        protocol=protocol,
        extra={
            "seconds": float(state.tensors[SECONDS]),
            "peak_mib": float(state.tensors[PEAK_MIB]),
            "n_images": float(len(images)),
        },
    )


def plan_training(run: CategoryRun, method: str, *, as_published: bool, n_clusters: int, n_images: int) -> DeepPlan:
    """Time a few steps of a method, and say what its training will take.

    Parameters
    ----------
    run
        What every stage is given.
    method, as_published, n_clusters
        What is trained.
    n_images
        Distinct images.
    """
    settings, device = settings_of(method, as_published=as_published), choose_device(run.config.embed.device)
    pretrained = _pretrained(run, as_published=as_published) if needs_pretrained(method) else None
    with torch_threads(CORES):
        found = probe(
            method, n_clusters=n_clusters, settings=settings, seed=run.config.seed, device=device, pretrained=pretrained
        )
    return planned(TITLES[method], found, settings, n_images=n_images)


def _train(
    run: CategoryRun,
    store: TrainingStore,
    images: DatasetManifest,
    *,
    method: str,
    as_published: bool,
    n_clusters: int,
) -> None:
    """Train to the end, with the state written every now and then."""
    began = time.monotonic()
    settings = settings_of(method, as_published=as_published)
    state = kept_state(store)
    if state is not None:
        get_run_logger().info("%s resumes after %d epochs", TITLES[method], state.step)
    spent, highest = (float(state.tensors[name]) if state else 0.0 for name in (SECONDS, PEAK_MIB))
    gc.collect()
    telemetry.forget_peak_memory()
    views = Progress("views", run.category) if needs_pretrained(method) else None
    built = build_method(
        method,
        _pixels(images, run, settings.side),
        n_clusters=n_clusters,
        settings=settings,
        seed=run.config.seed,
        device=choose_device(run.config.embed.device),
        pretrained=_pretrained(run, as_published=as_published) if needs_pretrained(method) else None,
        progress=views,
    )
    progress, total = Progress(method, run.category), n_epochs(settings.phases)
    written = time.monotonic()

    def with_cost(found: TrainingState) -> TrainingState:
        cost = {
            SECONDS: torch.tensor(spent + time.monotonic() - began),
            PEAK_MIB: torch.tensor(max(highest, telemetry.peak_memory_bytes() / _MIB)),
        }
        return TrainingState(found.step, {**found.tensors, **cost})

    def checkpoint(found: TrainingState) -> None:
        nonlocal written
        if time.monotonic() - written >= CHECKPOINT_SECONDS:
            keep_state(store, with_cost(found))
            written = time.monotonic()

    training = train_deep(
        built,
        seed=run.config.seed,
        state=state,
        progress=lambda epoch, _: progress(epoch, total),
        checkpoint=checkpoint,
    )
    keep_state(store, with_cost(training.state), is_last=True)


def _pretrained(run: CategoryRun, *, as_published: bool) -> Pretrained:
    """Network with ImageNet weights: the run's own, or the published one."""
    embed, spec = run.config.embed, run.spec
    if as_published:
        spec = describe(PUBLISHED_BACKBONE, weights=None, layers=None, image_size=spec.image_size)
    checkpoint = embed.checkpoint if spec.backbone == embed.backbone else None
    state_dict = load_state_dict(spec.backbone, spec.timm_model, checkpoint)
    return Pretrained(build_extractor(spec, state_dict).model, mean=spec.mean, std=spec.std)


def _pixels(images: DatasetManifest, run: CategoryRun, side: int) -> Tensor:
    """Pictures of the clustered contents by ascending hash, as the network sees them: ``(n, 3, side, side)``, uint8."""
    spec = run.spec
    by_hash = {image.sha256: image for image in images.clustered}
    pixels = torch.empty((len(by_hash), 3, side, side), dtype=torch.uint8)
    for row, sha256 in enumerate(sorted(by_hash)):
        picture = read_image(Path(by_hash[sha256].file), sha256=sha256, deep=spec.deep)
        box = spec.seen_box(picture.shape[:2])
        seen = square_of(picture, box, side=side, interpolation=spec.interpolation)
        square = Image.fromarray(np.ascontiguousarray(seen)).resize((side, side), RESAMPLING[spec.interpolation])
        pixels[row] = torch.from_numpy(np.array(square)).permute(2, 0, 1)
    return pixels
