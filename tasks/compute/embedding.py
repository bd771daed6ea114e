"""Images to bags of patch embeddings: which network computes them, what fits into memory, batches side by side."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Lock
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anoclust_core.config import EmbedConfig
from anoclust_core.embedding.backbones import NetworkSize, build_extractor, fold_batch_norms, network_size
from anoclust_core.embedding.deep_images import OUTSIDE_SHARE, DeepRange, Outside
from anoclust_core.embedding.extraction import embed_levels, has_native_bf16, prepare_image
from anoclust_core.embedding.openvino import ConversionError
from anoclust_core.embedding.resizing import square_of
from anoclust_core.embedding.tiles import stitched, tile_boxes
from anoclust_core.memory.images import embed_plan
from anoclust_core.memory.plan import DECODE_BYTES_PER_PIXEL, MemoryPlan
from anoclust_core.records import EmbeddingSpec, ImageRecord
from tasks.compute.dask_jobs import CORES
from tasks.images.decoding import (
    DecodedPicture,
    UnreadableImageError,
    UnreadNowError,
    bytes_to_decode,
    pixels_within,
    read_picture,
)
from tasks.networks.checkpoints import load_state_dict
from tasks.networks.openvino import converted, kept_network
from tasks.stores.embeddings import at_rest, segment_images

BATCH_IMAGES: Final = {"cpu": 4, "cuda": 64}
"""On a CPU a small batch fits the caches."""

THREADS_CONVERTED: Final = 2 * CORES
"""Threads that call a converted network, which computes on threads of its own, one a core: with no more callers than
cores, those wait for decoding, and a tenth of the time is lost."""

CONVERTED_FROM: Final = 256
"""New pictures, as the network sees them, from which it is converted for OpenVINO, which takes 5 s of one core; once it
is converted, any number is computed there. Fewer are done by torch before it would be."""

CONVERSION_BYTES: Final = 300 << 20
"""What converting takes beside copies of the weights, most of it the exporter's code."""

_one_on_gpu = Lock()
"""Many threads decode for a GPU; its memory is planned for one batch."""


@dataclass(frozen=True)
class Batch:
    """What became of a batch: bags of every level by content hash, and the reasons of images that have none.

    ``outside`` says of deep images how far their values lie outside of the range, where that is to be told.
    """

    hashes: list[str]
    bags: list[NDArray[np.float16]]
    unreadable: dict[str, str]
    not_now: dict[str, str]
    outside: dict[str, Outside]


Copies = tuple[ImageRecord, ...]
"""The files that hold one content."""


def with_copies(hashes: Sequence[str], images: Sequence[ImageRecord]) -> list[Copies]:
    """Files of each content, in the order of ``hashes``."""
    copies: dict[str, list[ImageRecord]] = {sha256: [] for sha256 in hashes}
    for image in images:
        if image.sha256 in copies:
            copies[image.sha256].append(image)
    return [tuple(same) for same in copies.values()]


Extractor = Callable[[Tensor], Tensor]
"""From images to features, in torch or in OpenVINO."""


@dataclass(frozen=True)
class Network:
    """What computes features, what it takes in memory, and what converting it took beside that.

    ``not_converted`` says why a network that should have been converted is not.
    """

    extractor: Extractor
    size: NetworkSize
    is_converted: bool = False
    conversion_bytes: int = 0
    not_converted: str = ""


def choose_network(
    asked: EmbedConfig, spec: EmbeddingSpec, file: Path, device: str, *, n_images: int, memory_budget: int
) -> Network:
    """The network in OpenVINO, as it is kept or converted now, or else in torch."""
    if may_convert(asked, device) and (kept := kept_network(file, spec)):
        return Network(kept.extractor, kept.size, is_converted=True)
    failed = ""
    built = build_extractor(spec, load_state_dict(asked.backbone, spec.timm_model, asked.checkpoint))
    conversion = CONVERSION_BYTES + 4 * sum(values.nbytes for values in built.parameters())
    n_pictures, has_memory = n_images * spec.n_tiles, memory_budget > 4 * conversion
    if may_convert(asked, device) and converts(asked, n_pictures=n_pictures, has_memory=has_memory):
        try:
            new = converted(file, built, spec)
        except ConversionError as error:
            failed = str(error)
        else:
            return Network(new.extractor, new.size, is_converted=True, conversion_bytes=conversion)
    folded = fold_batch_norms(built, spec.image_size)
    size = network_size(folded, spec.image_size)
    return Network(folded.to(device).to(memory_format=torch.channels_last), size, not_converted=failed)


def may_convert(asked: EmbedConfig, device: str) -> bool:
    """Whether OpenVINO may compute the network: on a CPU, and in bfloat16 only where that has it."""
    return device == "cpu" and asked.engine != "torch" and (asked.precision != "bf16" or has_native_bf16(device))


def converts(asked: EmbedConfig, *, n_pictures: int, has_memory: bool) -> bool:
    """Whether a network that OpenVINO may compute, and that is not kept yet, is converted: where that pays.

    In bfloat16 it is however few pictures there are: there, two engines agree to three digits and no more.
    """
    if asked.precision == "bf16" or asked.engine == "openvino":
        return True
    return has_memory and n_pictures >= CONVERTED_FROM


@dataclass(frozen=True)
class Limits:
    """What fits into memory: threads, pictures in a batch of each, and bytes that decoding may take in all of them."""

    threads: int
    batch: int
    decode_bytes: int

    def images(self, spec: EmbeddingSpec) -> int:
        """Images whose pictures make up a batch: at least one, whose tiles may be several batches."""
        return max(1, self.batch // spec.n_tiles)


def choose_limits(network: Network, spec: EmbeddingSpec, device: str, *, n_images: int, memory_budget: int) -> Limits:
    """Plan the memory before any image is decoded: the largest batch that fits, and what is left for decoding.

    A batch are pictures as the network sees them: of a frame in tiles, as many of its tiles at a time.

    An image that is too large for what is left waits for a run with more memory; the others do not wait for it.
    """
    memory_budget -= network.conversion_bytes
    batch = BATCH_IMAGES[device.partition(":")[0]]
    threads = THREADS_CONVERTED if network.is_converted else CORES
    if device.startswith("cuda"):
        free, _ = torch.cuda.mem_get_info(torch.device(device))
        batch = max(1, min(batch, free // (2 * network.size.activation_bytes)))

    def plan(batch: int, largest_pixels: Sequence[int] = ()) -> MemoryPlan:
        limits = Limits(threads, batch, memory_budget)
        return embedding_memory(network, spec, device, limits, n_images=n_images, largest_pixels=largest_pixels)

    ordinary = [spec.image_size**2] * threads  # no plan without room for images of the size that the network sees
    while batch > 1 and plan(batch, ordinary).total > memory_budget:
        batch //= 2
    plan(batch, ordinary).check(memory_budget)
    left = memory_budget - plan(batch).total
    return Limits(threads, batch, left)


def embedding_memory(
    network: Network,
    spec: EmbeddingSpec,
    device: str,
    limits: Limits,
    *,
    n_images: int,
    largest_pixels: Sequence[int] = (),
) -> MemoryPlan:
    """Predict the peak of embedding so many images, of which the largest have ``largest_pixels``, one a thread."""
    size = network.size
    return embed_plan(
        n_values=sum(level.n_patches * level.dim for level in spec.levels),
        image_size=spec.image_size,
        weight_bytes=size.weight_bytes,
        activation_bytes=0 if device.startswith("cuda") else size.activation_bytes,
        batch=limits.batch,
        images_at_once=CORES if network.is_converted else limits.threads * limits.batch,
        threads=limits.threads,
        segment_images=min(n_images, segment_images(spec.n_patches, spec.dim) + limits.images(spec)),
        decode_bytes=min(DECODE_BYTES_PER_PIXEL * sum(largest_pixels), limits.decode_bytes),
        n_tiles=spec.n_tiles,
    )


class Room:
    """Bytes that pictures share which are decoded side by side; one for which too few are left waits for the others."""

    def __init__(self, size: int) -> None:
        self._size = self._free = size
        self._changed = Condition()

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Hold so many bytes, or all where that is fewer: decoding refuses a picture that is too large for all."""
        size = min(size, self._size)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= size)
            self._free -= size
        try:
            yield
        finally:
            with self._changed:
                self._free += size
                self._changed.notify_all()


def embed_batches(
    images: Sequence[Copies], extractor: Extractor, spec: EmbeddingSpec, device: str, limits: Limits
) -> Iterator[Batch]:
    """Embed batches side by side, in order, a bounded number ahead.

    Every thread decodes, prepares and computes its own batch on one core. That overlaps reading with computing,
    and is faster than one computation on all cores beside threads that decode. OpenVINO computes on threads of its own.
    The memory for decoding is shared: frames too large to be decoded side by side are decoded one after the other.
    """
    room = Room(limits.decode_bytes)
    step = limits.images(spec)
    batches = [images[start : start + step] for start in range(0, len(images), step)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    waiting: deque[Future[Batch]] = deque()
    try:
        with ThreadPoolExecutor(limits.threads) as pool:
            try:
                for batch in batches:
                    waiting.append(pool.submit(_embed_batch, batch, extractor, spec, device, limits, room))
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
    images: Sequence[Copies], extractor: Extractor, spec: EmbeddingSpec, device: str, limits: Limits, room: Room
) -> Batch:
    hashes: list[str] = []
    unreadable: dict[str, str] = {}
    not_now: dict[str, str] = {}
    outside: dict[str, Outside] = {}
    bags: list[list[NDArray[np.float16]]] = []
    one = spec.untiled
    prepared = np.empty((min(limits.batch, len(images) * spec.n_tiles), 3, one.image_size, one.image_size), np.float32)
    n_prepared = 0

    def compute() -> None:
        """Give the network the pictures that are prepared."""
        nonlocal n_prepared
        if n_prepared:
            bags.append(_embed_prepared(extractor, prepared[:n_prepared], one, device))
        n_prepared = 0

    def prepare(copies: Copies) -> Outside | None:
        """Make the network's pictures of an image, whose pixels are let go of; gives what is to be told of it."""
        nonlocal n_prepared
        picture = read_any(copies, pixels_within(limits.decode_bytes), spec.deep)
        pixels = picture.pixels
        for box in tile_boxes((pixels.shape[0], pixels.shape[1]), spec):
            if n_prepared == len(prepared):
                compute()
            part = square_of(pixels, box, side=one.image_size, interpolation=one.interpolation)
            prepare_image(part, one, out=prepared[n_prepared])
            n_prepared += 1
        return picture.outside

    for copies in images:
        sha256 = copies[0].sha256
        try:
            with room.taken(max(bytes_to_decode(Path(image.file)) for image in copies)):
                found = prepare(copies)
        except UnreadNowError as error:
            not_now[sha256] = str(error)
            continue
        except UnreadableImageError as error:
            unreadable[sha256] = str(error)
            continue
        if found is not None and found.share > OUTSIDE_SHARE:
            outside[sha256] = found
        hashes.append(sha256)
    compute()
    if not hashes:
        return Batch(hashes, [], unreadable, not_now, outside)
    pictures = [np.concatenate(of_level) for of_level in zip(*bags, strict=True)]
    if spec.tiles:
        pictures = [_frames(tiles, level) for tiles, level in zip(pictures, spec.levels, strict=True)]
    return Batch(hashes, pictures, unreadable, not_now, outside)


def _embed_prepared(
    extractor: Extractor, prepared: NDArray[np.float32], one: EmbeddingSpec, device: str
) -> list[NDArray[np.float16]]:
    """Bags of every level of pictures as the network sees them; ``one`` is the spec of such a picture."""
    with _one_on_gpu if device.startswith("cuda") else nullcontext():
        return [at_rest(level) for level in embed_levels(extractor, prepared, one, device=device)]


def _frames(tiles: NDArray[np.float16], level: EmbeddingSpec) -> NDArray[np.float16]:
    """Bags of frames from those of their tiles, frame by frame."""
    return np.stack([stitched(of_frame, level) for of_frame in tiles.reshape(-1, level.n_tiles, *tiles.shape[1:])])


def read_any(copies: Copies, max_pixels: int, deep: Sequence[DeepRange]) -> DecodedPicture:
    """The first copy that can be read; where one was moved, another may still be there."""
    for image in copies[:-1]:
        try:
            return read_picture(Path(image.file), sha256=image.sha256, max_pixels=max_pixels, deep=deep)
        except UnreadNowError:
            continue
    return read_picture(Path(copies[-1].file), sha256=copies[-1].sha256, max_pixels=max_pixels, deep=deep)
