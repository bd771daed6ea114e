"""Anomaly maps of a detector of the user's own, for images that it has not seen: kept by content and by the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from prefect import get_run_logger, task

from anoclust_core.records import EmbeddingStore
from tasks import telemetry
from tasks.compute.detection import THREADS, decoding_bytes, detect_images
from tasks.compute.embedding import with_copies
from tasks.networks.detectors import DetectorNetwork
from tasks.stages.category_run import CategoryRun
from tasks.stages.runner import STAGE, Progress
from tasks.stores.detected import DetectedMaps, segment_maps
from tasks.stores.manifests import load_manifest


@task(name="detect", **STAGE)
def detect(*, run: CategoryRun, key: str, manifest: str, folder: str) -> EmbeddingStore:
    """Make the maps of the clustered images that the folder does not hold yet.

    The handle says of images that could not be read this time why not.
    """
    images = load_manifest(Path(manifest))
    kept = DetectedMaps(Path(folder))
    new = with_copies(kept.missing(images.clustered), images.clustered)
    not_now: dict[str, str] = {}
    if new and run.spec.detector is not None:
        network = DetectorNetwork(run.spec.detector, threads=THREADS)
        left = decoding_bytes(network, n_images=len(new), memory_budget=run.memory_budget)
        get_run_logger().info("maps of %d new images by %s", len(new), run.spec.detector.file)
        progress = Progress("detect", run.category)
        segment = segment_maps(network.map_shape)
        hashes: list[str] = []
        maps: list[NDArray[np.float32]] = []
        frames: list[tuple[int, int]] = []
        for done, found in enumerate(detect_images(new, network, run.spec, decode_bytes=left), start=1):
            if found.values is None:
                not_now[found.content] = found.not_now
            else:
                hashes.append(found.content)
                maps.append(found.values)
                frames.append(found.frame)
            progress(done, len(new))
            if len(hashes) >= segment or (hashes and done == len(new)):
                kept.append(hashes, np.stack(maps), frames)
                telemetry.count("images_detected", len(hashes))
                hashes, maps, frames = [], [], []
    return EmbeddingStore(uri=folder, key=key, not_now=not_now)
