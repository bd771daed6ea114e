"""What clustering takes: whitening, the tree, the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from anoclust_core.memory.plan import DECODE_BYTES_PER_PIXEL, FIXED, MIB, READ_BYTES, SMALLER, WARD_VALUES, MemoryPlan

_FIGURES: Final = 96 * MIB
"""Matplotlib with its fonts, and a picture sheet."""


def whiten_plan(
    *, n_contents: int, n_reference: int, n_patches: int, n_scores: int, dims: Sequence[int], n_pooled: int
) -> MemoryPlan:
    """Predict the peak of weighing and describing by recipe auto: distances are read first, and let go of.

    Parameters
    ----------
    n_contents, n_reference
        Distinct clustered images, and distinct ones that distances are measured to.
    n_patches, n_scores, dims
        Of the bags: the first level's patches, scores of a patch, and the length of a patch on each level.
    n_pooled
        Values of the bags that are pooled at a time, on the level where these are most.
    """
    read = min(max(READ_BYTES, n_reference * n_patches * 2), n_contents * n_reference * n_patches * 2)
    slab = min(256, n_contents) * min(256, n_reference) * n_patches * 2
    total = 3 * sum(dims)
    drawn = min(n_contents, 1000)
    fixed = {"whitenings": 64 * sum(dim * dim for dim in dims), "the rest": FIXED}
    reading = {
        "nearest distances": 2 * read + 4 * slab + 24 * n_reference * n_patches,
        "scores": 16 * n_scores * n_contents * n_patches,
        **fixed,
    }
    describing = {
        "scores and weights": (24 * n_scores + 48) * n_contents * n_patches,
        "embeddings being pooled": 26 * n_pooled,
        "descriptors": 26 * n_contents * total,
        "random parts of the images": 40 * drawn * drawn + 40 * drawn * total,
        **fixed,
    }
    parts = max(reading, describing, key=lambda one: sum(one.values()))
    return MemoryPlan(stage="whiten", parts=parts, knob=f"{SMALLER} or --reference")


def group_plan(*, n_images: int, dim: int, n_patches: int, has_matrix: bool, has_distances: bool) -> MemoryPlan:
    """Predict the peak of clustering: linear in the images for Ward and single linkage over descriptors.

    Parameters
    ----------
    n_images, dim
        Number and length of the descriptors.
    n_patches
        Patches a bag.
    has_matrix
        Whether the linkage needs the distances of all pairs: complete and average linkage.
    has_distances
        Whether distances between images, read from what the pairwise stage stored, are clustered.
    """
    read = min(max(READ_BYTES, 2 * n_images * n_patches), 2 * n_images**2 * n_patches)
    return MemoryPlan(
        stage="group",
        parts={
            "descriptors": 40 * n_images * dim,
            "the tree": 400 * n_images,
            "distances of some to all": 16 * min(WARD_VALUES, n_images**2),
            "distances between images": (48 if has_distances else 8 if has_matrix else 0) * n_images**2,
            "nearest distances": 3 * read if has_distances else 0,
            "the rest": FIXED,
        },
        knob="cluster fewer images at once",
    )


def report_plan(
    *, n_images: int, n_patches: int, dim: int, n_drawn: int, thumbnail_bytes: int, largest_pixels: int
) -> MemoryPlan:
    """Predict the peak of the report.

    Parameters
    ----------
    n_images, n_patches, dim
        Of the run.
    n_drawn
        Images drawn at most.
    thumbnail_bytes
        Of one drawn picture, in the page, its zoom included.
    largest_pixels
        Pixels of the largest image.
    """
    return MemoryPlan(
        stage="report",
        parts={
            "rarity and descriptors": n_images * (5 * n_patches + 40 * dim),
            "the rows of the tables": 8_000 * n_images,
            "pictures": n_drawn * 3 * thumbnail_bytes,
            "decoding the largest image": DECODE_BYTES_PER_PIXEL * largest_pixels,
            "figures": _FIGURES,
            "the rest": FIXED,
        },
        knob="cluster fewer images at once",
    )
