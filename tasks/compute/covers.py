"""Covers of images: the patches that others are compared with, computed on a worker and written as segments."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from anoclust_core.bags import normalize_patches
from anoclust_core.records import Cover
from anoclust_core.seeding import generator
from anoclust_core.weighting.covers import greedy_cover
from anoclust_core.weighting.regions import Regions
from tasks.stores.embeddings import CHUNK_IMAGES, EmbeddingSegments, segment_images

MOST_IN_SEGMENT: Final = 64
"""Images of a segment of covers at most: what a worker does before it takes the next ones."""


@dataclass(frozen=True)
class CoverJob:
    """Images to choose patches of: folder of their segments, folder for those of the covers, content hashes.

    With ``regions``, patches are chosen that count.
    """

    embeddings: Path
    covers: Path
    hashes: tuple[str, ...]
    cover: Cover
    regions: Regions | None = None


def missing_covers(
    embeddings: Path, covers: Path, hashes: list[str], cover: Cover, *, n_workers: int, regions: Regions | None = None
) -> list[CoverJob]:
    """Jobs for the images that have no cover yet."""
    known = EmbeddingSegments(covers).index()
    missing = [sha256 for sha256 in hashes if sha256 not in known]
    size = min(MOST_IN_SEGMENT, max(1, -(-len(missing) // n_workers)))
    parts = (tuple(missing[start : start + size]) for start in range(0, len(missing), size))
    return [CoverJob(embeddings, covers, part, cover, regions.of(part) if regions else None) for part in parts]


def images_at_once(n_patches: int, dim: int) -> int:
    """Images that are read at a time: about those that the store keeps in one piece."""
    return min(CHUNK_IMAGES, segment_images(n_patches, dim))


def compute_covers(job: CoverJob) -> int:
    """Choose the patches of some images, and write them; runs on a worker.

    The patches are copied as they lie in the store, so that each is the same in the cover as in the image.

    Returns
    -------
    n_images
        Images that have a cover now.
    """
    segments = EmbeddingSegments(job.embeddings)
    first = segments.read_at_rest(job.hashes[:1])
    at_once = images_at_once(*first.shape[1:])
    chosen = np.empty((len(job.hashes), job.cover.size, first.shape[2]), first.dtype)
    radii = []
    for start in range(0, len(job.hashes), at_once):
        part = job.hashes[start : start + at_once]
        bags = segments.read_at_rest(part)
        if job.regions is not None:
            bags = job.regions.filled(bags, part)
        for at, (sha256, bag) in enumerate(zip(part, bags, strict=True), start=start):
            rng = generator(job.cover.seed, f"cover of {sha256}")
            places, radius = greedy_cover(normalize_patches(bag), job.cover.size, rng=rng)
            chosen[at] = bag[places]
            radii.append(radius)
    EmbeddingSegments(job.covers).append(job.hashes, chosen, radii=radii)
    return len(job.hashes)
