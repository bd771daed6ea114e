"""What comparing patches takes: pairs, covers, rarity, near-duplicates."""

from __future__ import annotations

from typing import Final

from anoclust_core.memory.plan import CACHED_BYTES, FIXED, MIB, READ_BYTES, SMALLER, MemoryPlan

_COMPILING: Final = 128 * MIB
"""Numba and the kernel of image pairs that it compiles, where no kept one can be loaded."""


def pair_plan(
    *,
    block_bytes: int,
    side: int,
    n_patches: int,
    dim: int,
    threads: int,
    n_images: int,
    n_pairs: int,
    is_aligned: bool = False,
) -> MemoryPlan:
    """Predict the peak of the pairwise stage in this process.

    Parameters
    ----------
    block_bytes
        Of one block task, see `anoclust_core.pairwise.tiling.block_bytes`.
    side
        Images per side of a block.
    n_patches, dim
        Of the bags.
    threads
        Blocks side by side in this process; 0 where other machines compute them.
    n_images
        Distinct images on both sides.
    n_pairs
        Pairs of the run, computed or not.
    is_aligned
        Whether patches are compared within a window: nothing is compiled for that, and nothing copied.
    """
    group = side * n_patches * dim * 4
    n_blocks = -(-n_pairs // side**2) + 1
    # as they are read; aligned ones are compared as they lie, without copies
    groups = 2 * group if is_aligned else 6 * group
    return MemoryPlan(
        stage="pair",
        parts={
            "blocks of image pairs": threads * (block_bytes + groups),
            "embeddings kept in memory": min(CACHED_BYTES + group, n_images * n_patches * dim * 4) if threads else 0,
            "the list of pairs": 6 * n_pairs + 24_000 * n_blocks,
            "compiling": _COMPILING if threads and not is_aligned else 0,
            "the rest": FIXED,
        },
        knob=f"{SMALLER}, choose a deeper layer with --layers or a smaller --reference",
    )


def cover_plan(
    *, block_bytes: int, n_patches: int, dim: int, size: int, images_at_once: int, images_kept: int, threads: int
) -> MemoryPlan:
    """Predict the peak of choosing the patches of images that others are compared with.

    Parameters
    ----------
    block_bytes
        Of comparing one image with its own chosen patches, see `anoclust_core.pairwise.tiling.block_bytes`.
    n_patches, dim, size
        Of the bags, and patches that are chosen.
    images_at_once, images_kept
        Images that a thread reads at a time, and whose patches it holds until they are written.
    threads
        Images side by side in this process; 0 where other machines choose.
    """
    one = n_patches * dim
    return MemoryPlan(
        stage="pair",
        parts={
            "images whose patches are chosen": threads * (4 * images_at_once * one + 20 * one + block_bytes),
            "chosen patches": threads * 6 * images_kept * size * dim,
            "compiling": _COMPILING if threads else 0,
            "the rest": FIXED,
        },
        knob=f"{SMALLER}, choose a deeper layer with --layers or a smaller --reference-patches",
    )


def weigh_plan(*, n_images: int, n_contents: int, n_reference: int, n_patches: int, dim: int, bags: int) -> MemoryPlan:
    """Predict the peak of weighing.

    Parameters
    ----------
    n_images, n_contents
        Clustered images, and distinct ones among them.
    n_reference
        Distinct images that distances are measured to.
    n_patches, dim
        Of the bags.
    bags
        Bags pooled at a time.
    """
    read = min(max(READ_BYTES, n_reference * n_patches * 2), n_contents * n_reference * n_patches * 2)
    slab = min(256, n_contents) * min(256, n_reference) * n_patches * 2
    return MemoryPlan(
        stage="weigh",
        parts={
            "nearest distances": 2 * read + 4 * slab + 8 * n_reference * n_patches,
            "rarity and weights": 72 * n_images * n_patches,
            "embeddings being pooled": min(bags, n_contents) * n_patches * dim * 26,
            "descriptors": 16 * n_images * dim,
            "the rest": FIXED,
        },
        knob=f"{SMALLER} or --reference",
    )


def near_duplicates_plan(*, n_contents: int, n_patches: int, dim: int, is_stored: bool) -> MemoryPlan:
    """Predict the peak of looking for near-duplicates.

    Parameters
    ----------
    n_contents
        Distinct clustered images.
    n_patches, dim
        Of the bags.
    is_stored
        Whether the distances of all pairs are read; else bags are held, and some of their pairs compared.
    """
    reading = min(max(READ_BYTES, 2 * n_contents * n_patches), 2 * n_contents**2 * n_patches)
    distances = {"distances of all pairs": 24 * n_contents**2, "nearest distances": 3 * reading}
    bags = {"embeddings": 9 * n_contents * n_patches * dim + 256 * n_patches * (dim + 16), "the kernel": _COMPILING}
    return MemoryPlan(
        stage="near_duplicates",
        parts={
            **(distances if is_stored else bags),
            "nearest images": 1200 * n_contents,
            "the rest": FIXED,
        },
        knob=f"{SMALLER} or --reference",
    )
