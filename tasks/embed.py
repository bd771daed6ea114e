"""Stage 1: images to bags of patch embeddings, in immutable segments; only images that no run has seen."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from prefect import get_run_logger, task

from anoclust_core.backbones import build_extractor, fold_batch_norms
from anoclust_core.config import RunConfig
from anoclust_core.embedding import choose_device, embed_images, prepare_image
from anoclust_core.records import EmbeddingSpec, EmbeddingStore, ImageRecord
from tasks import telemetry
from tasks.orchestration import STAGE, Progress
from tasks.stores.embeddings import EmbeddingSegments, segment_images
from tasks.stores.images import UnreadableImageError, UnreadNowError, read_image
from tasks.stores.manifests import load_manifest
from tasks.stores.weights import load_state_dict

BATCH_IMAGES: Final = {"cpu": 4, "cuda": 64}
"""On two cores a batch of 4 fits the caches and is 1.3 times faster than one of 16."""

_DECODING_THREADS: Final = 2


@task(name="embed", **STAGE)
def embed(
    *, category: str, key: str, manifest: str, spec: EmbeddingSpec, folder: str, config: RunConfig
) -> EmbeddingStore:
    """Embed the images of a manifest that the store does not hold yet, the clustered ones first."""
    images = load_manifest(Path(manifest))
    segments = EmbeddingSegments(Path(folder))
    known = {**segments.index(), **segments.unreadable()}
    new = list(
        {image.sha256: image for image in (*images.clustered, *images.normals) if image.sha256 not in known}.values()
    )
    not_now: dict[str, str] = {}
    if new:
        get_run_logger().info("embedding %d new images with %s", len(new), spec.backbone)
        not_now = _embed_new(new, segments, spec, config, Progress("embed", category))
    hashes = {image.sha256 for image in images.images}
    unreadable = {sha256: why for sha256, why in segments.unreadable().items() if sha256 in hashes}
    return EmbeddingStore(uri=folder, key=key, unreadable={**unreadable, **not_now})


def _embed_new(
    new: Sequence[ImageRecord], segments: EmbeddingSegments, spec: EmbeddingSpec, config: RunConfig, progress: Progress
) -> dict[str, str]:
    """Embed images segment by segment; gives the reasons of those that could not be read this time."""
    device = choose_device(config.device)
    state_dict = load_state_dict(config.backbone, spec.timm_model, config.checkpoint)
    extractor = fold_batch_norms(build_extractor(spec, state_dict), spec.image_size).to(device)
    extractor = extractor.to(memory_format=torch.channels_last)
    batch_images = BATCH_IMAGES[device.partition(":")[0]]
    segment = segment_images(spec.n_patches, spec.dim)
    not_now: dict[str, str] = {}
    hashes: list[str] = []
    bags: list[NDArray[np.float32]] = []
    done = 0
    with ThreadPoolExecutor(_DECODING_THREADS) as pool:
        prepared = _prepare_ahead(pool, new, spec, ahead=2 * batch_images + _DECODING_THREADS)
        while batch := list(islice(prepared, batch_images)):
            good = [(image.sha256, outcome) for image, outcome in batch if isinstance(outcome, np.ndarray)]
            bad = [(image.sha256, outcome) for image, outcome in batch if isinstance(outcome, UnreadableImageError)]
            not_now.update({sha256: str(why) for sha256, why in bad if isinstance(why, UnreadNowError)})
            segments.add_unreadable({sha256: str(why) for sha256, why in bad if not isinstance(why, UnreadNowError)})
            if good:
                hashes += [sha256 for sha256, _ in good]
                bags.append(embed_images(extractor, np.stack([pixels for _, pixels in good]), device=device))
            done += len(batch)
            progress(done, len(new))
            if len(hashes) >= segment or (hashes and done == len(new)):
                segments.append(hashes, np.concatenate(bags))
                telemetry.count("images_embedded", len(hashes))
                hashes, bags = [], []
    return not_now


def _prepare_ahead(
    pool: ThreadPoolExecutor, images: Sequence[ImageRecord], spec: EmbeddingSpec, *, ahead: int
) -> Iterator[tuple[ImageRecord, NDArray[np.float32] | UnreadableImageError]]:
    """Decode and prepare images in other threads, a bounded number ahead of the network, in order."""

    def prepare(image: ImageRecord) -> NDArray[np.float32] | UnreadableImageError:
        try:
            return prepare_image(read_image(Path(image.file), sha256=image.sha256), spec)
        except UnreadableImageError as error:
            return error

    waiting: deque[tuple[ImageRecord, Future[NDArray[np.float32] | UnreadableImageError]]] = deque()
    for image in images:
        waiting.append((image, pool.submit(prepare, image)))
        if len(waiting) > ahead:
            first, future = waiting.popleft()
            yield first, future.result()
    while waiting:
        first, future = waiting.popleft()
        yield first, future.result()
