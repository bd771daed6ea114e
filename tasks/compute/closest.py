"""The nearest images of each image, for near-duplicates: from the distances of all pairs where the store has them.

Where rarity is measured against normals or a random part of the images, or a night has new ones, most pairs of images
have no distances. There each image is compared with those whose mean patches are most like its own: 16 products an
image, which nothing keeps.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.pairwise.near_duplicates import NEIGHBOURS, Closest, closest_images
from anoclust_core.records import EmbeddingSpec, Reference
from anoclust_core.weighting.regions import Regions
from tasks.compute import pair_device
from tasks.compute.dask_jobs import run_jobs
from tasks.stores.embeddings import EmbeddingSegments
from tasks.stores.nearest import NearestSlabs

MOST_BYTES: Final = 1 << 30
"""Bags at rest that are held to compare some of their pairs: of 17,000 images of 256 patches."""

_ROWS_AT_ONCE: Final = 64


def closest_stored(slabs: NearestSlabs, contents: Sequence[str]) -> Closest:
    """Nearest images of each content by the distances of all pairs, which the store has.

    Raises
    ------
    StoreError
        If a pair is missing or a slab is damaged.
    """
    means = np.empty((len(contents), len(contents)), np.float32)
    largest = np.empty_like(means)
    for start, distances in slabs.read(contents, contents):
        for at, row in enumerate(distances, start=start):  # one image at a time: half precision is slow to add up
            values = row.astype(np.float32)
            means[at], largest[at] = values.mean(axis=1), values.max(axis=1)
    return closest_images(means, largest)


def can_be_compared(spec: EmbeddingSpec, n_contents: int) -> bool:
    """Whether the bags of so many images can be held, and compared whole."""
    return spec.cover is None and 2 * n_contents * spec.n_patches * spec.dim <= MOST_BYTES


def has_all_pairs(reference: Reference) -> bool:
    """Whether rarity against a reference needs the distances of all pairs of clustered images."""
    return reference.role == "cluster" and reference.size is None


def closest_compared(
    segments: EmbeddingSegments,
    contents: Sequence[str],
    wanted: Sequence[int],
    spec: EmbeddingSpec,
    *,
    regions: Regions | None,
    device: str,
) -> Closest:
    """Compare some images with those whose mean patches are most like theirs.

    Parameters
    ----------
    segments
        Bags of the first level.
    contents
        Content hashes that are compared with, at least two.
    wanted
        Rows of those whose nearest images are asked for.
    spec
        Of the bags, for which `can_be_compared`.
    regions
        Which patches count, as where pairs are compared for the store; None where all do.
    device
        As `pair_device.choose_worker_device` takes it.

    Returns
    -------
    closest
        A row for each of ``wanted``; its images are rows of ``contents``.
    """
    bags = segments.read_at_rest(contents)
    if regions is not None:
        for start in range(0, len(bags), _ROWS_AT_ONCE):  # in place: there may be room for one copy of the bags alone
            rows = slice(start, start + _ROWS_AT_ONCE)
            bags[rows] = regions.filled(bags[rows], contents[rows])
    likely = _likely(bags, wanted)
    partners: dict[int, set[int]] = defaultdict(set)
    for row, others in zip(wanted, likely.tolist(), strict=True):
        for other in others:
            partners[min(row, other)].add(max(row, other))
    found: dict[tuple[int, int], tuple[float, float]] = {}
    where = pair_device.choose_worker_device(device)

    def compare(row: int) -> int:
        others = sorted(partners[row])
        there, back = pair_device.mutual_nearest_distances(
            bags[[row]].astype(np.float32), bags[others].astype(np.float32), device=where, window=spec.window
        )
        for other, one, two in zip(others, there[0], back[:, 0], strict=True):
            found[row, other] = max(one.mean(), two.mean()), max(one.max(), two.max())
        return len(others)

    run_jobs(compare, sorted(partners), address=None, on_done=lambda *_: None)
    pairs = [[found[min(row, other), max(row, other)] for other in others] for row, others in _rows(wanted, likely)]
    distances = np.array(pairs, np.float32).reshape(*likely.shape, 2)
    order = np.argsort(distances[..., 0], axis=1, kind="stable")
    means, largest = (np.take_along_axis(distances[..., at], order, axis=1) for at in (0, 1))
    return Closest(np.take_along_axis(likely, order, axis=1), means, largest)


def _rows(wanted: Sequence[int], likely: NDArray[np.int64]) -> list[tuple[int, list[int]]]:
    return list(zip(wanted, likely.tolist(), strict=True))


def _likely(bags: NDArray[np.float16], wanted: Sequence[int]) -> NDArray[np.int64]:
    """Rows of the bags whose mean patches are nearest to those of the wanted ones, without themselves."""
    means = np.stack([bag.mean(axis=0, dtype=np.float32) for bag in bags])
    squares = np.einsum("nd,nd->n", means, means)
    rows = np.asarray(wanted, np.int64)
    k = min(NEIGHBOURS, len(means) - 1)
    found = np.empty((len(rows), k), np.int64)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        own = rows[start : start + _ROWS_AT_ONCE]
        distances = squares - 2 * (means[own] @ means.T)
        distances[np.arange(len(own)), own] = np.inf
        found[start : start + len(own)] = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return found
