"""Stage 1: images to bags of patch embeddings, in immutable segments; only images that no run has seen."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from prefect import get_run_logger, task
from torch import Tensor

from anoclust_core.config import EmbedConfig
from anoclust_core.embedding.backbones import NetworkSize, build_extractor, fold_batch_norms, network_size
from anoclust_core.embedding.deep_images import DeepRange
from anoclust_core.embedding.extraction import (
    choose_device,
    embed_images,
    has_native_bf16,
    prepare_image,
    split_levels,
)
from anoclust_core.embedding.openvino import ConversionError
from anoclust_core.memory import DECODE_BYTES_PER_PIXEL, MemoryPlan, embed_plan
from anoclust_core.records import EmbeddingSpec, EmbeddingStore, ImageRecord
from tasks import telemetry
from tasks.compute.dask_jobs import CORES
from tasks.images.decoding import MAX_PIXELS, UnreadableImageError, UnreadNowError, read_image
from tasks.networks.checkpoints import load_state_dict
from tasks.networks.openvino import converted, kept_network
from tasks.stages.category_run import CategoryRun
from tasks.stages.runner import STAGE, Progress
from tasks.stores.embeddings import LevelSegments, at_rest, segment_images
from tasks.stores.manifests import load_manifest

BATCH_IMAGES: Final = {"cpu": 4, "cuda": 64}
"""On a CPU a small batch fits the caches."""

THREADS_CONVERTED: Final = 2 * CORES
"""Threads that call a converted network, which computes on threads of its own, one a core: with no more callers than
cores, those wait for decoding, and a tenth of the time is lost."""

CONVERTED_FROM: Final = 256
"""New images from which a network is converted for OpenVINO, which takes 5 s of one core; once it is converted, any
number is computed there. Fewer are done by torch before it would be."""

CONVERSION_BYTES: Final = 300 << 20
"""What converting takes beside copies of the weights, most of it the exporter's code."""

_one_on_gpu = Lock()
"""Many threads decode for a GPU; its memory is planned for one batch."""


@dataclass(frozen=True)
class _Batch:
    """What became of a batch: bags of every level by content hash, and the reasons of images that have none."""

    hashes: list[str]
    bags: list[NDArray[np.float16]]
    unreadable: dict[str, str]
    not_now: dict[str, str]


@task(name="embed", **STAGE)
def embed(*, run: CategoryRun, key: str, manifest: str, folder: str, deeper: str, network: str) -> EmbeddingStore:
    """Embed the images of a manifest that the store does not hold yet, the clustered ones first.

    A deeper level of the spec goes to the folder ``deeper``, empty where there is none. The network converted for
    OpenVINO is kept in the file ``network``.
    """
    images = load_manifest(Path(manifest))
    levels = LevelSegments.of(folder, deeper)
    new = _with_copies(levels.missing(images.clustered + images.normals), images.images)
    not_now: dict[str, str] = {}
    if new:
        get_run_logger().info("embedding %d new images with %s", len(new), run.spec.backbone)
        not_now = _embed_new(new, levels, run, Path(network))
    return EmbeddingStore(uri=folder, key=key, not_now=not_now)


_Copies = tuple[ImageRecord, ...]
"""The files that hold one content."""


def _with_copies(hashes: Sequence[str], images: Sequence[ImageRecord]) -> list[_Copies]:
    copies: dict[str, list[ImageRecord]] = {sha256: [] for sha256 in hashes}
    for image in images:
        if image.sha256 in copies:
            copies[image.sha256].append(image)
    return [tuple(same) for same in copies.values()]


def _embed_new(new: Sequence[_Copies], levels: LevelSegments, run: CategoryRun, network: Path) -> dict[str, str]:
    """Embed images segment by segment; gives the reasons of those that could not be read this time."""
    spec, memory_budget = run.spec, run.memory_budget
    progress = Progress("embed", run.category)
    device = choose_device(run.config.embed.device)
    chosen = _choose_network(run.config.embed, spec, network, device, n_images=len(new), memory_budget=memory_budget)
    limits = _choose_limits(chosen, spec, device, n_images=len(new), memory_budget=memory_budget)
    if spec.precision == "bf16" and not has_native_bf16(device):
        get_run_logger().warning("precision bf16: %s has no bfloat16 of its own, expect no gain over float32", device)
    segment = segment_images(spec.n_patches, spec.dim)
    not_now: dict[str, str] = {}
    hashes: list[str] = []
    bags: list[list[NDArray[np.float16]]] = []
    done = 0
    for batch in _embed_batches(new, chosen.extractor, spec, device, limits):
        levels.first.add_unreadable(batch.unreadable, (image for copies in new for image in copies))
        not_now.update(batch.not_now)
        if batch.hashes:
            hashes += batch.hashes
            bags.append(batch.bags)
        done += len(batch.hashes) + len(batch.unreadable) + len(batch.not_now)
        progress(done, len(new))
        if len(hashes) >= segment or (hashes and done == len(new)):
            levels.append(hashes, [np.concatenate(of_level) for of_level in zip(*bags, strict=True)], spec)
            telemetry.count("images_embedded", len(hashes))
            hashes, bags = [], []
    return not_now


Extractor = Callable[[Tensor], Tensor]
"""From images to features, in torch or in OpenVINO."""


@dataclass(frozen=True)
class _Network:
    """What computes features, what it takes in memory, and what converting it took beside that."""

    extractor: Extractor
    size: NetworkSize
    is_converted: bool = False
    conversion_bytes: int = 0


def _choose_network(
    asked: EmbedConfig, spec: EmbeddingSpec, file: Path, device: str, *, n_images: int, memory_budget: int
) -> _Network:
    """The network in OpenVINO, as it is kept or converted now, or else in torch."""
    if _may_convert(asked, device) and (kept := kept_network(file, spec)):
        return _Network(kept.extractor, kept.size, is_converted=True)
    built = build_extractor(spec, load_state_dict(asked.backbone, spec.timm_model, asked.checkpoint))
    conversion = CONVERSION_BYTES + 4 * sum(values.nbytes for values in built.parameters())
    if _may_convert(asked, device) and _converts(asked, n_images=n_images, has_memory=memory_budget > 4 * conversion):
        try:
            new = converted(file, built, spec)
        except ConversionError as error:
            get_run_logger().warning("%s runs in torch and not in OpenVINO: %s", spec.backbone, error)
        else:
            return _Network(new.extractor, new.size, is_converted=True, conversion_bytes=conversion)
    folded = fold_batch_norms(built, spec.image_size)
    size = network_size(folded, spec.image_size)
    return _Network(folded.to(device).to(memory_format=torch.channels_last), size)


def _may_convert(asked: EmbedConfig, device: str) -> bool:
    """Whether OpenVINO may compute the network: on a CPU, and in bfloat16 only where that has it."""
    return device == "cpu" and asked.engine != "torch" and (asked.precision != "bf16" or has_native_bf16(device))


def _converts(asked: EmbedConfig, *, n_images: int, has_memory: bool) -> bool:
    """Whether a network that OpenVINO may compute, and that is not kept yet, is converted: where that pays.

    In bfloat16 it is however few images there are: there, two engines agree to three digits and no more.
    """
    if asked.precision == "bf16" or asked.engine == "openvino":
        return True
    return has_memory and n_images >= CONVERTED_FROM


@dataclass(frozen=True)
class _Limits:
    """What fits into memory: threads, images in a batch of each, and the largest image that can be decoded."""

    threads: int
    batch: int
    max_pixels: int


def _choose_limits(
    network: _Network, spec: EmbeddingSpec, device: str, *, n_images: int, memory_budget: int
) -> _Limits:
    """Plan the memory before any image is decoded: the largest batch that fits, and what is left for decoding.

    An image that is too large for what is left waits for a run with more memory; the others do not wait for it.
    """
    memory_budget -= network.conversion_bytes
    size, is_converted = network.size, network.is_converted
    on_gpu = device.startswith("cuda")
    batch = BATCH_IMAGES[device.partition(":")[0]]
    threads = THREADS_CONVERTED if is_converted else CORES
    if on_gpu:
        free, _ = torch.cuda.mem_get_info(torch.device(device))
        batch = max(1, min(batch, free // (2 * size.activation_bytes)))

    def plan(batch: int, largest_pixels: Sequence[int] = ()) -> MemoryPlan:
        return embed_plan(
            n_patches=spec.n_patches,
            dim=sum(level.dim for level in spec.levels),
            image_size=spec.image_size,
            weight_bytes=size.weight_bytes,
            activation_bytes=0 if on_gpu else size.activation_bytes,
            batch=batch,
            images_at_once=CORES if is_converted else threads * batch,
            threads=threads,
            segment_images=min(n_images, segment_images(spec.n_patches, spec.dim) + batch),
            largest_pixels=largest_pixels,
        )

    ordinary = [spec.image_size**2] * threads  # no plan without room for images of the size that the network sees
    while batch > 1 and plan(batch, ordinary).total > memory_budget:
        batch //= 2
    plan(batch, ordinary).check(memory_budget)
    left = memory_budget - plan(batch).total
    return _Limits(threads, batch, min(MAX_PIXELS, left // (threads * DECODE_BYTES_PER_PIXEL)))


def _embed_batches(
    images: Sequence[_Copies], extractor: Extractor, spec: EmbeddingSpec, device: str, limits: _Limits
) -> Iterator[_Batch]:
    """Embed batches side by side, in order, a bounded number ahead.

    Every thread decodes, prepares and computes its own batch on one core. That overlaps reading with computing,
    and is faster than one computation on all cores beside threads that decode. OpenVINO computes on threads of its own.
    """
    batches = [images[start : start + limits.batch] for start in range(0, len(images), limits.batch)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    waiting: deque[Future[_Batch]] = deque()
    try:
        with ThreadPoolExecutor(limits.threads) as pool:
            try:
                for batch in batches:
                    waiting.append(pool.submit(_embed_batch, batch, extractor, spec, device, limits))
                    if len(waiting) > 2 * limits.threads:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()
    finally:
        torch.set_num_threads(threads)


def _embed_batch(
    images: Sequence[_Copies], extractor: Extractor, spec: EmbeddingSpec, device: str, limits: _Limits
) -> _Batch:
    hashes: list[str] = []
    unreadable: dict[str, str] = {}
    not_now: dict[str, str] = {}
    prepared = np.empty((len(images), 3, spec.image_size, spec.image_size), np.float32)
    for copies in images:
        sha256 = copies[0].sha256
        try:
            prepare_image(_read_any(copies, limits.max_pixels, spec.deep), spec, out=prepared[len(hashes)])
            hashes.append(sha256)
        except UnreadNowError as error:
            not_now[sha256] = str(error)
        except UnreadableImageError as error:
            unreadable[sha256] = str(error)
    if not hashes:
        return _Batch(hashes, [], unreadable, not_now)
    with _one_on_gpu if device.startswith("cuda") else nullcontext():
        bags = embed_images(
            extractor,
            prepared[: len(hashes)],
            device=device,
            unit_norm=spec.unit_norm and spec.deeper is None,
            precision=spec.precision,
        )
    levels = split_levels(bags, spec) if spec.deeper else [bags]
    return _Batch(hashes, [at_rest(level) for level in levels], unreadable, not_now)


def _read_any(copies: _Copies, max_pixels: int, deep: Sequence[DeepRange]) -> NDArray[np.uint8]:
    """Pixels of the first copy that can be read; where one was moved, another may still be there."""
    for image in copies[:-1]:
        try:
            return read_image(Path(image.file), sha256=image.sha256, max_pixels=max_pixels, deep=deep)
        except UnreadNowError:
            continue
    return read_image(Path(copies[-1].file), sha256=copies[-1].sha256, max_pixels=max_pixels, deep=deep)
