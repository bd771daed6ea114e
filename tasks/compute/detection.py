"""Images to anomaly maps of a detector, side by side, a bounded number ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.memory.images import detect_plan
from anoclust_core.memory.plan import DECODE_BYTES_PER_PIXEL, MemoryPlan
from anoclust_core.records import EmbeddingSpec
from anoclust_core.weighting.weights import map_scores
from tasks.compute.dask_jobs import CORES
from tasks.compute.embedding import Copies, Room, read_any
from tasks.images.anomaly_maps import seen_part
from tasks.images.decoding import UnreadableImageError, bytes_to_decode, pixels_within
from tasks.networks.detectors import DetectorNetwork
from tasks.stores.detected import DetectedMaps, segment_maps
from tasks.stores.layout import StoreLayout
from tasks.stores.stage_keys import detected_key

THREADS: Final = CORES
"""Pictures that are decoded and looked at side by side."""


@dataclass(frozen=True)
class DetectedImage:
    """What a detector made of one content: a map and the size of the picture, or why there is none this time."""

    content: str
    values: NDArray[np.float32] | None
    frame: tuple[int, int] = (0, 0)
    not_now: str = ""


def decoding_bytes(network: DetectorNetwork, *, n_images: int, memory_budget: int) -> int:
    """Plan the memory before any image is decoded; gives what is left for decoding.

    Raises
    ------
    ResourceError
        If there is too little for pictures of the size that the detector sees.
    """
    height, width = network.input_size
    detection_memory(network, n_images=n_images, decode_bytes=THREADS * height * width * DECODE_BYTES_PER_PIXEL).check(
        memory_budget
    )
    return memory_budget - detection_memory(network, n_images=n_images).total


def detection_memory(network: DetectorNetwork, *, n_images: int, decode_bytes: int = 0) -> MemoryPlan:
    """Predict the peak of making maps of so many images."""
    return detect_plan(
        map_values=network.map_shape[0] * network.map_shape[1],
        input_pixels=network.input_size[0] * network.input_size[1],
        weight_bytes=network.size.weight_bytes,
        activation_bytes=network.size.activation_bytes,
        threads=THREADS,
        segment_maps=min(n_images, segment_maps(network.map_shape)),
        decode_bytes=decode_bytes,
    )


def detected_scores(
    layout: StoreLayout, category: str, spec: EmbeddingSpec, contents: Sequence[str]
) -> NDArray[np.float64]:
    """Scores of every patch of some images from the maps of the spec's detector, ``(n_images, n_patches)``.

    Raises
    ------
    StoreError
        If a map is gone or damaged.
    """
    kept = DetectedMaps(layout.folder("detected", category, detected_key(spec)))
    maps = (seen_part(values, frame, spec) for values, frame in kept.read(contents))
    return np.concatenate([map_scores([values], spec.grid) for values in maps])


def detect_images(
    images: Sequence[Copies], network: DetectorNetwork, spec: EmbeddingSpec, *, decode_bytes: int
) -> Iterator[DetectedImage]:
    """Make the map of every image, in order; the memory for decoding is shared, as in embedding.

    The detector sees whole pictures, decoded as they are for the backbone. What of its map the patches stand for is
    decided later, as for any map.
    """
    room = Room(decode_bytes)

    def detected(copies: Copies) -> DetectedImage:
        content = copies[0].sha256
        try:
            with room.taken(max(bytes_to_decode(Path(image.file)) for image in copies)):
                pixels = read_any(copies, pixels_within(decode_bytes), spec.deep).pixels
                return DetectedImage(content, network(pixels), (pixels.shape[0], pixels.shape[1]))
        except UnreadableImageError as error:  # it was embedded before: another file has its place now
            return DetectedImage(content, None, not_now=str(error))

    waiting: deque[Future[DetectedImage]] = deque()
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            for copies in images:
                waiting.append(pool.submit(detected, copies))
                if len(waiting) > 2 * THREADS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
