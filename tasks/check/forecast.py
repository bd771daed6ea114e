"""What a run would take on this machine: seconds, from trials and models, and memory, as its stages predict it.

Everything is of a run in a new store. The constants are seconds on the machine that `REFERENCE` describes; a short
trial says how much slower or faster this machine is now, with all that else runs on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from threadpoolctl import threadpool_limits

from anoclust_core.config import RunConfig
from anoclust_core.embedding.extraction import choose_device
from anoclust_core.memory.plan import MemoryPlan
from anoclust_core.records import EmbeddingSpec, ImageRecord
from tasks.compute.dask_jobs import CORES
from tasks.compute.detection import THREADS, decoding_bytes, detect_images, detection_memory
from tasks.compute.embedding import (
    Limits,
    Network,
    choose_limits,
    choose_network,
    embed_batches,
    embedding_memory,
    with_copies,
)
from tasks.networks.detectors import DetectorNetwork
from tasks.stages.group import grouping_memory
from tasks.stages.pair import plan_blocks
from tasks.stages.report import reporting_memory
from tasks.stages.shown_images import DRAWN_PER_CLUSTER
from tasks.stages.weigh import weighing_memory
from tasks.stages.whiten import whitening_memory

REFERENCE: Final = "two cores of a Xeon with AVX-512, one thread of BLAS each"
"""Where the constants were measured: runs over the demo, Magnetic Tile with and without normals, and the coffee leaves,
each with `measure_speed` beside it; the seconds of each stage in ``summary.json``, divided by the slowness."""

START_SECONDS: Final = 13.0
"""Imports, Prefect's own server, its end."""

COMPILE_SECONDS: Final = 5.0
"""The kernel of image pairs, once per run."""

CATEGORY_SECONDS: Final = 1.2
"""Orchestrating the stages of a category, and its report however small."""

IMAGE_SECONDS: Final = 0.0045
"""Weighing, describing and reporting an image."""

SQUARE_SECONDS: Final = 1.1e-5
"""Random parts and smoothing, for each pair among at most `SQUARE_IMAGES`."""

SQUARE_IMAGES: Final = 1000

TREE_SECONDS: Final = 1e-7
"""The tree of merges, for each pair of images."""

PAIR_SHARE: Final = 0.85
"""Speed of comparing patches as a part of that of the trial's matrix products."""

ALIGNED_SHARE: Final = 0.1
"""The same where patches are compared near their own place only: small products, whose least values take as long."""

COVER_PRODUCTS: Final = 10
"""Choosing the patches of an image that others are compared with takes as long as comparing it with so many others."""

REFERENCE_LOOP_SECONDS: Final = 0.36
"""Processor seconds of the trial's loop there."""

TRIAL_IMAGES: Final = (8, 32)
"""Images that the network is timed on: first a few, which also warm it up; more where those took less than
`TRIAL_SECONDS`."""

TRIAL_SECONDS: Final = 2.0

EXPECTED_CLUSTERS: Final = 10
"""Clusters that the memory of a report is planned for, where the number is not known."""

_LOOP: Final = 4_000_000
_PRODUCTS: Final = 1500
_SIDE, _DIM = 256, 128
"""Of the trial's products: as those of the kernel for pairs are."""


@dataclass(frozen=True)
class Speed:
    """How fast this machine is now: ``slowness`` against `REFERENCE` on one core, flop a second on all cores."""

    slowness: float
    flops: float


def measure_speed() -> Speed:
    """Time a loop in Python on one core, and matrix products on all; takes a second or two."""
    start = time.perf_counter()
    total = 0
    for number in range(_LOOP):
        total += number * number % 7
    loop = time.perf_counter() - start

    def products(_: int) -> None:
        left, right = np.ones((_SIDE, _DIM), np.float32), np.ones((_DIM, _SIDE), np.float32)
        out = np.empty((_SIDE, _SIDE), np.float32)
        for _ in range(_PRODUCTS):
            np.matmul(left, right, out=out)

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(CORES) as pool:
        start = time.perf_counter()
        list(pool.map(products, range(CORES)))
        seconds = time.perf_counter() - start
    return Speed(loop / REFERENCE_LOOP_SECONDS, CORES * _PRODUCTS * 2 * _SIDE**2 * _DIM / seconds)


@dataclass(frozen=True)
class Trial:
    """Embedding as it was tried.

    Attributes
    ----------
    device
        Where the network runs.
    network, limits
        As a run would choose them.
    setup_seconds
        Loading the network, and converting it where a run would.
    image_seconds
        Of one image, with all cores at work.
    """

    device: str
    network: Network
    limits: Limits
    setup_seconds: float
    image_seconds: float


def try_embedding(
    images: Sequence[ImageRecord],
    config: RunConfig,
    spec: EmbeddingSpec,
    *,
    file: Path,
    n_images: int,
    memory_budget: int,
    progress: Callable[[int, int], None],
) -> Trial:
    """Embed a few images as a run over ``n_images`` would, and time it; nothing is kept but the network in ``file``.

    Raises
    ------
    AnoclustError
        As the run would: if there are no weights, or too little memory.
    """
    device = choose_device(config.embed.device)
    start = time.perf_counter()
    network = choose_network(config.embed, spec, file, device, n_images=n_images, memory_budget=memory_budget)
    limits = choose_limits(network, spec, device, n_images=n_images, memory_budget=memory_budget)
    setup = time.perf_counter() - start
    contents = with_copies(list(dict.fromkeys(image.sha256 for image in images)), images)
    few, many = TRIAL_IMAGES
    taken, total, each = 0, min(many, len(contents)), 0.0
    for tried in (contents[:few], contents[few:many]):
        if not tried or each * few > TRIAL_SECONDS:
            break
        start = time.perf_counter()
        for batch in embed_batches(tried, network.extractor, spec, device, limits):
            taken += len(batch.hashes) + len(batch.unreadable) + len(batch.not_now)
            progress(taken, total)
        each = (time.perf_counter() - start) / len(tried)
    progress(total, total)
    return Trial(device, network, limits, setup, each)


@dataclass(frozen=True)
class DetectorTrial:
    """A detector as it was tried: seconds of loading it and of one image, with all cores at work, and its memory."""

    setup_seconds: float
    image_seconds: float
    memory: MemoryPlan


def try_detector(
    images: Sequence[ImageRecord], spec: EmbeddingSpec, *, n_images: int, memory_budget: int
) -> DetectorTrial | None:
    """Make the maps of a few images as a run over ``n_images`` would; None where there is no detector.

    Raises
    ------
    AnoclustError
        As the run would: if the model is of no use, or there is too little memory.
    """
    if spec.detector is None:
        return None
    start = time.perf_counter()
    network = DetectorNetwork(spec.detector, threads=THREADS)
    left = decoding_bytes(network, n_images=n_images, memory_budget=memory_budget)
    setup = time.perf_counter() - start
    tried = with_copies(list(dict.fromkeys(image.sha256 for image in images)), images)[: TRIAL_IMAGES[0]]
    start = time.perf_counter()
    n_done = sum(1 for _ in detect_images(tried, network, spec, decode_bytes=left))
    each = (time.perf_counter() - start) / max(1, n_done)
    return DetectorTrial(setup, each, detection_memory(network, n_images=n_images))


@dataclass(frozen=True)
class Work:
    """What a run over one category has to do.

    Attributes
    ----------
    n_files
        Files that are read.
    n_embedded
        Distinct images that are embedded, normals included.
    n_images, n_contents
        Clustered images, and distinct ones among them.
    n_reference
        Distinct images that these are measured against; 0 where they are not.
    n_pairs
        Image pairs that are compared, both ways unless there are normals.
    has_normals
        Whether they are measured against known normals.
    n_clusters
        Number of clusters, or None where it will be suggested.
    n_sampled
        Images that are decoded before any is embedded, to tell whether the camera is fixed.
    """

    n_files: int
    n_embedded: int
    n_images: int
    n_contents: int
    n_reference: int
    n_pairs: int
    has_normals: bool
    n_clusters: int | None
    n_sampled: int = 0

    @property
    def n_drawn(self) -> int:
        """Images whose pictures the report shows."""
        return min(self.n_images, (self.n_clusters or EXPECTED_CLUSTERS) * DRAWN_PER_CLUSTER)


def forecast_seconds(
    work: Work, spec: EmbeddingSpec, trial: Trial, speed: Speed, *, read_seconds: float, look_seconds: float
) -> dict[str, float]:
    """Seconds of the stages of one category, by what takes them.

    Parameters
    ----------
    work, spec, trial, speed
        What is to be done, and how fast that is.
    read_seconds, look_seconds
        Of hashing one file, and of decoding one picture and making it small: large frames take long for the report too.
    """
    squares = min(work.n_images, SQUARE_IMAGES) ** 2
    share = ALIGNED_SHARE if spec.window else PAIR_SHARE
    products = work.n_pairs
    if spec.cover:  # one product gives one way
        products = products * (1 if work.has_normals else 2) + COVER_PRODUCTS * work.n_reference
    rest = CATEGORY_SECONDS + IMAGE_SECONDS * work.n_images + SQUARE_SECONDS * squares
    rest += TREE_SECONDS * work.n_images**2
    return {
        "reading files": work.n_files * read_seconds + min(work.n_sampled, work.n_embedded) * look_seconds,
        "embedding": trial.setup_seconds + work.n_embedded * trial.image_seconds,
        "comparing images": products * 2 * spec.n_compared * spec.dim / (share * speed.flops),
        "describing, clustering, reporting": speed.slowness * rest + work.n_drawn * look_seconds,
    }


def fixed_seconds(speed: Speed, *, compiles: bool) -> dict[str, float]:
    """Seconds of a run that no image takes; the kernel of pairs is compiled where whole images are compared."""
    found = {"starting and ending": speed.slowness * START_SECONDS}
    return found | ({"compiling": speed.slowness * COMPILE_SECONDS} if compiles else {})


def forecast_memory(
    work: Work,
    config: RunConfig,
    spec: EmbeddingSpec,
    trial: Trial,
    *,
    memory_budget: int,
    largest_pixels: Sequence[int],
) -> Mapping[str, int]:
    """Bytes of every stage above what the process has before, as the stage itself predicts them.

    Raises
    ------
    ResourceError
        If one needs more than the budget, as in the run.
    """
    sizes = (work.n_contents, work.n_reference)
    dim = 3 * sum(level.dim for level in spec.levels) if config.recipe == "auto" else spec.dim
    embedding = embedding_memory(
        trial.network,
        spec,
        trial.device,
        trial.limits,
        n_images=work.n_embedded,
        largest_pixels=largest_pixels[: trial.limits.threads],
    )
    plans: list[MemoryPlan] = []
    if work.n_pairs:
        _, plan = plan_blocks(
            spec,
            sizes,
            n_missing=work.n_pairs,
            n_workers=CORES,
            is_here=config.pair.dask is None,
            memory_budget=memory_budget,
        )
        plans.append(plan)
    if config.recipe == "auto":
        plans.append(
            whitening_memory(
                spec, n_contents=work.n_contents, n_reference=work.n_reference, has_normals=work.has_normals
            )
        )
    else:
        plans.append(
            weighing_memory(spec, n_images=work.n_images, n_contents=work.n_contents, n_reference=work.n_reference)
        )
    plans.append(grouping_memory(config.group, n_images=work.n_images, dim=dim, n_patches=spec.n_patches))
    n_clusters = work.n_clusters or EXPECTED_CLUSTERS
    plans.append(reporting_memory(spec, n_images=work.n_images, dim=dim, n_clusters=n_clusters))
    for plan in plans:
        plan.check(memory_budget)
    return {plan.stage: plan.total for plan in (embedding, *plans)}
