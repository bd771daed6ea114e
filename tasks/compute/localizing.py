"""Recipe blind over the images of a store: each by itself, on all cores, while the next ones are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from anoclust_core.records import EmbeddingSpec
from tasks.compute.dask_jobs import CORES
from tasks.stores.embeddings import EmbeddingSegments

IMAGES_AT_ONCE: Final = 16
"""Images that are read together: a chunk of a segment."""

Features = NDArray[np.floating[Any]]
Result = TypeVar("Result")


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Let torch and BLAS use so many threads wherever the stage runs: sums depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        with threadpool_limits(number):
            yield
    finally:
        torch.set_num_threads(before)


def each_image(
    embeddings: Path,
    hashes: Sequence[str],
    spec: EmbeddingSpec,
    work: Callable[[int, Features], Result],
    *,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[int, Result]]:
    """Work on the feature maps of some images, each by one thread: no result depends on the number of cores.

    Parameters
    ----------
    embeddings
        Folder of their segments.
    hashes
        Their contents.
    spec
        Its grid and feature length.
    work
        Is given the place of an image in ``hashes`` and its features, ``(dim, height, width)``, float32; they lie cell
        by cell in memory.
    device
        Torch device that the work uses: one image at a time goes to a GPU.
    progress
        Is given how many images are done, and of how many.

    Yields
    ------
    place, result
        In the order in which the images are stored, so that no chunk is read twice.

    Raises
    ------
    StoreError
        If the features of an image are missing or damaged.
    """
    threads = CORES if device == "cpu" else 1
    done = 0
    with torch_threads(1), ThreadPoolExecutor(threads) as pool:
        for places, features in _read_ahead(EmbeddingSegments(embeddings), hashes, spec):
            yield from zip(places, pool.map(work, places, features), strict=True)
            done += len(places)
            if progress is not None:
                progress(done, len(hashes))


def _read_ahead(
    segments: EmbeddingSegments, hashes: Sequence[str], spec: EmbeddingSpec
) -> Iterator[tuple[list[int], Features]]:
    """Places of a few images and their features, ``(n, dim, height, width)``; the next ones are being read."""
    order = segments.stored_order(hashes)
    parts = [order[start : start + IMAGES_AT_ONCE] for start in range(0, len(order), IMAGES_AT_ONCE)]

    def read(places: list[int]) -> Features:
        bags = segments.read([hashes[place] for place in places])
        return bags.reshape(len(places), *spec.grid, spec.dim).transpose(0, 3, 1, 2)

    with ThreadPoolExecutor(1) as reader:
        coming = [reader.submit(read, places) for places in parts[:1]]
        for at, places in enumerate(parts):
            features = coming.pop().result()
            coming += [reader.submit(read, following) for following in parts[at + 1 : at + 2]]
            yield places, features
