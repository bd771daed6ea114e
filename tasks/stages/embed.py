"""Stage 1: images to bags of patch embeddings, in immutable segments; only images that no run has seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from prefect import get_run_logger, task

from anoclust_core.embedding.deep_images import Outside
from anoclust_core.embedding.extraction import choose_device, has_native_bf16
from anoclust_core.records import EmbeddingStore
from tasks import telemetry
from tasks.compute.embedding import Copies, choose_limits, choose_network, embed_batches, with_copies
from tasks.stages.category_run import CategoryRun
from tasks.stages.runner import STAGE, Progress
from tasks.stores.embeddings import LevelSegments, segment_images
from tasks.stores.manifests import load_manifest


@task(name="embed", **STAGE)
def embed(*, run: CategoryRun, key: str, manifest: str, folder: str, deeper: str, network: str) -> EmbeddingStore:
    """Embed the images of a manifest that the store does not hold yet, the clustered ones first.

    A deeper level of the spec goes to the folder ``deeper``, empty where there is none. The network converted for
    OpenVINO is kept in the file ``network``.
    """
    images = load_manifest(Path(manifest))
    levels = LevelSegments.of(folder, deeper)
    new = with_copies(levels.missing(images.clustered + images.normals), images.images)
    not_now: dict[str, str] = {}
    if new:
        get_run_logger().info("embedding %d new images with %s", len(new), run.spec.backbone)
        not_now = _embed_new(new, levels, run, Path(network))
    return EmbeddingStore(uri=folder, key=key, not_now=not_now)


def _embed_new(new: Sequence[Copies], levels: LevelSegments, run: CategoryRun, network: Path) -> dict[str, str]:
    """Embed images segment by segment; gives the reasons of those that could not be read this time."""
    spec, memory_budget = run.spec, run.memory_budget
    progress = Progress("embed", run.category)
    device = choose_device(run.config.embed.device)
    chosen = choose_network(run.config.embed, spec, network, device, n_images=len(new), memory_budget=memory_budget)
    if chosen.not_converted:
        get_run_logger().warning("%s runs in torch and not in OpenVINO: %s", spec.backbone, chosen.not_converted)
    limits = choose_limits(chosen, spec, device, n_images=len(new), memory_budget=memory_budget)
    if spec.precision == "bf16" and not has_native_bf16(device):
        get_run_logger().warning("precision bf16: %s has no bfloat16 of its own, expect no gain over float32", device)
    segment = segment_images(spec.n_patches, spec.dim)
    not_now: dict[str, str] = {}
    hashes: list[str] = []
    bags: list[list[NDArray[np.float16]]] = []
    outside: dict[str, Outside] = {}
    done = 0
    for batch in embed_batches(new, chosen.extractor, spec, device, limits):
        levels.first.add_unreadable(batch.unreadable, (image for copies in new for image in copies))
        not_now.update(batch.not_now)
        if batch.hashes:
            hashes += batch.hashes
            bags.append(batch.bags)
            outside |= batch.outside
        done += len(batch.hashes) + len(batch.unreadable) + len(batch.not_now)
        progress(done, len(new))
        if len(hashes) >= segment or (hashes and done == len(new)):
            together = [np.concatenate(of_level) for of_level in zip(*bags, strict=True)]
            levels.append(hashes, together, spec, outside=outside)
            telemetry.count("images_embedded", len(hashes))
            hashes, bags, outside = [], [], {}
    return not_now
